import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import type { Platform } from "../../client/core/platform.ts";
import { Augmenter } from "../../client/data/augment.ts";
import { ChunkStore } from "../../client/data/chunks.ts";
import { HostedSource } from "../../client/data/hosted.ts";
import { LocalSource } from "../../client/data/local.ts";
import type { DataSource, Slot } from "../../client/data/source.ts";
import { valuesOf } from "../../client/engine/bytes.ts";
import { type AugmentOptions, dataset, defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { sampleIndex } from "../../shared/random/index.ts";
import type { Augmentation } from "../../shared/session/augmentation.ts";
import type { HostedData, LocalData } from "../../shared/session/definition.ts";
import { planRun } from "../../shared/session/plan.ts";
import { buildDataset, FakeClock, sha256 } from "./sdk-fake.ts";

interface Picture {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

interface Draw {
  readonly seed: number;
  readonly epoch: number;
  readonly sample: number;
  readonly position: number;
}

const FIRST: Draw = { seed: 0, epoch: 0, sample: 0, position: 0 };
const PLAIN = { scale: 1, offset: 0 };

/** The values of one changed picture. */
function change(
  { channels, height, width }: Picture,
  changes: Augmentation,
  stored: ArrayLike<number>,
  draw: Partial<Draw> = {},
  unit = PLAIN,
): number[] {
  const { seed, epoch, sample, position } = { ...FIRST, ...draw };
  const augmenter = new Augmenter(position, { shape: ["N", channels, height, width] }, changes, unit);
  augmenter.startEpoch(seed, epoch);
  const target = new Float32Array(channels * height * width);
  augmenter.copy(sample, stored, 0, target, 0);
  return [...target];
}

/** Every value another one, none of them 0. */
const pattern = ({ channels, height, width }: Picture) =>
  Array.from({ length: channels * height * width }, (_, i) => i + 1);

/** The picture with each value replaced by that of another place; `place` returns null for what is uncovered. */
function moved(
  { channels, height, width }: Picture,
  stored: readonly number[],
  place: (y: number, x: number) => readonly [y: number, x: number] | null,
): number[] {
  const values: number[] = [];
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const from = place(y, x);
        values.push(from === null ? 0 : stored[(channel * height + from[0]) * width + from[1]]!);
      }
    }
  }
  return values;
}

const range = (most: number) => Array.from({ length: 2 * most + 1 }, (_, i) => i - most);
const isInside = (at: number, size: number) => at >= 0 && at < size;
const SAMPLES = 400;
const SMALL: Picture = { channels: 2, height: 4, width: 5 };
const ALL: Augmentation = {
  shift: 1,
  crop: { padding: 2, paddingMode: "reflect" },
  horizontalFlip: true,
  verticalFlip: true,
  noise: 0.5,
};

const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const draws = fc.record({
  seed: uint32,
  epoch: fc.integer({ min: 0, max: 1_000_000 }),
  sample: fc.integer({ min: 0, max: 50_000_000 }),
  position: fc.integer({ min: 0, max: 5 }),
});

/** Which of the expected pictures each of many samples became, by name and count; fails on any other. */
function countOutcomes(changes: Augmentation, expected: ReadonlyMap<string, string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (let sample = 0; sample < SAMPLES; sample++) {
    const outcome = expected.get(change(SMALL, changes, pattern(SMALL), { seed: 5, sample }).join());
    if (outcome === undefined) throw new Error(`sample ${sample} became something else`);
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  }
  return counts;
}

/** What a picture looks like after each move by up to `most`, with the border that `at` makes of a place outside. */
function movedBy(most: number, at: (place: number, size: number) => number | null): Map<string, string> {
  const { height, width } = SMALL;
  const outcomes = new Map<string, string>();
  for (const down of range(most)) {
    for (const right of range(most)) {
      const picture = moved(SMALL, pattern(SMALL), (y, x) => {
        const [row, column] = [at(y - down, height), at(x - right, width)];
        return row === null || column === null ? null : [row, column];
      });
      outcomes.set(picture.join(), `${down} ${right}`);
    }
  }
  return outcomes;
}

/** No outcome is far from its share: five deviations of a binomial. */
function expectEvenly(counts: ReadonlyMap<string, number>, outcomes: number): void {
  expect(counts.size).toBe(outcomes);
  const share = SAMPLES / outcomes;
  for (const count of counts.values()) expect(Math.abs(count - share)).toBeLessThan(5 * Math.sqrt(share));
}

describe("a changed picture", () => {
  it("is the same for the same seed, epoch, input and sample, whatever was computed before (I2)", () => {
    fc.assert(
      fc.property(draws, draws, (draw, other) => {
        const augmenter = new Augmenter(draw.position, { shape: ["N", 2, 4, 5] }, ALL, PLAIN);
        const target = new Float32Array(3 * 40);
        augmenter.startEpoch(other.seed, other.epoch);
        augmenter.copy(other.sample, pattern(SMALL), 0, target, 0);
        augmenter.startEpoch(draw.seed, draw.epoch);
        augmenter.copy(draw.sample, [...new Array(40).fill(0), ...pattern(SMALL)], 1, target, 2);
        expect([...target.subarray(80)]).toEqual(change(SMALL, ALL, pattern(SMALL), draw));
      }),
      { seed: 1, numRuns: 50 },
    );
  });

  it("is another one for another seed, epoch, input or sample", () => {
    fc.assert(
      fc.property(draws, fc.constantFrom("seed", "epoch", "position", "sample" as const), (draw, key) => {
        const one = change(SMALL, ALL, pattern(SMALL), draw);
        expect(change(SMALL, ALL, pattern(SMALL), { ...draw, [key]: draw[key] + 1 })).not.toEqual(one);
      }),
      { seed: 2, numRuns: 50 },
    );
  });

  it("has these very bits: they are part of the protocol", () => {
    const bits = new Int32Array(
      new Float32Array(change(SMALL, ALL, pattern(SMALL), { seed: 7, epoch: 3, sample: 11 })).buffer,
    );
    expect([...bits]).toMatchInlineSnapshot(`
      [
        -1085944771,
        1060174364,
        -1100434420,
        -1113157365,
        -1118335353,
        1099760523,
        1099776881,
        1100807845,
        1099606317,
        1099058200,
        1093970888,
        1096243513,
        1097512819,
        1095179995,
        1094921533,
        1088873381,
        1089590970,
        1091239029,
        1088412071,
        1090157629,
        -1098868379,
        -1102681854,
        -1093008998,
        1055999694,
        1056401021,
        1108486578,
        1108841529,
        1109065421,
        1108902355,
        1108624534,
        1107128200,
        1107543977,
        1107896420,
        1107628005,
        1106987736,
        1104975812,
        1104980882,
        1105253086,
        1105116330,
        1104551909,
      ]
    `);
  });

  it("takes scale and offset as one that is not changed, and is uncovered to a stored 0", () => {
    const unit = { scale: 0.1, offset: -3 };
    const values = change(SMALL, { shift: 3 }, pattern(SMALL), { sample: 1 }, unit);
    const expected = change(SMALL, { shift: 3 }, pattern(SMALL), { sample: 1 });
    expect(expected).toContain(0);
    expect(values).toEqual(expected.map((value) => Math.fround(value * 0.1 - 3)));
  });

  it("of [N, H, W] has one channel", () => {
    const augmenter = new Augmenter(0, { shape: ["N", 4, 5] }, ALL, PLAIN);
    augmenter.startEpoch(3, 4);
    const target = new Float32Array(20);
    const picture = { channels: 1, height: 4, width: 5 };
    augmenter.copy(9, pattern(picture), 0, target, 0);
    expect([...target]).toEqual(change(picture, ALL, pattern(picture), { seed: 3, epoch: 4, sample: 9 }));
  });
});

describe("the kinds of changes", () => {
  it("shift moves all channels alike, down and across, by each distance equally often", () => {
    const outcomes = movedBy(2, (place, size) => (isInside(place, size) ? place : null));
    expectEvenly(countOutcomes({ shift: 2 }, outcomes), 25);
  });

  it.each([
    ["constant", (place: number, size: number) => (isInside(place, size) ? place : null)],
    ["edge", (place: number, size: number) => Math.max(0, Math.min(size - 1, place))],
    // 3 2 1 | 0 1 2 3 | 2 1 0, as numpy.pad.
    ["reflect", (place: number, size: number) => (place < 0 ? -place : place < size ? place : 2 * size - 2 - place)],
  ] as const)("crop takes a window out of the picture with a border: %s", (paddingMode, at) => {
    expectEvenly(countOutcomes({ crop: { padding: 2, paddingMode } }, movedBy(2, at)), 25);
  });

  it("flips mirror half of the pictures, and are undone by themselves", () => {
    const { height, width } = SMALL;
    const across = moved(SMALL, pattern(SMALL), (y, x) => [y, width - 1 - x]);
    const down = moved(SMALL, pattern(SMALL), (y, x) => [height - 1 - y, x]);
    const both = moved(SMALL, pattern(SMALL), (y, x) => [height - 1 - y, width - 1 - x]);
    const names = new Map([pattern(SMALL), across, down, both].map((picture, i) => [picture.join(), `${i}`]));
    const only = (...kept: readonly number[]) => new Map([...names].filter(([, name]) => kept.includes(Number(name))));
    expectEvenly(countOutcomes({ horizontalFlip: true }, only(0, 1)), 2);
    expectEvenly(countOutcomes({ verticalFlip: true }, only(0, 2)), 2);
    expectEvenly(countOutcomes({ horizontalFlip: true, verticalFlip: true }, names), 4);
    fc.assert(
      fc.property(draws, (draw) => {
        const flips: Augmentation = { horizontalFlip: true, verticalFlip: true };
        expect(change(SMALL, flips, change(SMALL, flips, pattern(SMALL), draw), draw)).toEqual(pattern(SMALL));
      }),
      { seed: 3 },
    );
  });

  it("come one after another: shift, crop, flips, each as it would come alone", () => {
    fc.assert(
      fc.property(draws, (draw) => {
        const { noise: _, ...moves } = ALL;
        const { shift, crop, ...flips } = moves;
        const kinds: readonly Augmentation[] = [{ shift }, { crop }, flips] as Augmentation[];
        const apart = kinds.reduce((picture, kind) => change(SMALL, kind, picture, draw), pattern(SMALL));
        expect(change(SMALL, moves, pattern(SMALL), draw)).toEqual(apart);
      }),
      { seed: 4 },
    );
  });

  it("noise has mean 0, the deviation asked for and a bell's tails, and other values for each pixel and channel", () => {
    const picture = { channels: 3, height: 64, width: 64 };
    const sigma = 0.25;
    const noises = [0, 1, 2, 3].flatMap((sample) =>
      change(picture, { noise: sigma }, new Uint8Array(3 * 64 * 64), { sample }),
    );
    const moment = (power: number) => noises.reduce((sum, value) => sum + (value / sigma) ** power, 0) / noises.length;
    const within = (value: number, expected: number, deviation: number) =>
      expect(Math.abs(value - expected)).toBeLessThan(5 * (deviation / Math.sqrt(noises.length)));
    within(moment(1), 0, 1);
    within(moment(2), 1, Math.sqrt(2));
    within(moment(3), 0, Math.sqrt(15));
    // Of a sum of eight uniform values: 3 − 1.2/8; a normal one has 3.
    within(moment(4), 2.85, Math.sqrt(96));
    const product = noises.reduce((sum, value, i) => sum + (value * (noises[i + 1] ?? 0)) / sigma ** 2, 0);
    within(product / noises.length, 0, 1);
    expect(new Set(noises).size).toBeGreaterThan(1_000);
  });

  it("noise is added to what was moved, and to what is uncovered", () => {
    const noise = change(SMALL, { noise: 0.5 }, new Uint8Array(40));
    const shift = change(SMALL, { shift: 3 }, pattern(SMALL));
    expect(shift).toContain(0);
    const both = change(SMALL, { shift: 3, noise: 0.5 }, pattern(SMALL));
    expect(both.map((value, i) => value - shift[i]!)).toEqual(noise.map((value) => expect.closeTo(value, 5)));
  });
});

const AUGMENT: AugmentOptions = { shift: 1, crop: { padding: 1 }, horizontalFlip: true, verticalFlip: true, noise: 3 };
const COLUMNS = [
  { name: "picture", dtype: "uint8", shape: [3, 4] },
  { name: "answer", dtype: "float32", shape: [1] },
] as const;
const COUNT = 20;
const VALUES = {
  picture: Array.from({ length: COUNT * 12 }, (_, i) => i % 251),
  answer: Array.from({ length: COUNT }, (_, i) => i),
};

/** Twelve samples to train on in steps of 5, five and three held out, in micro-batches of 4; `y` is the sample's number. */
function session(augment?: AugmentOptions, parts: "hosted" | "local" = "hosted") {
  const sources = { x: { column: "picture", scale: 0.5, offset: 1, ...(augment && { augment }) }, y: "answer" };
  return defineSession({
    title: "Pictures",
    model: nn.sequential(nn.flatten(), nn.linear(12, 1)),
    input: [3, 4],
    loss: loss.mse(),
    optimizer: optim.sgd({ lr: 0.1 }),
    data:
      parts === "hosted"
        ? dataset("pictures", { ...sources, train: [0, 12], validation: [12, 17], test: [17, 20] })
        : localData({ ...sources, columns: COLUMNS, samplesPerEpoch: 12 }),
    batchSize: 5,
    microBatch: 4,
    epochs: 5,
    seed: 3,
  });
}

let built: Awaited<ReturnType<typeof buildDataset>>;
beforeAll(async () => {
  built = await buildDataset(
    COLUMNS.map((column) => ({ ...column, values: VALUES[column.name] })),
    COUNT,
    6,
  );
});

interface Opened {
  readonly source: DataSource;
  readonly slot: Slot;
}

function openHosted(augment?: AugmentOptions): Opened & { readonly requests: string[] } {
  const { graph, data, seed, ...rest } = session(augment);
  const plan = planRun({ graph, data, seed, ...rest });
  const requests: string[] = [];
  const clock = new FakeClock();
  const platform = {
    fetch: async (url: string) => {
      const hash = url.split("/").at(-1)!;
      requests.push(hash);
      return new Response(built.chunks.get(hash));
    },
    now: () => 0,
    setTimer: clock.setTimer,
    clearTimer: clock.clearTimer,
    random: () => 0.5,
    sha256,
    chunkCache: null,
  } as unknown as Platform;
  const chunks = new ChunkStore({ platform, url: (hash) => `http://127.0.0.1:9/chunks/${hash}` });
  const { manifest } = built;
  const source = new HostedSource({ graph, data: data as HostedData, manifest, plan, seed, chunks, now: () => 0 });
  return { source, slot: source.createSlot(), requests };
}

/** What the augmenter of the first input makes of a sample. */
const expectedOf = (sample: number, seed: number, epoch: number): number[] =>
  change(
    { channels: 1, height: 3, width: 4 },
    session(AUGMENT).data.inputs.x!.augment!,
    VALUES.picture.slice(sample * 12, sample * 12 + 12),
    { seed, epoch, sample },
    { scale: 0.5, offset: 1 },
  );

describe("hosted data", () => {
  it("is changed by the seed, the epoch and the sample, in a calibration as in the step that it is for", async () => {
    const { source, slot } = openHosted(AUGMENT);
    for (const [work, step, index] of [
      ["calibrate", 0, 0],
      ["train", 0, 0],
      ["train", 4, 1],
      ["train", 8, 0],
      ["train", 1, 0],
    ] as const) {
      const real = await source.fill({ work, step, index }, slot);
      const epoch = Math.floor(step / 3);
      const samples = [0, 1, 2, 3].map((i) =>
        sampleIndex(3, epoch, 12, (step % 3) * 5 + index * 4 + Math.min(i, real - 1)),
      );
      expect(slot.x).toBeInstanceOf(Float32Array);
      expect([...valuesOf(slot.y!)]).toEqual(samples);
      expect([...valuesOf(slot.x!)]).toEqual(samples.flatMap((sample) => expectedOf(sample, 3, epoch)));
      expect([...valuesOf(slot.weight!)]).toEqual([0, 1, 2, 3].map((i) => (i < real ? 1 : 0)));
    }
  });

  it("is changed alike where micro-batches of two epochs wait for their chunks at once", async () => {
    const { source, slot } = openHosted(AUGMENT);
    const other = openHosted(AUGMENT).slot;
    const { length } = await Promise.all([
      source.fill({ work: "train", step: 0, index: 0 }, slot),
      source.fill({ work: "train", step: 3, index: 0 }, other),
    ]);
    expect(length).toBe(2);
    expect([...valuesOf(slot.x!)]).toEqual([...valuesOf(slot.y!)].flatMap((sample) => expectedOf(sample, 3, 0)));
    expect([...valuesOf(other.x!)]).toEqual([...valuesOf(other.y!)].flatMap((sample) => expectedOf(sample, 3, 1)));
  });

  it("is never changed where it is held out", async () => {
    const [changed, plain] = [openHosted(AUGMENT), openHosted()];
    for (const work of ["validate", "test"] as const) {
      // Training comes first, so that an epoch is under way.
      for (const { source, slot } of [changed, plain]) await source.fill({ work: "train", step: 3, index: 0 }, slot);
      expect(valuesOf(changed.slot.x!)).not.toEqual(valuesOf(plain.slot.x!));
      for (const { source, slot } of [changed, plain]) await source.fill({ work, step: 3, index: 0 }, slot);
      for (const name of Object.keys(plain.slot)) {
        expect(valuesOf(changed.slot[name]!)).toEqual(valuesOf(plain.slot[name]!));
      }
    }
  });

  it("is fetched ahead as it is without changes", async () => {
    const [changed, plain] = [openHosted(AUGMENT), openHosted()];
    for (const { source, slot } of [changed, plain]) {
      source.prefetch("train", 0, 0, 2);
      await source.fill({ work: "train", step: 0, index: 1 }, slot);
    }
    expect(changed.requests.length).toBeGreaterThan(0);
    expect(changed.requests).toEqual(plain.requests);
    expect(valuesOf(changed.slot.y!)).toEqual(valuesOf(plain.slot.y!));
  });
});

describe("a client's own data", () => {
  it("is changed by the client's seed, its pass through its samples, and the sample", async () => {
    const { graph, data, ...rest } = session(AUGMENT, "local");
    const plan = planRun({ graph, data, ...rest });
    const shuffleSeed = 77;
    const source = new LocalSource({ graph, data: data as LocalData, columns: VALUES, plan, shuffleSeed });
    const slot = source.createSlot();
    // Micro-batches of 4 and 1 samples: the pass of 20 ends within the ninth.
    const seen: number[] = [];
    for (let round = 0; round < 5; round++) {
      for (const index of [0, 1]) {
        const real = await source.fill({ work: "train", step: 0, index }, slot);
        for (let i = 0; i < real; i++) {
          const sample = valuesOf(slot.y!)[i]!;
          const pass = Math.floor(seen.length / COUNT);
          expect([...valuesOf(slot.x!).subarray(i * 12, i * 12 + 12)]).toEqual(expectedOf(sample, shuffleSeed, pass));
          seen.push(sample);
        }
      }
    }
    expect(seen).toHaveLength(25);
  });
});
