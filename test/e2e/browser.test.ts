import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { packageRoot } from "../../cli/root.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { type Run, trainSteadily, trainWithChurn } from "./exactness.ts";
import { ChromiumFleet, JOIN, nodeFleet, requireBrowser } from "./fleets.ts";

const STEPS = 24;
const ASSETS = join(packageRoot, "build/assets");

/** Addresses that a page asked for. */
type Requests = string[];

/** Bytes of the scripts among these addresses, compressed one by one. */
function codeBytes(requests: Requests): number {
  const paths = new Set(requests.map((url) => new URL(url).pathname).filter((path) => path.endsWith(".js")));
  return [...paths].reduce((sum, path) => sum + gzipSync(readFileSync(join(ASSETS, path))).byteLength, 0);
}

describe("volunteers in real browser tabs", () => {
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

  /** The session's page as far as its button, and everything it asks for. */
  async function open(
    id: string,
    engine: "wasm" | "webgpu",
    cores?: number,
  ): Promise<{ page: Page; requests: Requests }> {
    const context = await browser.newContext();
    const page = await context.newPage();
    if (cores !== undefined) {
      await page.addInitScript((count) => {
        Object.defineProperty(Navigator.prototype, "hardwareConcurrency", { get: () => count });
      }, cores);
    }
    const requests: Requests = [];
    context.on("request", (request) => requests.push(request.url()));
    page.on("pageerror", (error) => {
      throw error;
    });
    await page.goto(`${coordinator.url}/s/${id}?engine=${engine}&share=100`);
    await page.locator(JOIN).waitFor();
    return { page, requests };
  }

  const clickJoin = (page: Page): Promise<void> => page.locator(JOIN).click();
  const create = async (steps = STEPS): Promise<string> =>
    (await coordinator.api.createSession(mnistSession({ maxSteps: steps }))).id;

  it("give the bits of Node volunteers, though tabs crash, rejoin and lag (I1)", async () => {
    const steps = 60;
    const fleet = await ChromiumFleet.launch();
    onTestFinished(() => fleet.stop());
    const run: Run = { coordinator, fleet, seed: 0, steps, lateResults: 1 };
    const node = await trainSteadily({ ...run, fleet: nodeFleet }, 1);
    expect(node.samples).toEqual(new Array(steps).fill(256));
    const tabs = await trainWithChurn(run, node.took, (line) => console.log(line));
    expect(tabs.weightsHash).toBe(node.weightsHash);
    expect(tabs.samples).toEqual(node.samples);
    expect(tabs.kills).toBeGreaterThan(0);
    expect(tabs.late).toBeGreaterThan(0);
  });

  it("train together, one on WebGPU with little code and one on WASM, each with a part of every step", async () => {
    const id = await create();
    const gpu = await open(id, "webgpu");
    const wasm = await open(id, "wasm");
    // Nothing computes, and nothing of an engine is fetched, before the button is pressed (I9).
    expect((await coordinator.api.readSession(id)).progress.clientCount).toBe(0);
    // Shaders take longer to compile than onnxruntime to load: nothing begins before both are there.
    await coordinator.api.control(id, "pause");
    await Promise.all([clickJoin(gpu.page), clickJoin(wasm.page)]);
    while ((await coordinator.api.readSession(id)).progress.clientCount < 2) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await coordinator.api.control(id, "resume");
    const { result, steps } = await untilDone(coordinator.api, id);
    const shares = new Map(result?.members.map(({ engine, samples }) => [engine, samples]));
    const all = [...shares.values()].reduce((sum, samples) => sum + samples, 0);
    expect([...shares.keys()].sort()).toEqual(["wasm", "webgpu"]);
    for (const samples of shares.values()) expect(samples / all).toBeGreaterThan(0.05);
    for (const engine of shares.keys()) {
      const joined = steps.filter(({ engines }) => (engines[engine] ?? 0) > 0).length;
      expect(joined / steps.length, `steps with a part of ${engine}`).toBeGreaterThanOrEqual(0.9);
    }
    // onnxruntime is fetched by those who use it alone.
    expect(wasm.requests.some((url) => url.includes("/ort/"))).toBe(true);
    expect(gpu.requests.filter((url) => /\/ort\/|pool\.generated/.test(url))).toEqual([]);
    const bytes = codeBytes(gpu.requests);
    console.log(`code of a WebGPU volunteer: ${bytes} bytes, compressed`);
    expect(bytes).toBeGreaterThan(50_000);
    expect(bytes).toBeLessThanOrEqual(150_000);
  });

  it("give the same bits from the worker's own thread and from another one, and load what is needed for either (I1)", async () => {
    const train = async (cores: number) => {
      const id = await create(12);
      const { page, requests } = await open(id, "wasm", cores);
      await clickJoin(page);
      const { result } = await untilDone(coordinator.api, id);
      await page.context().close();
      const loaded = (name: string): boolean => requests.some((url) => url.includes(`/${name}.generated`));
      return { hash: result?.weightsHash, alone: loaded("alone"), inline: loaded("inline"), pool: loaded("pool") };
    };
    // Half of the cores compute.
    const own = await train(2);
    const other = await train(4);
    expect(own).toEqual({ hash: own.hash, alone: true, inline: false, pool: false });
    expect(other).toEqual({ hash: own.hash, alone: false, inline: true, pool: true });
    expect(own.hash).toMatch(/^[0-9a-f]{16,}$/);
  });

  it("negotiate no compression on the socket, though they offer it", async () => {
    const id = await create(1);
    const { hostname, port } = new URL(coordinator.url);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(
          [
            `GET /api/sessions/${id}/socket HTTP/1.1`,
            `Host: ${hostname}:${port}`,
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: commonweight.1",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            "\r\n",
          ].join("\r\n"),
        );
      });
      socket.once("data", (data) => {
        socket.destroy();
        resolve(data.toString("latin1"));
      });
      socket.once("error", reject);
    });
    expect(answer).toMatch(/^HTTP\/1.1 101 /);
    expect(answer).toMatch(/Sec-WebSocket-Protocol: commonweight\.1/i);
    expect(answer).not.toMatch(/Sec-WebSocket-Extensions/i);
  });
});
