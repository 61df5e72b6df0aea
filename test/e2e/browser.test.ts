import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { packageRoot } from "../../cli/root.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { trainSteadily } from "./exactness.ts";

const STEPS = 24;

/** Addresses that a page asked for. */
type Requests = string[];

describe("volunteers in real browser tabs", () => {
  let coordinator: TestCoordinator;
  let browser: Browser;

  beforeAll(async () => {
    const executablePath = findBrowser();
    if (executablePath === null) throw new Error(`these tests need a browser: ${BROWSER_HINT}`);
    coordinator = await startTestCoordinator();
    browser = await chromium.launch({ executablePath, args: [...BROWSER_FLAGS] });
  });
  afterAll(async () => {
    await browser?.close();
    await coordinator?.stop();
  });

  async function open(id: string, engine: "wasm" | "webgpu"): Promise<{ page: Page; requests: Requests }> {
    const context = await browser.newContext();
    const page = await context.newPage();
    const requests: Requests = [];
    context.on("request", (request) => requests.push(request.url()));
    page.on("pageerror", (error) => {
      throw error;
    });
    await page.goto(`${coordinator.url}/s/${id}?engine=${engine}`);
    await page.locator('[data-action="join"]').waitFor();
    return { page, requests };
  }

  const join_ = (page: Page): Promise<void> => page.locator('[data-action="join"]').click();
  const create = async (steps = STEPS): Promise<string> =>
    (await coordinator.api.createSession(mnistSession({ maxSteps: steps }))).id;

  it("give the bits of Node volunteers when both compute with WASM, one tab killed on the way", async () => {
    const { weightsHash } = await trainSteadily(coordinator, 0, STEPS, 1);
    const id = await create();
    const tabs = [await open(id, "wasm"), await open(id, "wasm")];
    for (const { page } of tabs) await join_(page);
    await expect
      .poll(async () => (await coordinator.api.readSession(id)).progress.step, { timeout: 60_000 })
      .toBeGreaterThan(3);
    await tabs[1].page.close();
    expect((await untilDone(coordinator.api, id)).result?.weightsHash).toBe(weightsHash);
  });

  it("train together, one on WebGPU and one on WASM, each with a part of every step", async () => {
    const id = await create();
    const gpu = await open(id, "webgpu");
    const wasm = await open(id, "wasm");
    // Nothing computes, and nothing of an engine is fetched, before the button is pressed (I9).
    expect((await coordinator.api.readSession(id)).progress.clientCount).toBe(0);
    await Promise.all([join_(gpu.page), join_(wasm.page)]);
    const { result } = await untilDone(coordinator.api, id);
    const shares = new Map(result?.members.map(({ engine, samples }) => [engine, samples]));
    const all = [...shares.values()].reduce((sum, samples) => sum + samples, 0);
    expect([...shares.keys()].sort()).toEqual(["wasm", "webgpu"]);
    for (const samples of shares.values()) expect(samples / all).toBeGreaterThan(0.05);
    // onnxruntime is fetched by those who use it alone.
    expect(wasm.requests.some((url) => url.includes("/ort/"))).toBe(true);
    expect(gpu.requests.filter((url) => /\/ort\/|pool\.generated/.test(url))).toEqual([]);
  });

  it("need at most 150 kB of code, compressed, for a first WebGPU gradient", () => {
    const folder = join(packageRoot, "build/assets/assets");
    const code = readdirSync(folder).filter((name) => name.endsWith(".js") && !name.startsWith("pool."));
    const bytes = code.reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name))).byteLength, 0);
    console.log(`code of a WebGPU volunteer: ${bytes} bytes in ${code.length} files`);
    expect(existsSync(folder)).toBe(true);
    expect(bytes).toBeLessThanOrEqual(150_000);
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
