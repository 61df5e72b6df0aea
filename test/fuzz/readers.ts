/**
 * Readers of files of other people's making under mutated files: whatever comes, a reader answers or throws the one class of
 * error that says what is wrong, in bounded memory. For the test and for scripts/fuzz-readers.ts, which says how many.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "fast-png";
import { zipSync } from "fflate";
import { continueCheckpoint, parseCheckpoint } from "../../cli/checkpoint.ts";
import { CliError } from "../../cli/errors.ts";
import { unpackNpz } from "../../cli/importers/arrays.ts";
import { parseCsv } from "../../cli/importers/csv.ts";
import { parseIdx } from "../../cli/importers/idx.ts";
import { parsePng } from "../../cli/importers/images.ts";
import { parseJsonl } from "../../cli/importers/jsonl.ts";
import { parseNpy } from "../../cli/importers/npy.ts";
import { parseSafetensors } from "../../cli/importers/safetensors.ts";
import { importTable } from "../../cli/importers/table.ts";
import { assembleFile, encodeSafetensors } from "../../cli/safetensors.ts";
import { readTokenizer } from "../../cli/tokenizer.ts";
import { VocabularyError } from "../../client/text/codec.ts";
import { encodeHistory, HistoryReader } from "../../coordinator/store/history.ts";
import {
  CheckpointError,
  type CheckpointHead,
  formatHead,
  parseHead,
  sealedText,
} from "../../shared/checkpoint/head.ts";
import { GraphError } from "../../shared/graph/error.ts";
import { initialize } from "../../shared/graph/initialize.ts";
import { buildGraph, defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { onnxModule } from "../../shared/onnx/module.ts";
import { dtypeOf } from "../../shared/onnx/tensor.ts";
import { threefry2x32 } from "../../shared/random/index.ts";
import { canonicalJson } from "../../shared/session/canonical.ts";

/** One reader: what it does with bytes, files that it reads (no Buffers, whose slices share their memory), and what it may throw. */
export interface Subject {
  readonly read: (bytes: Uint8Array) => void;
  readonly seeds: readonly Uint8Array[];
  readonly refusals: readonly (new (...args: never[]) => Error)[];
}

const encoder = new TextEncoder();
const fixture = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(join(import.meta.dirname, `../fixtures/onnx/${name}.onnx`)));

function npy(descr: string, shape: string, data: Uint8Array): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117);
  const head = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 118, 0);
  return new Uint8Array(Buffer.concat([head, encoder.encode(`${text}\n`), data]));
}

/** A small tokenizer.json. */
const tokenizer = (type: string): Uint8Array =>
  encoder.encode(
    JSON.stringify({
      added_tokens: [{ id: 4, content: "<s>", special: true, normalized: false }],
      normalizer: { type: "NFC" },
      pre_tokenizer: { type: "WhitespaceSplit" },
      post_processor: null,
      decoder: { type: "ByteLevel" },
      model: { type, vocab: { a: 0, b: 1, ab: 2, "[UNK]": 3 }, merges: [["a", "b"]], unk_token: "[UNK]" },
    }),
  );

const picture = (channels: number): Uint8Array =>
  encode({
    width: 5,
    height: 4,
    channels,
    depth: 8,
    data: Uint8Array.from({ length: 20 * channels }, (_, at) => at * 7),
  });

const network = buildGraph({ model: nn.sequential(nn.linear(3, 4), nn.linear(4, 2)), loss: loss.mse(), input: [3] });
const floats = npy("<f4", "(2, 3)", new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer));
const integers = npy("<i8", "(3,)", new Uint8Array(BigInt64Array.of(1n, 2n, 3n).buffer));

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

const session = defineSession({
  title: "Fuzzed",
  model: nn.sequential(nn.linear(3, 4), nn.linear(4, 2)),
  input: [3],
  loss: loss.mse(),
  optimizer: optim.sgd({ lr: 0.1 }),
  data: localData({
    x: "x",
    y: "y",
    columns: [
      { name: "x", dtype: "float32", shape: [3] },
      { name: "y", dtype: "float32", shape: [2] },
    ],
    samplesPerEpoch: 8,
  }),
  batchSize: 8,
  epochs: 5,
});

const history = [1, 2].map((step) => {
  const engines = { wasm: 8 };
  return {
    work: "train",
    step,
    epoch: step - 1,
    loss: 0.5,
    metrics: { mae: 1 },
    tables: {},
    samples: 8,
    engines,
    clamped: 0,
    lr: 0.01,
    time: 7,
  } as const;
});
const historyText = new Uint8Array(Buffer.concat([...encodeHistory(history, 1_000)]));

/** The file with hashes and a seal that are right, whatever it says: what is checked after them is reached, too. */
function seal(head: CheckpointHead, data: Uint8Array): Uint8Array<ArrayBuffer> {
  let end = 0;
  const parts = head.parts.map((part) => {
    end += part.bytes;
    return { ...part, sha256: sha256(data.subarray(end - part.bytes, end)) };
  });
  const sealed = { ...head, parts };
  return assembleFile(formatHead(sealed, sha256(sealedText(sealed))), [data]);
}

const checkpoint = seal(
  {
    session: "0".repeat(32),
    definition: canonicalJson(session),
    manifest: null,
    state: { stage: "train", step: 2, version: 3, best: null, weightsHash: null, bestHash: null },
    parts: [
      { name: "history", dtype: "U8", bytes: historyText.length, sha256: "" },
      { name: "latest.weights", dtype: "F32", bytes: 4 * 28, sha256: "" },
    ],
  },
  new Uint8Array(Buffer.concat([historyText, new Uint8Array(4 * 28)])),
);

function readSealed(bytes: Uint8Array): void {
  if (bytes.length < 8) return;
  const start = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const { head } = parseHead(new TextDecoder().decode(bytes.subarray(8, start)));
  const read = parseCheckpoint(seal(head, bytes.subarray(start)), "f");
  continueCheckpoint(read, { ...read.definition, epochs: 99 });
}

export const SUBJECTS: Readonly<Record<string, Subject>> = {
  onnx: {
    read(bytes) {
      const model = onnxModule(bytes);
      const input = model.model.inputs.map(({ name, type, shape }) => {
        const sizes = (shape ?? [null, 3]).slice(1).map((size) => Math.min(size ?? 3, 64));
        const dtype = type === 0 || dtypeOf(type) === "float" ? ("float32" as const) : ("int32" as const);
        return [name, { dtype, shape: sizes }] as const;
      });
      buildGraph({ model, loss: loss.mse(), input: Object.fromEntries(input) });
    },
    seeds: [
      "mlp",
      "residual",
      "rows",
      "batch-norm",
      "activations",
      "convolutions",
      "attention",
      "transformer-batch-1",
    ].map(fixture),
    refusals: [GraphError],
  },
  safetensors: {
    read: (bytes) => void parseSafetensors(bytes, "f"),
    seeds: [encodeSafetensors(network, initialize(network, 1), { format: "pt" })],
    refusals: [CliError],
  },
  /** As it is, and with its seal mended. */
  checkpoint: {
    read: (bytes) => {
      try {
        parseCheckpoint(bytes, "f");
      } catch (error) {
        if (!(error instanceof CliError)) throw error;
        readSealed(bytes);
      }
    },
    seeds: [checkpoint],
    refusals: [CliError, CheckpointError],
  },
  history: {
    read: (bytes) => {
      const reader = new HistoryReader(2);
      for (const half of [bytes.subarray(0, 50), bytes.subarray(50)]) for (const _ of reader.take(half));
      reader.end();
    },
    seeds: [historyText],
    refusals: [CheckpointError],
  },
  npy: { read: (bytes) => void parseNpy(bytes, "f"), seeds: [floats, integers], refusals: [CliError] },
  npz: {
    read: (bytes) => {
      for (const [name, array] of Object.entries(unpackNpz(bytes, "f"))) parseNpy(array, name);
    },
    seeds: [new Uint8Array(zipSync({ "x.npy": floats, "y.npy": integers }))],
    refusals: [CliError],
  },
  idx: {
    read: (bytes) => void parseIdx(bytes, "f"),
    seeds: [Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 9, 8, 7, 6)],
    refusals: [CliError],
  },
  csv: {
    read: (bytes) => void importTable(parseCsv(bytes, "f"), { file: "f", target: "label" }),
    seeds: [encoder.encode('a,b,"c d",label\n1,2.5,"x, y",p\n-3,4e2,"say ""so""",q\n5,6,z,p\n7,8,z,q\n9,1,x,p\n')],
    refusals: [CliError],
  },
  jsonl: {
    read: (bytes) => void parseJsonl(bytes, "f", ["text", "label"]),
    seeds: [encoder.encode('{"text":"so it goes","label":1}\n\n{"more":[],"label":true,"text":"naïve \\"café\\""}\n')],
    refusals: [CliError],
  },
  tokenizer: {
    read: (bytes) => {
      const codec = readTokenizer(bytes, "f");
      codec.decode(codec.encode("abab <s> naïve"));
    },
    seeds: [tokenizer("BPE"), tokenizer("WordPiece")],
    refusals: [CliError, VocabularyError],
  },
  png: {
    read: (bytes) => void parsePng(bytes, "f"),
    seeds: [picture(1), picture(3), picture(4)],
    refusals: [CliError],
  },
};

/** Numbers that are limits of something, as bytes or as 32-bit words. */
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
/** Changes of one case; mostly few, so that what comes after the first check is reached, too. */
const CHANGES_A_CASE = [1, 1, 1, 1, 2, 2, 3, 5];
const MOST_BYTES = 65_536;

/** Random whole numbers from a seed and a case's number. */
class Dice {
  readonly #words = new Uint32Array(2);
  readonly #seed: number;
  readonly #number: number;
  #count = 0;

  constructor(seed: number, number: number) {
    this.#seed = seed;
    this.#number = number;
  }

  below(limit: number): number {
    threefry2x32(this.#seed, this.#number, this.#count++, 0, this.#words);
    return this.#words[0]! % limit;
  }
}

type Change = (bytes: Uint8Array, dice: Dice, other: Uint8Array) => Uint8Array;

const splice = (bytes: Uint8Array, from: number, to: number, between: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.concat([bytes.subarray(0, from), between, bytes.subarray(to)]));

const CHANGES: readonly Change[] = [
  // One byte, one bit, one word.
  (bytes, dice) => bytes.with(dice.below(bytes.length), dice.below(256)),
  (bytes, dice) => {
    const at = dice.below(bytes.length);
    return bytes.with(at, bytes[at]! ^ (1 << dice.below(8)));
  },
  (bytes, dice) => {
    const changed = bytes.slice();
    const at = dice.below(bytes.length);
    const word = INTERESTING[dice.below(INTERESTING.length)]!;
    const isLittle = dice.below(2) === 0;
    for (let byte = 0; byte < 4 && at + byte < bytes.length; byte++) {
      changed[at + byte] = word >>> (8 * (isLittle ? byte : 3 - byte));
    }
    return changed;
  },
  // Cut off, cut out, doubled, and grafted.
  (bytes, dice) => bytes.slice(0, dice.below(bytes.length)),
  (bytes, dice) => {
    const from = dice.below(bytes.length);
    return splice(bytes, from, Math.min(bytes.length, from + 1 + dice.below(32)), new Uint8Array(0));
  },
  (bytes, dice) => {
    const from = dice.below(bytes.length);
    return splice(bytes, from, from, bytes.subarray(from, from + 1 + dice.below(64)));
  },
  (bytes, dice, other) => {
    const from = dice.below(other.length);
    return splice(bytes, dice.below(bytes.length), bytes.length, other.subarray(from));
  },
];

/** The mutated file of one case: the same for the same seed and number. */
export function mutate({ seeds }: Subject, seed: number, number: number): Uint8Array {
  const dice = new Dice(seed, number);
  const pick = (): Uint8Array => seeds[dice.below(seeds.length)]!;
  let bytes = pick();
  for (let left = CHANGES_A_CASE[dice.below(CHANGES_A_CASE.length)]!; left > 0 && bytes.length > 0; left--) {
    bytes = CHANGES[dice.below(CHANGES.length)]!(bytes, dice, pick()).subarray(0, MOST_BYTES);
  }
  return bytes;
}

export interface Outcome {
  readonly read: number;
  readonly refused: number;
}

/** Throws what a reader threw that it may not, with the case that made it. */
export function fuzz(name: string, seed: number, from: number, to: number): Outcome {
  const subject = SUBJECTS[name];
  if (subject === undefined) throw new RangeError(`there is no reader ${name}`);
  let [read, refused] = [0, 0];
  for (let number = from; number < to; number++) {
    try {
      subject.read(mutate(subject, seed, number));
      read += 1;
    } catch (error) {
      if (!subject.refusals.some((refusal) => error instanceof refusal)) {
        throw new Error(`the ${name} reader, seed ${seed}, case ${number}: ${String(error)}`, { cause: error });
      }
      refused += 1;
    }
  }
  return { read, refused };
}
