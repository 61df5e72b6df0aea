/** `commonweight/local`, as a researcher's program uses it. */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { onnx } from "../../cli/files.ts";
import { parseSafetensors } from "../../cli/importers/safetensors.ts";
import { type Local, type LocalProgress, startLocal } from "../../cli/local.ts";
import { packageRoot } from "../../cli/root.ts";
import { joinTraining } from "../../client/node/index.ts";
import { initialize } from "../../shared/graph/index.ts";
import { dataset, defineSession, localData, loss, nn, optim, type SessionOptions } from "../../shared/nn/index.ts";

const SAMPLES = 96;
const x = Float32Array.from({ length: 2 * SAMPLES }, (_, i) => Math.sin(i * i));
const y = Float32Array.from({ length: SAMPLES }, (_, i) => x[2 * i]! - 2 * x[2 * i + 1]!);
const datasets = { plane: { columns: { x: { values: x, shape: [2] }, y: { values: y, shape: [1] } } } };

const plane = (options: Partial<SessionOptions> = {}) =>
  defineSession({
    title: "A plane",
    model: nn.sequential(nn.linear(2, 4), nn.tanh(), nn.linear(4, 1)),
    input: [2],
    loss: loss.mse(),
    optimizer: optim.adam({ lr: 0.02 }),
    data: dataset("plane", { x: "x", y: "y", train: [0, SAMPLES] }),
    batchSize: SAMPLES,
    microBatch: 16,
    epochs: 10,
    ...options,
  });

const ownColumns = localData({
  x: "x",
  y: "y",
  columns: [
    { name: "x", dtype: "float32", shape: [2] },
    { name: "y", dtype: "float32", shape: [1] },
  ],
  samplesPerEpoch: SAMPLES,
});

const folder = mkdtempSync(join(tmpdir(), "commonweight-own-"));
let local: Local;
beforeAll(async () => {
  local = await startLocal();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await local?.close();
  rmSync(folder, { recursive: true });
});

describe("a program that trains on its own machine", () => {
  it("comes to the same bits with one volunteer and with three, and hears how it goes", async () => {
    const heard: LocalProgress[] = [];
    const one = await (await local.create(plane(), { datasets })).train({ onProgress: (now) => heard.push(now) });
    const three = await (await local.create(plane(), { datasets })).train({ clients: 3 });
    expect(one).toMatchObject({ status: "finished", steps: 10, test: null });
    expect(one.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    expect(three.weightsHash).toBe(one.weightsHash);
    expect(heard.at(-1)).toMatchObject({ title: "A plane", step: 10, totalSteps: 10 });
  });

  it("looks into the weights before and after, and predicts what they say", async () => {
    const definition = plane({ seed: 7 });
    const session = await local.create(definition, { datasets });
    const before = await session.weights();
    expect([...before.keys()]).toEqual(["0.weight", "0.bias", "2.weight", "2.bias"]);
    expect(Array.from(before.get("0.weight")!.values)).toEqual(Array.from(initialize(definition.graph, 7).slice(0, 8)));
    await session.train();
    const [w1, b1, w2, b2] = [...(await session.weights()).values()].map(({ values }) => values);
    const expected = Array.from({ length: SAMPLES }, (_, i) => {
      const hidden = Array.from(b1!, (b, unit) =>
        Math.tanh(b + w1![2 * unit]! * x[2 * i]! + w1![2 * unit + 1]! * x[2 * i + 1]!),
      );
      return hidden.reduce((sum, value, unit) => sum + value * w2![unit]!, b2![0]!);
    });
    const predicted = await session.predict({ x });
    expect(predicted).toHaveLength(SAMPLES);
    for (const [i, value] of expected.entries()) expect(predicted[i]).toBeCloseTo(value, 5);
  });

  it("has the coordinator's record of every step, and the test", async () => {
    const data = dataset("plane", { x: "x", y: "y", train: [0, 64], validation: [64, 80], test: [80, SAMPLES] });
    // The better it learns, the worse it does on the held-out samples: an early measurement is the best.
    const contrary = { ...datasets.plane.columns, y: { values: y.map((v, i) => (i < 64 ? v : -v)), shape: [1] } };
    const earlyStopping = { patience: 10, restoreBest: false };
    const session = await local.create(plane({ data, batchSize: 32, epochs: 4, earlyStopping }), {
      datasets: { plane: { columns: contrary } },
    });
    const { test } = await session.train();
    const { steps, evaluations } = await session.metrics();
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(evaluations.filter(({ work }) => work === "validate")).toHaveLength(4);
    expect(test?.loss).toBe(evaluations.find(({ work }) => work === "test")?.loss);
    const [best, latest] = [await session.weights("best"), await session.weights("latest")];
    expect(await session.weights()).toEqual(best);
    expect(latest).not.toEqual(best);
  });

  it("goes on from what it saved, and from weights in memory", async () => {
    const first = await local.create(plane(), { datasets });
    await first.train();
    const files = { onnx: join(folder, "model.onnx"), safetensors: join(folder, "model.safetensors") };
    await first.save(files.onnx);
    await first.save(files.safetensors);
    const weights = await first.weights();
    const saved = parseSafetensors(new Uint8Array(readFileSync(files.safetensors)), files.safetensors);
    expect(saved.get("0.weight")!.values).toEqual(weights.get("0.weight")!.values);

    const predicted = await first.predict({ x });
    for (const definition of [plane({ model: onnx(files.onnx) }), plane({ weights })]) {
      const next = await local.create(definition, { datasets });
      expect(await next.predict({ x })).toEqual(predicted);
      expect(await next.train()).toMatchObject({ steps: 10 });
    }
  });

  it("waits for others who compute", async () => {
    const session = await local.create(plane(), { datasets });
    const outcome = session.finished();
    const volunteer = await joinTraining(session.url, { engine: "wasm", workers: 1 });
    expect(await outcome).toMatchObject({ status: "finished", steps: 10 });
    expect((await volunteer.finished).outcome).toBe("finished");
  });

  it("trains on volunteers' own data, each with its own", async () => {
    const session = await local.create(plane({ data: ownColumns }));
    const halves = [0, 1].map((half) => ({
      x: x.slice(half * SAMPLES, (half + 1) * SAMPLES),
      y: y.slice((half * SAMPLES) / 2, ((half + 1) * SAMPLES) / 2),
    }));
    expect(await session.train({ data: halves })).toMatchObject({ status: "finished", steps: 10 });
  });

  const refusals: Readonly<Record<string, [() => Promise<unknown>, RegExp]>> = {
    "a data set that nobody gave": [
      () => local.create(plane({ data: dataset("nowhere", { x: "x", y: "y", train: [0, 8] }) })),
      /there is no data set nowhere: give it along/,
    ],
    "own data in a session of hosted ones": [
      async () => (await local.create(plane(), { datasets })).train({ data: [{ x, y }] }),
      /is of hosted data/,
    ],
    "a session of own data without any": [
      async () => (await local.create(plane({ data: ownColumns }))).train(),
      /needs data: one entry of columns a volunteer/,
    ],
    "another number of clients than of data": [
      async () => (await local.create(plane({ data: ownColumns }))).train({ clients: 2, data: [{ x, y }] }),
      /data are of 1 volunteers, clients says 2/,
    ],
    "a number of clients that is none": [
      () => startLocal({ clients: -1 }),
      /clients must be a whole number from 0 to 64/,
    ],
    "a file of no known kind": [
      async () => (await local.create(plane(), { datasets })).save("model.txt"),
      /ends in \.safetensors or \.onnx, not to model\.txt/,
    ],
    "a second training at the same time": [
      async () => {
        const session = await local.create(plane(), { datasets });
        const [first, second] = await Promise.allSettled([session.train(), session.train()]);
        expect(first.status).toBe("fulfilled");
        if (second.status === "rejected") throw second.reason;
      },
      /is being trained already/,
    ],
  };
  it.each(Object.entries(refusals))("refuses %s, and says what to do", async (_, [act, message]) => {
    const error = await act().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "invalid-argument", message: expect.stringMatching(message) });
  });

  it("says when a volunteer cannot join, and can be trained all the same", async () => {
    const session = await local.create(plane({ data: ownColumns }));
    const fine = { x, y };
    await expect(session.train({ data: [fine, { x, y: y.slice(1) }] })).rejects.toThrow(/column y has 95 samples/);
    expect(await session.train({ data: [fine] })).toMatchObject({ status: "finished", steps: 10 });
  });
});

describe("a coordinator of a program's own", () => {
  it("leaves nothing behind, and is of no use once it is closed", async () => {
    const temporary = mkdtempSync(join(folder, "temporary-"));
    vi.stubEnv("TMPDIR", temporary);
    const other = await startLocal();
    const session = await other.create(plane(), { datasets });
    const folders = (): string[] => readdirSync(temporary).filter((name) => name.startsWith("commonweight-local-"));
    expect(folders()).toHaveLength(1);
    await other.close();
    await other.close();
    expect(folders()).toEqual([]);
    for (const use of [() => other.create(plane()), () => session.train(), () => session.weights()]) {
      await expect(use()).rejects.toMatchObject({ code: "closed" });
    }
  });

  it("leaves nothing behind where the program is interrupted", async () => {
    const temporary = mkdtempSync(join(folder, "interrupted-"));
    const local = JSON.stringify(pathToFileURL(join(packageRoot, "cli/local.ts")).href);
    const program = `const { startLocal } = await import(${local}); await startLocal(); console.log("started");`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      env: { ...process.env, TMPDIR: temporary },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    await new Promise((resolve) => child.stdout.once("data", resolve));
    expect(readdirSync(temporary).some((name) => name.startsWith("commonweight-local-"))).toBe(true);
    child.kill("SIGINT");
    await ended;
    expect(readdirSync(temporary).filter((name) => name.startsWith("commonweight-local-"))).toEqual([]);
  });

  it("keeps what a folder of one's own holds, for the next one", async () => {
    const data = join(folder, "kept");
    {
      await using first = await startLocal({ data });
      await first.create(plane(), { datasets });
    }
    expect(existsSync(data)).toBe(true);
    await using second = await startLocal({ data });
    const session = await second.create(plane({ epochs: 1 }));
    expect(await session.train()).toMatchObject({ steps: 1 });
  });
});
