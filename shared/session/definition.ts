/**
 * A training session as one declarative, serialisable value: what a session file exports, what the command line sends
 * and what every client reads and checks before it computes anything. No code, no addresses.
 */

import type { GradientCodec } from "../codec/codecs.ts";
import type { Graph } from "../graph/ir.ts";
import type { Access } from "./access.ts";
import type { Aggregation } from "./aggregation.ts";
import type { Audits } from "./audits.ts";
import type { Augmentation } from "./augmentation.ts";
import type { Averaging, Clipping, GroupOptions, OptimizerOptions } from "./optimizer.ts";
import type { Schedule } from "./schedule.ts";
import type { RowWindow } from "./window.ts";

export type { GradientCodec } from "../codec/codecs.ts";

/** One array of a data set or of a client's own data. `shape` is one sample's. */
export interface ColumnSpec {
  readonly name: string;
  /** Type of the stored bytes (little-endian). */
  readonly dtype: "uint8" | "int32" | "float32";
  readonly shape: readonly number[];
}

/** Binds a graph input to a data column: value = stored × scale + offset for float32 inputs, unchanged for int32 ones. */
export interface InputBinding {
  readonly column: string;
  readonly scale: number;
  readonly offset: number;
  /** Random changes of its pictures while training; absent where they are taken as they are. */
  readonly augment?: Augmentation;
  /** Rows further on that it reads, where samples are windows; 0 if absent. */
  readonly shift?: number;
}

/** A data set held by the coordinator. Splits are half-open ranges of its rows, which are the samples unless there are windows. */
export interface HostedData {
  readonly source: "dataset";
  /** Name, resolved to a manifest when the session is created. */
  readonly dataset: string;
  /** Samples are windows over consecutive rows, such as the tokens of a text. */
  readonly window?: RowWindow;
  readonly inputs: Readonly<Record<string, InputBinding>>;
  readonly train: readonly [from: number, to: number];
  readonly validation: readonly [from: number, to: number];
  readonly test: readonly [from: number, to: number];
}

/** Every client brings its own samples: the coordinator assigns counts. No validation or test split. */
export interface LocalData {
  readonly source: "local";
  readonly columns: readonly ColumnSpec[];
  readonly inputs: Readonly<Record<string, InputBinding>>;
  /** Samples that count as one epoch. */
  readonly samplesPerEpoch: number;
}

export type SessionData = HostedData | LocalData;

/** Ends the training when held-out samples no longer gain anything. Looked at after each evaluation, that is each epoch. */
export interface EarlyStopping {
  /** What decides, and which weights are best: `loss`, or a figure of the session's such as `correct`. */
  readonly metric: string;
  /** Evaluations without a change for the better after which it stops. */
  readonly patience: number;
  /** Changes up to this size do not count. */
  readonly minimumChange: number;
  /** Whether it ends with the best weights; otherwise with the last ones. */
  readonly restoreBest: boolean;
}

export interface SessionDefinition {
  readonly format: 1;
  readonly title: string;
  readonly description: string;
  /** Who runs this session and how to reach them, for volunteers; empty where nobody says. */
  readonly contact: string;
  /** Under what terms the data were obtained and may be used, and the trained weights may be; empty where nobody says. */
  readonly dataLicence: string;
  readonly modelLicence: string;
  readonly graph: Graph;
  readonly optimizer: OptimizerOptions;
  /** Values of their own for the groups that the graph's parameters name; absent where all are of one. */
  readonly groups?: Readonly<Record<string, GroupOptions>>;
  /** Absent where gradients are averaged: who computes them is then trusted. */
  readonly aggregation?: Aggregation;
  /** Absent where gradients are taken as they are. */
  readonly clipping?: Clipping;
  /** Absent where the learning rate stays. */
  readonly schedule?: Schedule;
  /** Absent where no average of weights is kept. */
  readonly average?: Averaging;
  readonly data: SessionData;
  /** Samples of a global batch: one optimizer step. */
  readonly batchSize: number;
  /** Samples of a micro-batch: the unit of assignment and of arithmetic (invariant I1). */
  readonly microBatch: number;
  readonly epochs: number;
  /** Stops after so many steps even inside an epoch; null for no such limit. */
  readonly maxSteps: number | null;
  /** Absent where only epochs and steps end the training; it then ends with the weights of the least held-out loss. */
  readonly earlyStopping?: EarlyStopping;
  /** Unsigned 32-bit integer. */
  readonly seed: number;
  /**
   * Hex SHA-256 of the first values of the parameters whose initializer is `given`: the flat parameter space in float32,
   * uploaded as a chunk. Absent where all first values follow from the seed.
   */
  readonly initialWeights?: string;
  readonly codec: GradientCodec;
  /** How weights come after each step: `delta` sends what changed, in units of a grid; absent where they come whole. */
  readonly downlink?: "delta";
  /** Part of a step's micro-batches that is enough once all others are overdue; absent where all are waited for. Gives up invariant I1. */
  readonly quorum?: number;
  /** Which results are computed a second time by somebody else; absent for the defaults, where that is possible. */
  readonly audits?: Audits | "off";
  /** Sessions are listed only if `public`; a private one is served with `private` caching. */
  readonly visibility: "public" | "private";
  /** Who may join and read; absent where the link is enough for both. */
  readonly access?: Access;
}

/** Largest values a coordinator accepts; a refusal states the figure. */
export const SESSION_LIMITS = {
  parameters: 3_000_000,
  /** Memory of weights, optimizer state and sums; Adam takes 54.4 MB for the most parameters. */
  optimizerBytes: 60_200_000,
  /** Parameter groups. */
  groups: 32,
  nodes: 2_000,
  definitionBytes: 1_000_000,
  batchSize: 65_536,
  microBatch: 1_024,
  microBatchesPerStep: 1_024,
  datasetBytes: 2_000_000_000,
  datasetSamples: 50_000_000,
  epochs: 1_000_000,
  titleCharacters: 200,
  descriptionCharacters: 4_000,
  /** Contact and licences. */
  noteCharacters: 200,
} as const;
