/**
 * Writing on: a language model's prediction of the next token becomes a token, and so on. What runs the model is handed in.
 * Which tokens come follows from weights, prompt, sampling and seed alone; nothing is remembered between tokens, so each takes
 * one run over the whole window.
 */

import { deriveKey, threefry2x32, uniformFloat } from "../random/index.ts";
import { chooseToken, type Sampling } from "./choose.ts";
import { GenerationError } from "./error.ts";
import type { LanguageModel } from "./language-model.ts";

export interface GenerationOptions extends Sampling {
  /** Tokens to write. */
  readonly length: number;
  /** Unsigned 32-bit integer. */
  readonly seed: number;
  /** Tokens that may come are below this, where the model predicts more of them than there are; all by default. */
  readonly tokens?: number;
}

/** Tokens [1, window] → logits [1, window, vocabulary], both flat. */
export type PredictTokens = (tokens: Int32Array) => Promise<ArrayLike<number>>;

/** What stands in the places after the last token. */
const PADDING = 0;

/** Share of the largest logit by which engines' own rounding may differ from run to run. */
const SAME = 1e-4;

/**
 * Throws GenerationError `not-causal` where the logits of the first token change with the tokens after it: then padding would
 * change them, too, and the model was never taught to write.
 */
export async function requireCausal({ window, vocabulary }: LanguageModel, predict: PredictTokens): Promise<void> {
  if (window === 1 || vocabulary === 1) return;
  const logitsAfter = async (others: number): Promise<number[]> => {
    const logits = await predict(new Int32Array(window).fill(others, 1));
    return Array.from({ length: vocabulary }, (_, token) => logits[token]);
  };
  const [some, others] = [await logitsAfter(0), await logitsAfter(vocabulary - 1)];
  const size = Math.max(...some.map(Math.abs));
  if (some.some((logit, token) => Math.abs(logit - others[token]) > SAME * size)) {
    throw new GenerationError(
      "not-causal",
      "the model's prediction after one token depends on later ones: build its attention with causal: true",
    );
  }
}

/**
 * The tokens that follow `prompt`, as they come. Only the last `window` tokens are seen. Padding stands after the last one,
 * where a causal model does not look. Throws GenerationError `bad-prompt` or `not-finite`.
 */
export async function* generate(
  { window, vocabulary }: LanguageModel,
  predict: PredictTokens,
  prompt: readonly number[],
  { length, seed, tokens: choice = vocabulary, ...sampling }: GenerationOptions,
): AsyncGenerator<number, void, void> {
  if (prompt.length === 0) throw new GenerationError("bad-prompt", "the prompt is empty: give at least one token");
  const foreign = prompt.find((token) => !(Number.isInteger(token) && token >= 0 && token < vocabulary));
  if (foreign !== undefined) {
    throw new GenerationError("bad-prompt", `the prompt has token ${foreign}, the model has 0 to ${vocabulary - 1}`);
  }
  const [k0, k1] = deriveKey(seed, "generation");
  const words = new Uint32Array(2);
  let seen = prompt.slice(-window);
  for (let count = 0; count < length; count++) {
    const tokens = new Int32Array(window).fill(PADDING);
    tokens.set(seen);
    const logits = await predict(tokens); // [window, vocabulary]
    const last = (seen.length - 1) * vocabulary;
    const after = Array.from({ length: choice }, (_, token) => logits[last + token]);
    threefry2x32(k0, k1, count, 0, words);
    const token = chooseToken(after, sampling, uniformFloat(words[0]));
    yield token;
    seen = [...seen, token].slice(-window);
  }
}
