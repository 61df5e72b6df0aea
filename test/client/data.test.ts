import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ByteCache, Platform } from "../../client/core/platform.ts";
import { CacheWriter } from "../../client/data/cache-writer.ts";
import { ChunkStore } from "../../client/data/chunks.ts";
import { HostedSource } from "../../client/data/hosted.ts";
import type { Slot } from "../../client/data/source.ts";
import { valuesOf } from "../../client/engine/bytes.ts";
import type { Graph } from "../../shared/graph/ir.ts";
import { sampleIndex } from "../../shared/random/index.ts";
import type { HostedData } from "../../shared/session/definition.ts";
import { planRun, workSamples } from "../../shared/session/plan.ts";
import type { RowWindow } from "../../shared/session/window.ts";
import { buildDataset, FakeClock, settle, sha256 } from "./sdk-fake.ts";
import { GRAPH, HOSTED, hostedDataset } from "./sdk-session.ts";

/** Counts downloads and holds them up on request. */
function download(chunks: ReadonlyMap<string, Uint8Array<ArrayBuffer>>, changes: Partial<Platform> = {}) {
  const clock = new FakeClock();
  const state = { active: 0, most: 0, requests: [] as string[], gate: Promise.resolve() };
  const platform = {
    fetch: async (url: string) => {
      const hash = url.split("/").at(-1)!;
      state.requests.push(hash);
      state.active += 1;
      state.most = Math.max(state.most, state.active);
      await state.gate;
      state.active -= 1;
      const bytes = chunks.get(hash);
      return bytes === undefined ? new Response(null, { status: 404 }) : new Response(bytes);
    },
    now: () => clock.now,
    setTimer: clock.setTimer,
    clearTimer: clock.clearTimer,
    random: () => 0.5,
    sha256,
    chunkCache: null,
    ...changes,
  } as unknown as Platform;
  return { platform, state, clock };
}

const urlOf = (hash: string) => `http://127.0.0.1:9/chunks/${hash}`;

async function randomChunks(count: number, bytes: number): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  for (let i = 0; i < count; i++) {
    const chunk = new Uint8Array(bytes).fill(i);
    chunks.set(await sha256(chunk), chunk);
  }
  return chunks;
}

/** Lets time pass until the promise is settled: hashing is done by other threads, and a busy machine takes its time. */
async function whileTimePasses<T>(
  clock: { advance(milliseconds: number): Promise<void> },
  promise: Promise<T>,
): Promise<T> {
  let isSettled = false;
  const settle = (): void => {
    isSettled = true;
  };
  promise.then(settle, settle);
  while (!isSettled) await clock.advance(1_000);
  return promise;
}

describe("the chunk store", () => {
  it("downloads a chunk once, however many ask for it", async () => {
    const chunks = await randomChunks(1, 100);
    const { platform, state } = download(chunks);
    const store = new ChunkStore({ platform, url: urlOf });
    const [hash] = [...chunks.keys()];
    const request = { hash: hash!, bytes: 100 };
    store.prefetch(request);
    const [one, two] = await Promise.all([store.load(request), store.load(request)]);
    expect(one).toEqual(chunks.get(hash!));
    expect(two).toBe(one);
    await store.load(request);
    expect(state.requests).toEqual([hash]);
  });

  it("downloads a few at a time, and what is needed before what is only expected", async () => {
    const chunks = await randomChunks(8, 100);
    const gate = Promise.withResolvers<void>();
    const { platform, state } = download(chunks);
    state.gate = gate.promise;
    const store = new ChunkStore({ platform, url: urlOf, parallel: 2 });
    const requests = [...chunks.keys()].map((hash) => ({ hash, bytes: 100 }));
    for (const request of requests.slice(0, 7)) store.prefetch(request);
    const needed = [store.load(requests[6]!), store.load(requests[7]!)];
    await settle();
    expect(state.requests).toEqual([requests[0]!.hash, requests[1]!.hash]);
    gate.resolve();
    await Promise.all(needed);
    expect(state.requests.slice(2, 4)).toEqual([requests[6]!.hash, requests[7]!.hash]);
    await settle();
    expect(state.requests).toHaveLength(8);
    expect(state.most).toBe(2);
  });

  it("holds no more bytes than its bound and drops what was used longest ago", async () => {
    const chunks = await randomChunks(4, 100);
    const { platform, state } = download(chunks);
    const store = new ChunkStore({ platform, url: urlOf, memoryBytes: 250 });
    const [a, b, c] = [...chunks.keys()].map((hash) => ({ hash, bytes: 100 }));
    await store.load(a!);
    await store.load(b!);
    await store.load(a!);
    await store.load(c!);
    expect(store.heldBytes).toBe(200);
    await store.load(a!);
    expect(state.requests).toHaveLength(3);
    await store.load(b!);
    expect(state.requests).toHaveLength(4);
  });

  it("refuses bytes that do not match their hash, and says so", async () => {
    const chunks = await randomChunks(1, 100);
    const [hash] = [...chunks.keys()];
    chunks.set(hash!, new Uint8Array(100).fill(9));
    const { platform, clock } = download(chunks);
    const store = new ChunkStore({ platform, url: urlOf });
    const loading = store.load({ hash: hash!, bytes: 100 });
    const failure = expect(loading).rejects.toMatchObject({ code: "data", message: expect.stringMatching(/hash to/) });
    await whileTimePasses(clock, failure);
    expect(store.heldBytes).toBe(0);
  });

  it("refuses a chunk that is longer than it should be without reading it all", async () => {
    const chunks = await randomChunks(1, 1000);
    const [hash] = [...chunks.keys()];
    const { platform } = download(chunks);
    const store = new ChunkStore({ platform, url: urlOf });
    await expect(store.load({ hash: hash!, bytes: 100 })).rejects.toThrow(/larger than 100 bytes/);
  });

  it("tries again after a failure that may pass, and not after one that will not", async () => {
    const chunks = await randomChunks(1, 100);
    const [hash] = [...chunks.keys()];
    let failures = 2;
    const { platform, clock, state } = download(chunks);
    const flaky = {
      ...platform,
      fetch: (url: string, init: RequestInit) => {
        if (failures-- > 0) return Promise.resolve(new Response(null, { status: 503 }));
        return platform.fetch(url, init);
      },
    };
    const loading = new ChunkStore({ platform: flaky, url: urlOf }).load({ hash: hash!, bytes: 100 });
    expect(await whileTimePasses(clock, loading)).toEqual(chunks.get(hash!));
    const missing = new ChunkStore({ platform, url: urlOf }).load({ hash: "f".repeat(64), bytes: 100 });
    await expect(missing).rejects.toMatchObject({ code: "data" });
    expect(state.requests.filter((path) => path.startsWith("fff"))).toHaveLength(1);
  });

  it("reads from the platform's cache before the network, and checks that too", async () => {
    const chunks = await randomChunks(2, 100);
    const [good, tampered] = [...chunks.keys()];
    const kept = new Map([
      [good!, chunks.get(good!)!],
      [tampered!, new Uint8Array(100).fill(77)],
    ]);
    const chunkCache: ByteCache = {
      get: async (hash) => kept.get(hash) ?? null,
      put: async (hash, bytes) => void kept.set(hash, bytes),
    };
    const { platform, state } = download(chunks, { chunkCache });
    const store = new ChunkStore({ platform, url: urlOf });
    await store.load({ hash: good!, bytes: 100 });
    expect(await store.load({ hash: tampered!, bytes: 100 })).toEqual(chunks.get(tampered!));
    expect(state.requests).toEqual([tampered]);
    expect(kept.get(tampered!)).toEqual(chunks.get(tampered!));
  });

  it("writes to the platform's cache once nothing is downloaded any more", async () => {
    const chunks = await randomChunks(3, 100);
    const written: string[] = [];
    const chunkCache: ByteCache = {
      get: async () => null,
      put: async (hash) => void written.push(hash),
    };
    const { platform, state } = download(chunks, { chunkCache });
    const store = new ChunkStore({ platform, url: urlOf, parallel: 2 });
    const [alone, early, late] = [...chunks.keys()].map((hash) => ({ hash, bytes: 100 }));
    await store.load(alone!);
    expect(written).toEqual([alone!.hash]);
    const [earlier, later] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    state.gate = earlier.promise;
    const loadedEarly = store.load(early!);
    await settle();
    state.gate = later.promise;
    const loadedLate = store.load(late!);
    await settle();
    earlier.resolve();
    await loadedEarly;
    await settle();
    expect(written).toHaveLength(1);
    later.resolve();
    await loadedLate;
    await settle();
    expect(written).toEqual([alone!.hash, early!.hash, late!.hash]);
  });

  it("writes one after the other, all the same when too much waits, and nothing after its end", async () => {
    const written: string[] = [];
    let writing = 0;
    let most = 0;
    let isBusy = true;
    const cache: ByteCache = {
      get: async () => null,
      async put(hash) {
        most = Math.max(most, ++writing);
        await Promise.resolve();
        writing -= 1;
        written.push(hash);
        if (hash === "1") throw new Error("the disk is full");
      },
    };
    const writer = new CacheWriter(cache, () => isBusy);
    const bytes = new Uint8Array(20 * 2 ** 20);
    for (const hash of ["1", "2", "3"]) writer.add(hash, bytes);
    await settle();
    expect(written).toEqual([]);
    writer.add("4", bytes);
    await settle();
    expect(written).toEqual(["1"]);
    isBusy = false;
    writer.resume();
    await settle();
    expect(written).toEqual(["1", "2", "3", "4"]);
    expect(most).toBe(1);
    isBusy = true;
    writer.add("5", bytes);
    writer.dispose();
    isBusy = false;
    writer.resume();
    await settle();
    expect(written).toHaveLength(4);
  });

  it("works without Web Crypto, unverified", async () => {
    const chunks = await randomChunks(1, 100);
    const [hash] = [...chunks.keys()];
    chunks.set(hash!, new Uint8Array(100).fill(9));
    const { platform } = download(chunks, { sha256: null });
    expect(await new ChunkStore({ platform, url: urlOf }).load({ hash: hash!, bytes: 100 })).toHaveLength(100);
  });

  it("ends its downloads when disposed of", async () => {
    const chunks = await randomChunks(6, 100);
    const { platform, state } = download(chunks);
    state.gate = new Promise(() => {});
    const stuck: Platform = {
      ...platform,
      fetch: (url, init) =>
        Promise.race([
          platform.fetch(url, init),
          new Promise<never>((_, reject) => init.signal?.addEventListener("abort", () => reject(new Error("aborted")))),
        ]),
    };
    const store = new ChunkStore({ platform: stuck, url: urlOf, parallel: 2 });
    const loading = [...chunks.keys()].map((hash) => store.load({ hash, bytes: 100 }));
    await settle();
    store.dispose();
    for (const { status } of await Promise.allSettled(loading)) expect(status).toBe("rejected");
    expect(state.requests).toHaveLength(2);
  });
});

async function openHosted(chunkSamples: number) {
  const { manifest, chunks } = await hostedDataset(chunkSamples);
  const { platform, state } = download(chunks);
  const plan = planRun(HOSTED);
  const { data } = HOSTED;
  if (data.source !== "dataset") throw new Error("not hosted");
  const store = new ChunkStore({ platform, url: urlOf });
  const source = new HostedSource({
    graph: GRAPH,
    data,
    manifest,
    plan,
    seed: HOSTED.seed,
    chunks: store,
    now: () => 0,
  });
  return { source, plan, state, slot: source.createSlot() };
}

const samplesIn = (slot: Slot) => [...valuesOf(slot.y!)].map((answer) => answer - 100);

describe("hosted data", () => {
  it("feeds the samples that the seed, the epoch and the position name, whatever the chunk size", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 0, max: 2 }),
        async (chunkSamples, step, index) => {
          const { source, plan, slot } = await openHosted(chunkSamples);
          const from = (step % 2) * 10 + index * 4;
          const size = Math.min(4, (step % 2 === 0 ? 10 : 12) - from);
          fc.pre(size > 0);
          const real = await source.fill({ work: "train", step, index }, slot);
          const expected = Array.from({ length: 4 }, (_, i) =>
            sampleIndex(HOSTED.seed, Math.floor(step / 2), plan.trainSamples, from + Math.min(i, size - 1)),
          );
          expect(real).toBe(size);
          expect(samplesIn(slot)).toEqual(expected);
          expect([...valuesOf(slot.weight!)]).toEqual([0, 1, 2, 3].map((i) => (i < size ? 1 : 0)));
          // Stored 2i and 2i + 1, times 0.5, plus 1.
          expect([...valuesOf(slot.x!)]).toEqual(expected.flatMap((i) => [i + 1, i + 1.5]));
        },
      ),
      { numRuns: 100, seed: 11 },
    );
  });

  it("leaves bytes as they are stored, with what they stand for beside them", async () => {
    const { source, slot } = await openHosted(5);
    await source.fill({ work: "validate", step: 0, index: 1 }, slot);
    // Sample 16 and its repetitions; stored 2i and 2i + 1.
    const bytes = Uint8Array.from([32, 33, 32, 33, 32, 33, 32, 33]);
    expect(slot.x).toEqual({ bytes, scale: 0.5, offset: 1 });
    expect(slot.y).toBeInstanceOf(Float32Array);
  });

  it("covers every training sample exactly once an epoch", async () => {
    const { source, slot } = await openHosted(5);
    const seen: number[] = [];
    for (const [step, batches] of [
      [2, 3],
      [3, 1],
    ] as const) {
      for (let index = 0; index < batches; index++) {
        const real = await source.fill({ work: "train", step, index }, slot);
        seen.push(...samplesIn(slot).slice(0, real));
      }
    }
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
  });

  it("reads the held-out splits in order", async () => {
    const { source, slot } = await openHosted(6);
    expect(await source.fill({ work: "validate", step: 7, index: 0 }, slot)).toBe(4);
    expect(samplesIn(slot)).toEqual([12, 13, 14, 15]);
    expect(await source.fill({ work: "validate", step: 7, index: 1 }, slot)).toBe(1);
    expect(samplesIn(slot)).toEqual([16, 16, 16, 16]);
    expect(await source.fill({ work: "test", step: 7, index: 0 }, slot)).toBe(3);
    expect(samplesIn(slot)).toEqual([17, 18, 19, 19]);
  });

  it("fetches only the chunks that the samples are in", async () => {
    const { source, slot, state } = await openHosted(4);
    await source.fill({ work: "validate", step: 0, index: 0 }, slot);
    expect(state.requests).toHaveLength(1);
    source.prefetch("test", 0, 0, 1);
    await settle();
    expect(state.requests).toHaveLength(2);
    await source.fill({ work: "test", step: 0, index: 0 }, slot);
    expect(state.requests).toHaveLength(2);
  });
});

/** A stream of 60 rows of two bytes, row r being (r, 100 + r), in windows of which targets come `shift` later. */
async function openWindows(chunkSamples: number, window: RowWindow, shift: number) {
  const values = Array.from({ length: 120 }, (_, i) => (i % 2) * 100 + Math.floor(i / 2));
  const { manifest, chunks } = await buildDataset(
    [{ name: "rows", dtype: "uint8", shape: [2], values }],
    60,
    chunkSamples,
  );
  const graph: Graph = {
    ...GRAPH,
    inputs: [
      { name: "x", dtype: "int32", shape: ["N", window.length * 2], role: "feature" },
      { name: "y", dtype: "float32", shape: ["N", window.length, 2], role: "target" },
      { name: "weight", dtype: "float32", shape: ["N"], role: "weight" },
    ],
  };
  const data: HostedData = {
    source: "dataset",
    dataset: "fake",
    window,
    inputs: {
      x: { column: "rows", scale: 1, offset: 0 },
      y: { column: "rows", scale: 2, offset: 1, shift },
    },
    train: [3, 35],
    validation: [35, 50],
    test: [50, 60],
  };
  const plan = planRun({ ...HOSTED, data });
  const { platform, state } = download(chunks);
  const store = new ChunkStore({ platform, url: urlOf });
  const source = new HostedSource({ graph, data, manifest, plan, seed: 3, chunks: store, now: () => 0 });
  return { source, plan, data, state, slot: source.createSlot() };
}

describe("hosted data in windows", () => {
  const sizes = fc.record({
    chunkSamples: fc.integer({ min: 1, max: 60 }),
    length: fc.integer({ min: 1, max: 7 }),
    stride: fc.integer({ min: 1, max: 9 }),
    shift: fc.integer({ min: 0, max: 3 }),
  });

  it("feeds what a plain slice of the rows holds, whichever chunks they are in", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ chunkSamples, length, stride, shift }) => {
        const { source, plan, data, slot } = await openWindows(chunkSamples, { length, stride }, shift);
        const works = [
          ["train", 1, data.train, plan.trainSamples],
          ["validate", 0, data.validation, plan.validationSamples],
          ["test", 0, data.test, plan.testSamples],
        ] as const;
        for (const [work, step, [from, to], samples] of works) {
          const { from: first, to: end } = workSamples(plan, work, work === "train" ? step % plan.stepsPerEpoch : 0);
          for (let index = 0; index * 4 < end - first; index++) {
            const real = await source.fill({ work, step: step % plan.stepsPerEpoch, index }, slot);
            expect(real).toBe(Math.min(4, end - first - index * 4));
            for (let i = 0; i < real; i++) {
              const position = first + index * 4 + i;
              const sample = work === "train" ? sampleIndex(3, 0, samples, position) : position;
              const rows = Array.from({ length }, (_, t) => from + sample * stride + t);
              expect(rows.at(-1)! + shift).toBeLessThan(to);
              expect([...valuesOf(slot.x!).subarray(i * length * 2, (i + 1) * length * 2)]).toEqual(
                rows.flatMap((row) => [row, 100 + row]),
              );
              expect([...valuesOf(slot.y!).subarray(i * length * 2, (i + 1) * length * 2)]).toEqual(
                rows.flatMap((row) => [2 * (row + shift) + 1, 2 * (100 + row + shift) + 1]),
              );
            }
          }
        }
      }),
      { numRuns: 60, seed: 12 },
    );
  });

  it("takes every window of an epoch exactly once", async () => {
    const { source, plan, slot } = await openWindows(7, { length: 4, stride: 3 }, 1);
    expect(plan.trainSamples).toBe(10); // the last from row 3 + 27, its targets up to row 34
    const begins: number[] = [];
    for (let index = 0; index < 3; index++) {
      const real = await source.fill({ work: "train", step: 0, index }, slot);
      for (let i = 0; i < real; i++) begins.push(valuesOf(slot.x!)[i * 8]!);
    }
    expect(begins.sort((a, b) => a - b)).toEqual([3, 6, 9, 12, 15, 18, 21, 24, 27, 30]);
  });

  it("fetches ahead every chunk that a window and its targets reach into, and no other", async () => {
    const { source, slot, state } = await openWindows(2, { length: 4, stride: 4 }, 2);
    source.prefetch("test", 0, 0, 1);
    await settle();
    // Windows from rows 50 and 54; the targets of the second end before row 60.
    expect(state.requests).toHaveLength(5);
    expect(await source.fill({ work: "test", step: 0, index: 0 }, slot)).toBe(2);
    expect(state.requests).toHaveLength(5);
  });
});
