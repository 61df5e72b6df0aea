/** Text to tokens and back, for the vocabularies that need no library: bytes and characters. */

export type VocabularyErrorCode = "unknown-character" | "unknown-token";

/** Text that a vocabulary has no tokens for, or tokens that it has no text for. */
export class VocabularyError extends Error {
  readonly code: VocabularyErrorCode;

  constructor(code: VocabularyErrorCode, message: string) {
    super(message);
    this.name = "VocabularyError";
    this.code = code;
  }
}

export interface TextCodec {
  /** Tokens are from 0 to below this. */
  readonly size: number;
  /** Throws VocabularyError `unknown-character` where the vocabulary has no token for some of the text. */
  encode(text: string): readonly number[];
  /** Bytes that are no UTF-8 become U+FFFD. Throws VocabularyError `unknown-token`. */
  decode(tokens: readonly number[]): string;
}

/** Throws VocabularyError `unknown-token` unless all are tokens. */
export function requireTokens(tokens: readonly number[], size: number): void {
  const at = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= size);
  if (at >= 0) {
    throw new VocabularyError("unknown-token", `token ${at} is ${tokens[at]}, expected 0 to ${size - 1}`);
  }
}

/** UTF-8, whatever it says. */
export const bytesCodec: TextCodec = {
  size: 256,
  encode: (text) => [...new TextEncoder().encode(text)],
  decode(tokens) {
    requireTokens(tokens, 256);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(tokens));
  },
};

const codePoint = (character: string): string =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;

/** One token a character (code point), in the order given. */
export function charactersCodec(characters: string): TextCodec {
  const all = [...characters];
  const tokens = new Map(all.map((character, token) => [character, token]));
  return {
    size: all.length,
    encode(text) {
      const encoded: number[] = [];
      for (const character of text) {
        const token = tokens.get(character);
        if (token === undefined) {
          throw new VocabularyError(
            "unknown-character",
            `character ${encoded.length} is ${JSON.stringify(character)} (${codePoint(character)}), which is none of the vocabulary's ${all.length}`,
          );
        }
        encoded.push(token);
      }
      return encoded;
    },
    decode(given) {
      requireTokens(given, all.length);
      return given.map((token) => all[token]).join("");
    },
  };
}
