/** Which graphs are language models: a window of tokens in, logits of the token after each of them out. */

import type { Graph, GraphInput } from "../graph/ir.ts";
import { inferShapes } from "../graph/shapes.ts";
import { GenerationError } from "./error.ts";

export interface LanguageModel {
  /** Name of the graph's one input, int32 [N, window]. */
  readonly input: string;
  /** Tokens that it sees at once. */
  readonly window: number;
  /** Tokens that it tells apart: it predicts [N, window, vocabulary]. */
  readonly vocabulary: number;
}

const showInput = ({ name, dtype, shape }: GraphInput): string => `${name} ${dtype} [${shape.join(", ")}]`;

/** Throws GenerationError `not-a-language-model` for any other graph. */
export function languageModelOf(graph: Graph): LanguageModel {
  const refuse = (what: string): never => {
    throw new GenerationError("not-a-language-model", `this is no language model: ${what}`);
  };
  const features = graph.inputs.filter(({ role }) => role === "feature");
  const [input] = features;
  const window = input?.shape[1];
  const takesTokens = input?.dtype === "int32" && input.shape.length === 2 && typeof window === "number";
  if (features.length !== 1 || !takesTokens) {
    return refuse(`expected one input of tokens, int32 [N, window], it takes ${features.map(showInput).join(" and ")}`);
  }
  const [samples, length, vocabulary, ...rest] = inferShapes(graph, 1)[graph.outputs.prediction].shape;
  if (samples !== 1 || length !== window || vocabulary === undefined || rest.length > 0) {
    const shape = ["N", length, vocabulary, ...rest].filter((size) => size !== undefined);
    return refuse(`expected logits [N, ${window}, vocabulary], it predicts [${shape.join(", ")}]`);
  }
  return { input: input.name, window, vocabulary };
}
