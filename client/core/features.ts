/** Prediction inputs as the caller passes them, checked against the graph. */

import type { Graph } from "../../shared/graph/ir.ts";
import type { StoredArray } from "../data/source.ts";
import { sampleElements } from "../data/source.ts";
import type { Tensor } from "../engine/engine.ts";
import { TrainingError } from "./errors.ts";

/** By graph input name, [samples, ...] flat, in the model's own units (after scale and offset). */
export type PredictionInputs = Readonly<Record<string, StoredArray>>;

/** Converts every feature to its tensor; all must hold equally many samples. Throws TrainingError `invalid-argument`. */
export function readFeatures(
  graph: Graph,
  inputs: PredictionInputs,
): { readonly features: Readonly<Record<string, Tensor>>; readonly samples: number } {
  const features: Record<string, Tensor> = {};
  let samples: number | null = null;
  for (const input of graph.inputs) {
    if (input.role !== "feature") continue;
    const values = inputs[input.name];
    if (values === undefined) throw new TrainingError("invalid-argument", `predict needs the input ${input.name}`);
    const elements = sampleElements(input);
    const count = values.length / elements;
    if (!Number.isInteger(count) || count === 0) {
      throw new TrainingError(
        "invalid-argument",
        `${input.name} has ${values.length} values, one sample is ${elements}`,
      );
    }
    if (samples !== null && count !== samples) {
      throw new TrainingError("invalid-argument", `${input.name} has ${count} samples, other inputs have ${samples}`);
    }
    samples = count;
    features[input.name] = input.dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values);
  }
  if (samples === null) throw new TrainingError("invalid-argument", "this model has no feature input");
  return { features, samples };
}
