/** What text is asked for: by `commonweight generate`, and by a session file that exports `generate` for when it is trained. */

import * as v from "valibot";
import { describeIssue } from "../shared/session/schemas.ts";
import { CliError } from "./errors.ts";

/** Largest figures. */
export const TEXT_LIMITS = { length: 100_000, temperature: 100, topK: 1_000_000, seed: 0xffffffff } as const;

export const TEXT_DEFAULTS = { length: 300, temperature: 0.8, topK: null, seed: 0 } as const;

const whole = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));

const requestSchema = v.strictObject({
  prompt: v.pipe(v.string(), v.minLength(1)),
  /** Tokens to write. */
  length: v.optional(whole(1, TEXT_LIMITS.length), TEXT_DEFAULTS.length),
  /** Logits are divided by it; 0 takes the likeliest token. */
  temperature: v.optional(
    v.pipe(v.number(), v.minValue(0), v.maxValue(TEXT_LIMITS.temperature)),
    TEXT_DEFAULTS.temperature,
  ),
  /** Tokens that are drawn from; null for all. */
  topK: v.optional(v.nullable(whole(1, TEXT_LIMITS.topK)), TEXT_DEFAULTS.topK),
  seed: v.optional(whole(0, TEXT_LIMITS.seed), TEXT_DEFAULTS.seed),
});

export type TextRequest = v.InferOutput<typeof requestSchema>;

/** Throws CliError naming the file. */
export function parseTextRequest(value: unknown, path: string): TextRequest {
  const result = v.safeParse(requestSchema, value);
  if (result.success) return result.output;
  throw new CliError(`${path}: generate: ${describeIssue(result.issues[0], "what is asked for")}`);
}
