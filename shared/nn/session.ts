/** `defineSession` and the data that goes into it, with sensible defaults. */

import type { Graph, Parameter } from "../graph/ir.ts";
import type { Access } from "../session/access.ts";
import type { Aggregation } from "../session/aggregation.ts";
import { type Audits, DEFAULT_AUDITS } from "../session/audits.ts";
import type { Augmentation } from "../session/augmentation.ts";
import type {
  ColumnSpec,
  EarlyStopping,
  GradientCodec,
  HostedData,
  InputBinding,
  LocalData,
  SessionData,
  SessionDefinition,
} from "../session/definition.ts";
import {
  type Averaging,
  type Clipping,
  DEFAULT_GROUP,
  type GroupOptions,
  type OptimizerOptions,
} from "../session/optimizer.ts";
import type { Schedule } from "../session/schedule.ts";
import { buildGraph, type ModelDescription } from "./build.ts";
import { type NamedTensors, startFrom } from "./weights.ts";

/** Random changes of training pictures [C, H, W] or [H, W], made anew each epoch; held-out ones are taken as they are. */
export interface AugmentOptions {
  /** Moves a picture by up to so many pixels down or up, and across; 0 is not at all. */
  readonly shift?: number;
  /** A random window of the picture's size, once it has a border: `padding` pixels of the value of a stored 0, or of the picture's own. */
  readonly crop?: { readonly padding: number; readonly paddingMode?: "constant" | "edge" | "reflect" };
  /** Mirrors half of the pictures left to right. */
  readonly horizontalFlip?: boolean;
  /** Mirrors half of the pictures top to bottom. */
  readonly verticalFlip?: boolean;
  /** Standard deviation of what is added to each value, after scale and offset; 0 is nothing. */
  readonly noise?: number;
}

/**
 * Where an input comes from: a column's name, or with a scale and an offset (value = stored × scale + offset), and in windows
 * with a shift: how many rows further on it reads.
 */
export type InputSource =
  | string
  | {
      readonly column: string;
      readonly scale?: number;
      readonly offset?: number;
      readonly shift?: number;
      readonly augment?: AugmentOptions;
    };

/** What is not wanted is left out, so that it makes no other session; the rest is checked with the whole definition. */
function augmentation({ crop, ...options }: AugmentOptions): Augmentation | undefined {
  const border =
    crop === undefined || crop.padding === 0 ? {} : { crop: { ...crop, paddingMode: crop.paddingMode ?? "constant" } };
  const wanted = Object.entries({ ...options, ...border }).filter(
    ([, kind]) => kind !== undefined && kind !== false && kind !== 0,
  );
  return wanted.length === 0 ? undefined : (Object.fromEntries(wanted) as Augmentation);
}

function bind(source: InputSource): InputBinding {
  const binding: Exclude<InputSource, string> = typeof source === "string" ? { column: source } : source;
  const { column, scale = 1, offset = 0, shift, augment } = binding;
  const changes = augment === undefined ? undefined : augmentation(augment);
  return {
    column,
    scale,
    offset,
    ...(shift === undefined ? {} : { shift }),
    ...(changes === undefined ? {} : { augment: changes }),
  };
}

/** Where features and targets come from: one input is `x`, several are named as in the model's `input`. */
export type Sources = { readonly y: InputSource } & (
  | { readonly x: InputSource }
  | { readonly inputs: Readonly<Record<string, InputSource>> }
);

function bindAll(sources: Sources): Record<string, InputBinding> {
  const features = "inputs" in sources ? sources.inputs : { x: sources.x };
  return Object.fromEntries(
    Object.entries({ ...features, y: sources.y }).map(([name, source]) => [name, bind(source)]),
  );
}

type Range = readonly [from: number, to: number];

/**
 * A data set that was pushed to the coordinator.
 * @param name as in `commonweight dataset push <name>`
 * @param options columns of the features `x` (or of several inputs by name, `inputs`) and targets `y`; half-open ranges of samples to train on, to hold out for
 *   validation and to test with at the end. With `window` the ranges are of rows, such as the tokens of a text, and a sample is
 *   so many of them one after another; samples begin `stride` rows apart, as many as they are long if it is left out
 */
export function dataset(
  name: string,
  options: Sources & {
    train: Range;
    validation?: Range;
    test?: Range;
    window?: number | { readonly length: number; readonly stride?: number };
  },
): HostedData {
  const { train, validation = [0, 0], test = [0, 0], window } = options;
  const inputs = bindAll(options);
  if (window === undefined) return { source: "dataset", dataset: name, inputs, train, validation, test };
  const { length, stride = length }: { length: number; stride?: number } =
    typeof window === "number" ? { length: window } : window;
  return { source: "dataset", dataset: name, window: { length, stride }, inputs, train, validation, test };
}

/** Every client's own samples, which never leave it. */
export function localData(options: Sources & { columns: readonly ColumnSpec[]; samplesPerEpoch: number }): LocalData {
  const { columns, samplesPerEpoch } = options;
  return { source: "local", columns, inputs: bindAll(options), samplesPerEpoch };
}

const PATIENT: Omit<EarlyStopping, "patience"> = { metric: "loss", minimumChange: 0, restoreBest: true };

export interface SessionOptions extends ModelDescription {
  readonly title: string;
  readonly description?: string;
  /** Who runs it and how to reach them: shown to volunteers before they join. */
  readonly contact?: string;
  readonly dataLicence?: string;
  readonly modelLicence?: string;
  readonly optimizer: OptimizerOptions;
  /** Parameters with values of their own, by a name for them: a parameter is of the first group that takes it. */
  readonly groups?: Readonly<Record<string, GroupDescription>>;
  /** How a step's gradient is made of what clients sent; their plain mean if left out. */
  readonly aggregation?: Aggregation;
  /** Largest length, and largest value, of a step's mean gradient. */
  readonly clipping?: Clipping;
  /** The learning rate over time; it stays the optimizer's if left out. */
  readonly schedule?: Schedule;
  /** Keeps an exponential moving average of the weights: held-out samples are measured on it, and the session ends with it. */
  readonly average?: Averaging;
  readonly data: SessionData;
  readonly batchSize: number;
  readonly microBatch?: number;
  readonly epochs: number;
  readonly maxSteps?: number | null;
  /** Stops when the held-out loss, or another figure, has not got better for `patience` epochs; ends with the best weights. */
  readonly earlyStopping?: Partial<EarlyStopping> & Pick<EarlyStopping, "patience">;
  readonly seed?: number;
  /** First values by name instead of the seed's, such as a `state_dict`: exactly the model's parameters. */
  readonly weights?: NamedTensors;
  /** Part of a step's micro-batches, from 0.5 on, that is enough once all others are overdue. Without it all are waited for. */
  readonly quorum?: number;
  readonly codec?: GradientCodec;
  /** How weights come after each step: whole, or what changed of them in units of a grid. `float32` if absent. */
  readonly downlink?: "float32" | "delta";
  /** How many results are computed a second time by somebody else, to find liars; or `"off"`. */
  readonly audits?: Partial<Audits> | "off";
  readonly visibility?: "public" | "private";
  /** Who may join and who may read; everyone who has the link if absent. What is not said is open, but who cannot read cannot join. */
  readonly access?: Partial<Access>;
}

/** Which parameters a group has, and where they differ from the optimizer's values. */
export interface GroupDescription extends GroupOptions {
  /** Such as `optim.biasesAndNorms`, or `({ name }) => name.startsWith("head.")`. */
  readonly parameters: (parameter: Pick<Parameter, "name" | "shape">) => boolean;
}

/** The graph with each parameter's group written beside it. */
function groupParameters(graph: Graph, groups: Readonly<Record<string, GroupDescription>>): Graph {
  const entries = Object.entries(groups);
  const parameters = graph.parameters.map((parameter) => {
    const group = entries.find(([, { parameters: takes }]) => takes(parameter))?.[0] ?? DEFAULT_GROUP;
    return group === DEFAULT_GROUP ? parameter : { ...parameter, group };
  });
  return { ...graph, parameters };
}

const withoutSelector = ({ parameters: _, ...values }: GroupDescription): GroupOptions => values;

/** Reading by invitation alone makes joining so, too. */
function accessOf({ read = "open", join = read, origins }: Partial<Access>): Access {
  return { join, read, ...(origins === undefined ? {} : { origins }) };
}

/** A whole session as one serialisable value. Throws GraphError where model, input and loss do not fit together. */
export function defineSession(options: SessionOptions): SessionDefinition {
  const { title, description = "", contact = "", dataLicence = "", modelLicence = "" } = options;
  const {
    optimizer,
    groups,
    aggregation,
    clipping,
    schedule,
    average,
    data,
    batchSize,
    epochs,
    earlyStopping,
    quorum,
    audits,
  } = options;
  const { microBatch = 32, maxSteps = null, seed = 0, codec = "fixed32", visibility = "public" } = options;
  const built = options.weights === undefined ? buildGraph(options) : startFrom(buildGraph(options), options.weights);
  return {
    format: 1,
    title,
    description,
    contact,
    dataLicence,
    modelLicence,
    graph: groups === undefined ? built : groupParameters(built, groups),
    optimizer,
    ...(groups === undefined
      ? {}
      : { groups: Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, withoutSelector(group)])) }),
    ...(aggregation === undefined ? {} : { aggregation }),
    ...(clipping === undefined ? {} : { clipping }),
    ...(schedule === undefined ? {} : { schedule }),
    ...(average === undefined ? {} : { average }),
    data,
    batchSize,
    microBatch,
    epochs,
    maxSteps,
    ...(earlyStopping === undefined ? {} : { earlyStopping: { ...PATIENT, ...earlyStopping } }),
    ...(quorum === undefined ? {} : { quorum }),
    seed,
    codec,
    ...(options.downlink === "delta" ? { downlink: "delta" } : {}),
    ...(audits === undefined ? {} : { audits: audits === "off" ? audits : { ...DEFAULT_AUDITS, ...audits } }),
    visibility,
    ...(options.access === undefined ? {} : { access: accessOf(options.access) }),
  };
}
