/**
 * Decoders of what comes over the wire, under mutated bytes: whatever comes, a decoder answers or throws the one class of error that
 * says what is wrong, and what it accepts keeps its promises. For the test and for scripts/fuzz.ts, which says how many.
 *
 * Mutational, with a corpus that grows: an input that makes a decoder answer in a way that was not seen before (another refusal, by
 * its words without their figures, or another shape of what is accepted) is kept and mutated further. That is a stand-in for counting
 * branches, which Node's V8 does too slowly for millions of inputs; what it cannot see is two branches that end in the same words.
 */

import { pack as packMessage } from "msgpackr";
import { Admission } from "../../coordinator/session/admission.ts";
import { Delivery, Upload } from "../../coordinator/session/upload.ts";
import { CheckpointError, parseHead } from "../../shared/checkpoint/head.ts";
import {
  addCoarse,
  CODECS,
  codecNames,
  encodeSparse,
  encodeSums,
  findPackingFault,
  findSparseFault,
  largestSum,
  pack,
  packedWidthsBytes,
  SparseReader,
  sparseBytes,
  unpack,
} from "../../shared/codec/index.ts";
import { GraphError } from "../../shared/graph/error.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { cutBody, decodeFrame, type Frame, FrameError, upwardLayout } from "../../shared/protocol/frames.ts";
import {
  decodeClientMessage,
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
  ProtocolError,
} from "../../shared/protocol/messages.ts";
import { publicName } from "../../shared/protocol/name.ts";
import { canonicalJson } from "../../shared/session/canonical.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { SessionError } from "../../shared/session/errors.ts";
import { parseManifest } from "../../shared/session/manifest.ts";
import { planRun } from "../../shared/session/plan.ts";
import { squaresOf } from "../../shared/session/squares.ts";
import { parseDefinition } from "../../shared/session/validate.ts";
import { coordinatorBudget } from "../../workers/limits.ts";
import { SUBJECTS as FILES } from "./readers.ts";

/** One decoder: what it does with bytes, honest inputs, and what it may throw. It answers with a word for the shape of what it accepted. */
export interface Decoder {
  readonly decode: (bytes: Uint8Array<ArrayBuffer>) => string;
  readonly seeds: readonly Uint8Array[];
  readonly refusals: readonly (new (...args: never[]) => Error)[];
  /** Cases of it in a hundred: the slow ones get few. */
  readonly share: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A copy whose buffer holds nothing else and begins at a multiple of 16: as a socket delivers. */
const alone = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

const sessionOf = (codec: SessionDefinition["codec"]): SessionDefinition =>
  defineSession({
    title: "Wire",
    model: nn.sequential(nn.linear(30, 12), nn.relu(), nn.linear(12, 3)),
    input: [30],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 1e-2 }),
    data: localData({
      x: "x",
      y: "y",
      columns: [
        { name: "x", dtype: "float32", shape: [30] },
        { name: "y", dtype: "int32", shape: [] },
      ],
      samplesPerEpoch: 48,
    }),
    batchSize: 24,
    microBatch: 4,
    epochs: 20,
    codec,
  });

const PARAMETERS = parameterLength(sessionOf("fixed32").graph);
const BLOCKS = Math.ceil(PARAMETERS / 256);
/** Micro-batches of the leases that are answered. */
const LEASED = 3;

const sumsOf = (codec: SessionDefinition["codec"]): Int32Array =>
  Int32Array.from({ length: PARAMETERS }, (_, at) =>
    CODECS[codec].part !== null && at % 50 !== 0 ? 0 : ((at * 37) % 15) - 7,
  );

/** A whole result in one frame. */
function resultFrame(codec: SessionDefinition["codec"]): Uint8Array<ArrayBuffer> {
  const squares = squaresOf(sessionOf(codec));
  const layout = upwardLayout("gradient", { metrics: 1, blocks: BLOCKS, squares });
  const sums = encodeSums(sumsOf(codec), codec, 2 ** -10);
  const body = new Uint8Array(layout.sums + sums.byteLength);
  body.fill(120, layout.maxima, layout.maxima + BLOCKS);
  body.set(sums, layout.sums);
  const weight = BigInt(LEASED * 4) << 24n;
  const frame = CODECS[codec].frame;
  const header = {
    kind: "gradient",
    codec: frame,
    version: 2,
    step: 0,
    lease: 7,
    clamped: 0,
    loss: weight,
    weight,
  } as const;
  const [only] = cutBody(header, body);
  if (only === undefined) throw new Error("a result has a frame");
  return only;
}

const LEASE = { id: 7, work: "train", step: 0, version: 2, from: 0, to: LEASED, assignedAt: 0, deadline: 1 } as const;

/** The coordinator's whole way in: frame, lease, exact size, content. */
function admit(codec: SessionDefinition["codec"]): Decoder {
  const definition = sessionOf(codec);
  const admission = new Admission(definition, planRun(definition));
  return {
    decode: (bytes) => {
      const frame = decodeFrame(bytes.buffer);
      if (frame.lease !== LEASE.id || frame.version !== LEASE.version || frame.step !== LEASE.step) return "stale";
      admission.checkHeader(LEASE, frame);
      const delivery =
        frame.payload.byteLength === frame.total ? new Delivery([frame.payload]) : new Upload(frame).add(frame);
      if (delivery === null) return "part";
      const { weight, sums, microBatches } = admission.read(LEASE, frame, delivery);
      if (weight < 0n || microBatches !== LEASED) throw new Error(`a weight of ${weight} was admitted`);
      if (CODECS[codec].frame === "sparse") {
        const total = new Int32Array(PARAMETERS);
        const bound = largestSum(codec, LEASED, LEASED);
        const isWithin = addCoarse(alone(sums[0] ?? new Uint8Array(0)), total, () => 2 ** 20, bound);
        const largest = total.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        if (largest > (isWithin ? bound : 0)) throw new Error(`a sum of ${largest} was admitted`);
      }
      return "admitted";
    },
    seeds: [resultFrame(codec)],
    refusals: [ProtocolError, FrameError],
    share: 6,
  };
}

const MESSAGES: readonly unknown[] = [
  { type: "hello", engine: "wasm", device: "WASM × 2" },
  {
    type: "hello",
    client: "ab".repeat(16),
    resumeKey: "01".repeat(16),
    engine: "webgpu",
    device: "x",
    name: "Ada",
    localSamples: 3,
  },
  { type: "ready", version: 4_294_967_295 },
  { type: "capacity", microBatches: 0 },
  { type: "failed", lease: 1, code: "lost", message: "device lost" },
  { type: "leave" },
  { type: "forget" },
  { type: "leave", constructor: { prototype: { polluted: 1 } } },
  JSON.parse('{"type":"leave","__proto__":{"polluted":1}}'),
  { type: "assign", lease: 1, work: "train", step: 1, version: 2, from: 0, to: 3 },
  { type: "receipt", lease: 1, accepted: true, reason: "", samples: 12 },
  { type: "welcome", client: "ab".repeat(16), resumeKey: "01".repeat(16), step: 0, version: 1 },
];

/** A map whose keys are dangerous, as bytes: msgpackr would write `__proto__` of an object's own alone. */
const dangerous = (key: string): Uint8Array => {
  const text = encoder.encode(key);
  return Uint8Array.of(
    0x82,
    0xa4,
    ...encoder.encode("type"),
    0xa5,
    ...encoder.encode("leave"),
    0xa0 | text.length,
    ...text,
    0x81,
    0xa1,
    0x78,
    1,
  );
};

/** Lists in lists, `depth` of them. */
const nested = (depth: number): Uint8Array => new Uint8Array(depth).fill(0x91);

const messageSeeds = [
  ...MESSAGES.map((message) => packMessage(message)),
  dangerous("__proto__"),
  dangerous("constructor"),
  dangerous("prototype"),
  nested(900),
  nested(4_096),
];

/** Nothing that was decoded may reach what all objects share. */
function requireClean(): void {
  const probe: Readonly<Record<string, unknown>> = {};
  if (probe.polluted !== undefined || probe.x !== undefined || Object.keys(Object.prototype).length > 0) {
    throw new Error("a message changed the prototype of all objects");
  }
}

/** What was decoded has nothing but its type's own fields, on a plain prototype. */
function shapeOf(message: object): string {
  requireClean();
  return `${Object.getPrototypeOf(message) === Object.prototype} ${Object.keys(message).join()}`;
}

const jsonOf = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch {
    throw new SessionError("bad-definition", "not JSON");
  }
};

/** The text of a checkpoint's header: its length comes before it as eight bytes. */
const headOf = (file: Uint8Array): Uint8Array => {
  const { buffer, byteOffset, byteLength } = file;
  return file.subarray(8, 8 + new DataView(buffer, byteOffset, byteLength).getUint32(0, true));
};

const seededDefinitions = [
  canonicalJson(sessionOf("fixed32")),
  canonicalJson({ ...sessionOf("packed8"), downlink: "delta", average: { decay: 0.9 } }),
].map((text) => encoder.encode(text));

const manifestSeed = encoder.encode(
  JSON.stringify({
    format: 1,
    name: "moons",
    splits: { train: [0, 320], test: [320, 400] },
    samples: 400,
    chunkSamples: 128,
    columns: [
      { name: "features", dtype: "float32", shape: [2] },
      { name: "moon", dtype: "int32", shape: [] },
    ],
    chunks: Array.from({ length: 4 }, (_, at) => String(at).repeat(64)),
  }),
);

const COUNT = 700;
const packedSeed = pack(Int32Array.from({ length: COUNT }, (_, at) => ((at * 7919) % 1_000) - 500));
const sparseSeed = encodeSparse(Int32Array.from({ length: COUNT }, (_, at) => (at % 13 === 0 ? (at % 200) - 100 : 0)));

export const DECODERS: Readonly<Record<string, Decoder>> = {
  frame: {
    decode: (bytes) => {
      const frame: Frame = decodeFrame(bytes.buffer);
      if (!isFrame(bytes.buffer)) throw new Error("a frame was read that is none");
      if (frame.offset + frame.payload.byteLength > frame.total) throw new Error("a payload beyond its body");
      return `${frame.kind} ${frame.codec}`;
    },
    seeds: [...codecNames.map(resultFrame)],
    refusals: [FrameError],
    share: 25,
  },
  "client message": {
    decode: (bytes) => {
      const message = decodeClientMessage(bytes.buffer);
      if (message.type === "hello" && message.name !== undefined) publicName(message.name);
      // What was accepted can be said again in the same size.
      encodeMessage(message);
      return shapeOf(message);
    },
    seeds: messageSeeds,
    refusals: [ProtocolError],
    share: 20,
  },
  "coordinator message": {
    decode: (bytes) => shapeOf(decodeCoordinatorMessage(bytes.buffer)),
    seeds: messageSeeds,
    refusals: [ProtocolError],
    share: 10,
  },
  packed: {
    decode: (bytes) => {
      const aligned = alone(bytes);
      const fault = findPackingFault(aligned, aligned.byteLength, COUNT, 12);
      if (fault !== null) throw new ProtocolError("bad-frame", fault);
      const values = new Int32Array(COUNT);
      unpack(aligned, values);
      if (values.some((value) => value < -2_048 || value > 2_047)) throw new Error("a value wider than its width");
      return String(aligned.subarray(0, packedWidthsBytes(COUNT)).reduce((most, width) => Math.max(most, width), 0));
    },
    seeds: [packedSeed],
    refusals: [ProtocolError],
    share: 8,
  },
  sparse: {
    decode: (bytes) => {
      const aligned = alone(bytes);
      const { most } = sparseBytes(COUNT, 70, 127);
      if (aligned.byteLength > most) throw new ProtocolError("bad-frame", "longer than it may be");
      const fault = findSparseFault(aligned, COUNT, 70, 127);
      if (fault !== null) throw new ProtocolError("bad-frame", fault);
      const values = new Int32Array(COUNT);
      new SparseReader(aligned, COUNT).every((index, value) => {
        values[index] = value;
        return true;
      });
      if (values.some((value) => Math.abs(value) > 127)) throw new Error("a value beyond the largest");
      return "added";
    },
    seeds: [sparseSeed],
    refusals: [ProtocolError],
    share: 8,
  },
  "fixed32 result": admit("fixed32"),
  "fixed16 result": admit("fixed16"),
  "packed8 result": admit("packed8"),
  "sparse10 result": admit("sparse10"),
  definition: {
    decode: (bytes) => {
      const definition = parseDefinition(jsonOf(bytes), coordinatorBudget);
      requireClean();
      return Object.keys(definition).join();
    },
    seeds: [...seededDefinitions, encoder.encode('{"__proto__":{"x":1},"title":"x"}')],
    refusals: [SessionError, GraphError],
    share: 1,
  },
  manifest: {
    decode: (bytes) => {
      const manifest = parseManifest(jsonOf(bytes));
      requireClean();
      return Object.keys(manifest).join();
    },
    seeds: [manifestSeed],
    refusals: [SessionError],
    share: 2,
  },
  "checkpoint head": {
    decode: (bytes) => {
      parseHead(decoder.decode(bytes));
      requireClean();
      return "head";
    },
    seeds: FILES.checkpoint?.seeds.map(headOf) ?? [],
    refusals: [CheckpointError],
    share: 2,
  },
};

/** xorshift32: what a case is follows from seed and number alone. */
export class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }
  /** An integer below `limit`. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % limit;
  }
}

/** Bytes that lengths, types and signs turn on. */
const INTERESTING = [
  0, 1, 0x7f, 0x80, 0x81, 0xa5, 0xc0, 0xc1, 0xc4, 0xc7, 0xca, 0xcf, 0xd9, 0xdc, 0xde, 0xdf, 0xff,
] as const;
const LONGEST = 1 << 16;

/** One of the mutations, or a few of them. */
export function mutate(bytes: Uint8Array, other: Uint8Array, dice: Dice): Uint8Array<ArrayBuffer> {
  let result = alone(bytes);
  for (let times = 1 + dice.below(3); times > 0; times--) {
    const at = dice.below(Math.max(result.length, 1));
    switch (dice.below(9)) {
      case 0:
        if (result.length > 0) result[at] ^= 1 << dice.below(8);
        break;
      case 1:
        if (result.length > 0) result[at] = INTERESTING[dice.below(INTERESTING.length)] ?? 0;
        break;
      case 2:
        result = result.slice(0, at);
        break;
      case 3: {
        const more = new Uint8Array(Math.min(LONGEST, result.length + 1 + dice.below(64)));
        more.set(result.subarray(0, more.length));
        result = more;
        break;
      }
      case 4: {
        // A piece of another one in the place of this one's.
        const from = dice.below(Math.max(other.length, 1));
        const piece = other.subarray(from, from + 1 + dice.below(32));
        result.set(piece.subarray(0, result.length - at), at);
        break;
      }
      case 5: {
        // The rest is another one's.
        const joined = new Uint8Array(Math.min(LONGEST, at + Math.max(0, other.length - at)));
        joined.set(result.subarray(0, at));
        joined.set(other.subarray(at, joined.length), Math.min(at, joined.length));
        result = joined;
        break;
      }
      case 6:
        // Four bytes as one number, at a multiple of four as headers have them.
        if (result.length >= 4) {
          const value = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, dice.below(2 ** 31)][dice.below(6)] ?? 0;
          new DataView(result.buffer).setUint32(Math.min(at & ~3, result.length - 4), value, true);
        }
        break;
      case 7: {
        // Once more what is there.
        const piece = result.subarray(at, at + 1 + dice.below(32));
        const longer = new Uint8Array(Math.min(LONGEST, result.length + piece.length));
        longer.set(result.subarray(0, at));
        longer.set(piece.subarray(0, longer.length - at), at);
        longer.set(result.subarray(at, longer.length - piece.length), Math.min(at + piece.length, longer.length));
        result = longer;
        break;
      }
      default:
        for (let index = at; index < Math.min(result.length, at + 8); index++) result[index] = dice.below(256);
    }
  }
  return result;
}

/** Inputs that are mutated further, at most. */
const CORPUS = 512;

export interface Outcome {
  accepted: number;
  refused: number;
  /** Ways of answering that were seen. */
  readonly behaviours: Set<string>;
}

/** One decoder's run: its corpus grows as it goes, so what a case is follows from the seed and all cases before it. */
export class WireFuzz {
  readonly outcome: Outcome = { accepted: 0, refused: 0, behaviours: new Set() };
  readonly #name: string;
  readonly #seed: number;
  readonly #decoder: Decoder;
  readonly #dice: Dice;
  readonly #corpus: Uint8Array[];
  #number = 0;

  constructor(name: string, seed: number) {
    const found = DECODERS[name];
    if (found === undefined) throw new RangeError(`there is no decoder ${name}`);
    this.#name = name;
    this.#seed = seed;
    this.#decoder = found;
    this.#dice = new Dice(seed * 2_654_435_761 + name.length * 40_503);
    this.#corpus = found.seeds.map(alone);
    for (const bytes of this.#corpus.slice()) this.#try(alone(bytes));
  }

  /** Throws an Error with the input in hexadecimal at the first that is not answered for. */
  run(count: number): void {
    for (let end = this.#number + count; this.#number < end; this.#number++) {
      const [first, second] = [this.#pick(), this.#pick()];
      this.#try(mutate(first, second, this.#dice));
    }
  }

  /** Every other time an honest one: what many checks have let through so far is nearest to the next one. */
  #pick(): Uint8Array {
    const among = this.#dice.below(2) === 0 ? this.#decoder.seeds.length : this.#corpus.length;
    return this.#corpus[this.#dice.below(among)] ?? new Uint8Array(0);
  }

  #try(bytes: Uint8Array<ArrayBuffer>): void {
    let behaviour: string;
    try {
      behaviour = `+${this.#decoder.decode(bytes)}`;
      this.outcome.accepted += 1;
    } catch (error) {
      if (!this.#decoder.refusals.some((refusal) => error instanceof refusal)) {
        const input = Buffer.from(bytes.subarray(0, 4_096)).toString("hex");
        throw new Error(`${this.#name}, seed ${this.#seed}, case ${this.#number}: ${String(error)}\n${input}`, {
          cause: error,
        });
      }
      this.outcome.refused += 1;
      behaviour = wordsOf(error as Error);
    }
    const { behaviours } = this.outcome;
    if (behaviours.has(behaviour) || behaviours.size >= CORPUS) return;
    behaviours.add(behaviour);
    this.#corpus.push(bytes);
  }
}

/** A refusal without what is this input's own: its figures, what it quotes, and the name of a field, which may be made up. */
const wordsOf = ({ message }: Error): string =>
  message
    .replace(/^\S*: /, "")
    .replace(/received.*/s, "")
    .replace(/^[^:]*: /, "")
    .replace(/"[^"]*"?/g, "#")
    .replace(/[^a-z ]+/gi, "#")
    .slice(0, 80);
