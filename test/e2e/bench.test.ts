import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RaceResult } from "../../bench/harness/race.ts";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { packageRoot } from "../../cli/root.ts";
import { startTestCoordinator, type TestCoordinator } from "./coordinator.ts";
import { requireBrowser } from "./fleets.ts";

interface AxeViolation {
  readonly id: string;
  readonly help: string;
}
declare const axe: { run(): Promise<{ readonly violations: readonly AxeViolation[] }> };

const TIMEOUT = 60_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const run = promisify(execFile);

const OURS = ["WebGPU 1×16", "WASM, 1 core 1×16", "WebGPU 4×4", "WASM, 1 core 4×4", "WASM, all cores 4×4"];

describe("npm run bench", () => {
  it("runs ours alone where nothing else is installed, checks every gradient and counts what the GPU was asked", async () => {
    const args = ["bench/run.ts", "--only", "engine/mlp", "--quick", "--no-rivals", "--json"];
    const { stdout } = await run(process.execPath, args, { cwd: packageRoot, timeout: TIMEOUT });
    const { format, machine, sections } = JSON.parse(stdout) as {
      format: number;
      machine: { cores: number };
      sections: { engine: RaceResult[] };
    };
    expect(format).toBe(1);
    expect(machine.cores).toBeGreaterThan(0);
    expect(sections.engine).toHaveLength(1);
    const [{ name, unit, entries, gains }] = sections.engine;
    expect([name, unit, gains]).toEqual(["mlp", "ms a step", []]);
    expect(entries.map((entry) => entry.name)).toEqual(OURS);
    for (const entry of entries) {
      expect(entry).toMatchObject({ ours: true, rounds: [expect.any(Number), expect.any(Number)] });
      if (!("facts" in entry)) throw new Error(`${entry.name} was not measured: ${entry.problem}`);
      expect(entry.facts["Δ gradient"]).toBeLessThan(1e-6);
      if (!entry.name.startsWith("WebGPU")) continue;
      expect(entry.facts["read-backs"]).toBe(1);
      expect(entry.facts["moved / compulsory"]).toBeGreaterThan(1);
      for (const fact of ["dispatches", "submits", "MB up", "MB down", "MB moved", "peak MB"]) {
        expect(entry.facts[fact]).toBeGreaterThan(0);
      }
    }
  });
});

/** What a quick run of a section says; its standard output is one JSON object. */
async function runSection(...args: readonly string[]): Promise<RaceResult[]> {
  const command = ["bench/run.ts", "--quick", "--rounds", "1", "--no-rivals", "--json", ...args];
  const { stdout } = await run(process.execPath, command, { cwd: packageRoot, timeout: 2 * TIMEOUT });
  const { sections } = JSON.parse(stdout) as { sections: Record<string, RaceResult[]> };
  return Object.values(sections).flat();
}

function measuredIn(races: readonly RaceResult[]) {
  const entries = races.flatMap((race) => race.entries);
  return entries.map((entry) => {
    if (!("summary" in entry)) throw new Error(`${entry.name} was not measured: ${entry.problem}`);
    return entry;
  });
}

describe("npm run bench -- coordinator", () => {
  it("runs the coordinator's passes in workerd, right before fast, and fills a Durable Object's sockets", async () => {
    const races = await runSection("coordinator");
    expect(races.map(({ name }) => name)).toEqual([
      "add-fixed32-10k",
      "add-fixed16-10k",
      "pack-10k",
      "norm-10k",
      "step-10k",
      "adam-10k",
      "ingest",
    ]);
    for (const { summary } of measuredIn(races)) expect(summary.median).toBeGreaterThan(0);
  });
});

describe("npm run bench -- wire", () => {
  it("counts the same bytes at a socket as the formats ask for, of trainings that end with the same bits", async () => {
    const [traffic, ...losses] = await runSection("wire");
    expect(losses.map(({ name }) => name)).toEqual(["mnist-loss", "gpt-loss"]);
    const [plain, least] = measuredIn([traffic]);
    // A few steps: what a session begins and ends with counts for more than it does in a long one.
    for (const { facts } of [plain, least]) expect(Math.abs(facts["% off, up"])).toBeLessThan(5);
    expect(plain.summary.median / least.summary.median).toBeGreaterThan(15);
    for (const { facts } of measuredIn(losses).slice(1)) expect(facts["bits up"]).toBeGreaterThan(0);
  });
});

describe("npm run bench -- scaling", () => {
  it("trains with made-up clients to the last step, within memory", async () => {
    const races = await runSection("scaling");
    const points = measuredIn(races);
    expect(points.map(({ name }) => name)).toEqual(["2 clients, 10k", "4 clients, 10k"]);
    for (const { facts } of points) {
      expect(facts["steps lost"]).toBe(0);
      expect(facts["starved clients"]).toBe(0);
      expect(facts["object MB"]).toBeLessThan(1);
      expect(facts["CPU ms a step"]).toBeGreaterThan(0);
    }
    // A client more moves weights of 40 KB and sums of 20 more.
    expect(points[1].facts["MB a step"] / points[0].facts["MB a step"]).toBeCloseTo(2, 1);
  });
});

describe("npm run bench -- timeline", () => {
  it("accounts for every millisecond of a step", async () => {
    const [turn, coordinator] = await runSection("timeline");
    const figures = measuredIn([turn]).map(({ summary }) => summary.median);
    const [whole, wait] = figures.splice(-2);
    expect(wait).toBeGreaterThanOrEqual(0);
    expect(figures.reduce((sum, figure) => sum + figure, 0)).toBeCloseTo(whole, 6);
    expect(measuredIn([coordinator]).map(({ name }) => name)).toContain("broadcast");
  });
});

describe("npm run bench -- end-to-end", () => {
  it("times a session beside the same tabs running freely, a first gradient, and the way to an accuracy", async () => {
    const races = await runSection("end-to-end");
    expect(races.map(({ name }) => name)).toEqual(["step-mlp", "first-gradient", "accuracy"]);
    const [step, opening, accuracy] = races.map((race) => measuredIn([race]));
    const [session, , free] = step;
    expect(session.facts["step / free"]).toBeCloseTo(session.rounds[0] / free.rounds[0], 6);
    expect(session.rounds[0]).toBeGreaterThan(free.rounds[0]);
    expect(opening.map(({ name }) => name)).toEqual(["WASM", "WebGPU"]);
    for (const { facts, summary } of opening) {
      const moments = ["button pressed", "welcomed", "weights set", "first lease"].map((name) => facts[name]);
      expect([...moments, summary.median].toSorted((a, b) => a - b)).toEqual([...moments, summary.median]);
    }
    expect(accuracy[0].summary.median).toBeGreaterThan(0);
  }, 120_000);
});

describe("the page /bench", () => {
  let coordinator: TestCoordinator;
  let browser: Browser;

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: requireBrowser(), args: [...BROWSER_FLAGS] });
    coordinator = await startTestCoordinator();
  });
  afterAll(async () => {
    await browser?.close();
    await coordinator?.stop();
  });

  it("measures a visitor's browser once asked, loads nothing from elsewhere and gives a result to paste", async () => {
    const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
    const page = await context.newPage();
    const problems: string[] = [];
    const requests: string[] = [];
    context.on("request", (request) => requests.push(request.url()));
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      if (message.text().includes("Content Security Policy")) problems.push(message.text());
    });
    const response = await page.goto(`${coordinator.url}/bench?quick`);
    expect(response?.headers()["content-security-policy"]).toContain("default-src 'none'");
    await page.locator('input[name="cnn"]').uncheck();
    await page.locator('input[name="gpt"]').uncheck();
    expect(requests.filter((url) => url.includes("/ort/"))).toEqual([]);
    await page.locator('[data-action="run"]').click();
    await page.locator('[data-race="mlp"]').waitFor({ timeout: TIMEOUT });
    expect(await page.locator('[data-race="mlp"] tbody th').allTextContents()).toEqual(OURS);
    await page.locator('[data-action="copy-json"]').click();
    await page.getByText("JSON copied").waitFor();
    const report = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    expect(report).toMatchObject({ format: 1, section: "engine", adapter: { software: true } });
    expect(report.races[0].entries.map((entry: { name: string }) => entry.name)).toEqual(OURS);
    expect(await page.locator(".report").textContent()).toContain("MLP 32-24-10");
    expect(requests.filter((url) => !url.startsWith(coordinator.url) && !url.startsWith("blob:"))).toEqual([]);
    expect(problems).toEqual([]);
    await page.evaluate(AXE);
    const violations = await page.evaluate(async () => (await axe.run()).violations);
    expect(violations.map(({ id, help }) => `${id}: ${help}`)).toEqual([]);
    await context.close();
  });
});
