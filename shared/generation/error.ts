/** Why no text comes out of a model. */

export type GenerationErrorCode =
  /** It does not take a window of tokens, or does not answer with logits of the token after each. */
  | "not-a-language-model"
  /** A token's logits depend on tokens after it: a model that sees the future cannot write it. */
  | "not-causal"
  /** The prompt is empty, or not of the model's tokens. */
  | "bad-prompt"
  /** The model answered with NaN or infinity. */
  | "not-finite";

export class GenerationError extends Error {
  readonly code: GenerationErrorCode;
  constructor(code: GenerationErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GenerationError";
    this.code = code;
  }
}
