/**
 * A session's model for one visitor: one sample through the reference executor in float64. A network that a few
 * volunteers can train is small enough for that; no engine has to be built.
 */

import { blockCount } from "../../../shared/codec/index.ts";
import type { Graph } from "../../../shared/graph/index.ts";
import { inferenceGraph, predictionNodes, runReference } from "../../../shared/graph/index.ts";
import type { CheckedSession } from "../../core/session.ts";
import { viewWeights } from "../../core/weights.ts";
import { type Reading, readingOf, type Subject, subjectOf } from "./subject.ts";

export type Answer =
  /** Σ = 1 */
  | { readonly kind: "classes"; readonly probabilities: readonly number[] }
  /** Each for itself. */
  | { readonly kind: "probabilities"; readonly probabilities: readonly number[] }
  /** In the unit of the stored targets. */
  | { readonly kind: "numbers"; readonly values: readonly number[] };

const sigmoid = (logit: number): number => 1 / (1 + Math.exp(-logit));

export function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - most));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

export class Model {
  readonly subject: Subject;
  readonly #reading: Reading;
  /** What only the prediction needs, without dropout. */
  readonly #graph: Graph;
  /** Stored target = (predicted − offset) ÷ scale. */
  readonly #target: { readonly scale: number; readonly offset: number };
  readonly #parameters: number;
  #weights: Float32Array | null = null;

  constructor({ graph, definition: { data }, manifest, parameters }: CheckedSession) {
    const columns = data.source === "local" ? data.columns : (manifest?.columns ?? []);
    this.subject = subjectOf(graph, data, columns);
    this.#reading = readingOf(graph);
    const { nodes, prediction } = predictionNodes(inferenceGraph(graph));
    const outputs = { prediction, loss: prediction, weight: prediction, metrics: {} };
    this.#graph = { ...graph, nodes, outputs };
    const target = graph.inputs.find(({ role }) => role === "target");
    const { scale, offset } = data.inputs[target?.name ?? ""] ?? { scale: 1, offset: 0 };
    this.#target = scale === 0 ? { scale: 1, offset: 0 } : { scale, offset };
    this.#parameters = parameters;
  }

  /** Takes a weights body (shared/protocol/frames.ts). Throws TrainingError `protocol` if it is not of this model's size. */
  setWeights(body: Uint8Array<ArrayBuffer>): void {
    const sizes = { blocks: blockCount(this.#parameters), parameters: this.#parameters };
    this.#weights = viewWeights(sizes, 0, 0, body).weights;
  }

  /**
   * The answer for one sample.
   * @param stored values by input as the data hold them, before scale and offset, flat
   */
  answer(stored: Readonly<Record<string, readonly number[]>>): Answer {
    if (this.#weights === null) throw new Error("the model has no weights yet: call setWeights first");
    const values = runReference(this.#graph, 1, this.#scaled(stored), this.#weights);
    const prediction = Array.from(values[this.#graph.outputs.prediction]);
    switch (this.#reading) {
      case "classes":
        return { kind: "classes", probabilities: softmax(prediction) };
      case "logits":
        return { kind: "probabilities", probabilities: prediction.map(sigmoid) };
      case "probabilities":
        return { kind: "probabilities", probabilities: prediction };
      case "numbers": {
        const { scale, offset } = this.#target;
        return { kind: "numbers", values: prediction.map((value) => (value - offset) / scale) };
      }
      default:
        return this.#reading satisfies never;
    }
  }

  #scaled(stored: Readonly<Record<string, readonly number[]>>): Record<string, number[]> {
    const { subject } = this;
    const bindings =
      subject.kind === "image"
        ? new Map([[subject.input, subject.binding]])
        : new Map(subject.kind === "table" ? subject.fields.map(({ input, binding }) => [input, binding]) : []);
    return Object.fromEntries(
      Object.entries(stored).map(([input, values]) => {
        const { scale, offset } = bindings.get(input) ?? { scale: 1, offset: 0 };
        return [input, values.map((value) => value * scale + offset)];
      }),
    );
  }
}
