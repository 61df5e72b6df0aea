/**
 * Text of tokens that come one by one. What a token says can depend on the ones before it, as where a space stands, and a
 * character can be several tokens: so it is decoded together with the last ones, and what is new is handed on once it is whole.
 */

import type { TextCodec } from "./codec.ts";

/** What bytes that are no whole character (yet) become. */
const UNFINISHED = /\ufffd+$/;
/** Tokens that are decoded again with each new one, at least. */
const KEPT = 16;

export class TextStream {
  readonly #codec: TextCodec;
  #tokens: number[];
  /** Characters (UTF-16) of the text of `#tokens` that were handed on. */
  #done: number;

  /** @param before tokens that stand before the text */
  constructor(codec: TextCodec, before: readonly number[] = []) {
    this.#codec = codec;
    this.#tokens = before.slice(-KEPT);
    this.#done = codec.decode(this.#tokens).length;
  }

  /** What is new in the text with this token; empty while a character is not whole. Throws VocabularyError `unknown-token`. */
  push(token: number): string {
    this.#tokens.push(token);
    const text = this.#codec.decode(this.#tokens);
    const whole = text.replace(UNFINISHED, "");
    const fresh = whole.slice(this.#done);
    this.#done = Math.max(this.#done, whole.length);
    if (whole === text && this.#tokens.length >= 2 * KEPT) {
      this.#tokens = this.#tokens.slice(-KEPT);
      this.#done = this.#codec.decode(this.#tokens).length;
    }
    return fresh;
  }

  /** What is left where the last character was never whole. */
  end(): string {
    return this.#codec.decode(this.#tokens).slice(this.#done);
  }
}
