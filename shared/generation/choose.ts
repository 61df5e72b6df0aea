/** How the next token follows from the model's logits: the likeliest, or one drawn by its probability. */

import { GenerationError } from "./error.ts";

export interface Sampling {
  /** Logits are divided by it: below 1 likely tokens get likelier; 0 always takes the likeliest, the first of equals. */
  readonly temperature: number;
  /** Only so many of the likeliest tokens are drawn from, of equals the first; null for all. */
  readonly topK: number | null;
}

/** Numbers of the k largest logits, in rising order; of equals the first are taken. */
function largest(logits: ArrayLike<number>, k: number): number[] {
  const byLogit = Array.from(logits, (_, token) => token).sort((a, b) => logits[b] - logits[a] || a - b);
  return byLogit.slice(0, k).sort((a, b) => a - b);
}

/**
 * The token that `uniform`, from [0, 1), picks out of softmax(logits / temperature), whose probabilities lie one after another
 * in the order of the tokens. Throws GenerationError `not-finite`.
 * @param logits [vocabulary]
 */
export function chooseToken(logits: ArrayLike<number>, { temperature, topK }: Sampling, uniform: number): number {
  const wrong = Array.from(logits).findIndex((logit) => !Number.isFinite(logit));
  if (wrong >= 0) {
    throw new GenerationError(
      "not-finite",
      `the logit of token ${wrong} is ${logits[wrong]}: the weights are unusable`,
    );
  }
  const tokens = largest(logits, temperature === 0 ? 1 : (topK ?? logits.length));
  const most = tokens.reduce((highest, token) => Math.max(highest, logits[token]), Number.NEGATIVE_INFINITY);
  const weights = tokens.map((token) => (temperature === 0 ? 1 : Math.exp((logits[token] - most) / temperature)));
  const target = uniform * weights.reduce((sum, weight) => sum + weight, 0);
  let end = 0;
  for (const [at, weight] of weights.entries()) {
    end += weight;
    if (target < end) return tokens[at];
  }
  return tokens[tokens.length - 1]; // rounding left the target at the very end
}
