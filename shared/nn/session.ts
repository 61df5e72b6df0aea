/** `defineSession` and the data that goes into it, with sensible defaults. */

import type {
  ColumnSpec,
  EarlyStopping,
  GradientCodec,
  HostedData,
  InputBinding,
  LocalData,
  OptimizerOptions,
  SessionData,
  SessionDefinition,
} from "../session/definition.ts";
import { buildGraph, type ModelDescription } from "./build.ts";
import { type NamedTensors, startFrom } from "./weights.ts";

/** Where an input comes from: a column's name, or with a scale and an offset (value = stored × scale + offset). */
export type InputSource = string | { readonly column: string; readonly scale?: number; readonly offset?: number };

function bind(source: InputSource): InputBinding {
  const { column, scale = 1, offset = 0 } = typeof source === "string" ? { column: source } : source;
  return { column, scale, offset };
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
 *   validation and to test with at the end
 */
export function dataset(
  name: string,
  options: Sources & { train: Range; validation?: Range; test?: Range },
): HostedData {
  const { train, validation = [0, 0], test = [0, 0] } = options;
  return { source: "dataset", dataset: name, inputs: bindAll(options), train, validation, test };
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
  readonly codec?: GradientCodec;
  readonly visibility?: "public" | "private";
}

/** A whole session as one serialisable value. Throws GraphError where model, input and loss do not fit together. */
export function defineSession(options: SessionOptions): SessionDefinition {
  const { title, description = "", contact = "", dataLicence = "", modelLicence = "" } = options;
  const { optimizer, data, batchSize, epochs, earlyStopping } = options;
  const { microBatch = 32, maxSteps = null, seed = 0, codec = "fixed32", visibility = "public" } = options;
  return {
    format: 1,
    title,
    description,
    contact,
    dataLicence,
    modelLicence,
    graph: options.weights === undefined ? buildGraph(options) : startFrom(buildGraph(options), options.weights),
    optimizer,
    data,
    batchSize,
    microBatch,
    epochs,
    maxSteps,
    ...(earlyStopping === undefined ? {} : { earlyStopping: { ...PATIENT, ...earlyStopping } }),
    seed,
    codec,
    visibility,
  };
}
