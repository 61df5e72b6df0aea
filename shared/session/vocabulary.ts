/**
 * What the tokens of a data set's column `tokens` stand for, so that whoever has a session can turn text into them and back.
 * A tokenizer's file lies beside the chunks, by its hash: volunteers compute without it, and do not download it.
 */

import * as v from "valibot";
import type { ColumnSpec } from "./definition.ts";
import { count } from "./schemas.ts";

/** The column that a vocabulary is of. */
export const TOKENS = "tokens";

/** Every client reads a manifest, and with it all characters. */
export const MAX_CHARACTERS = 32_768;
/** More tokens than a row each of any model here could hold. */
export const MAX_TOKENS = 1_000_000;

export type Vocabulary =
  /** Token i is byte i of UTF-8 text. */
  | { readonly kind: "bytes" }
  /** Token i is the i-th of these characters (code points), which are different ones. */
  | { readonly kind: "characters"; readonly characters: string }
  /** As a `tokenizer.json` says, by the hex SHA-256 of its bytes. */
  | {
      readonly kind: "tokenizer";
      readonly hash: string;
      /** Of the file. */
      readonly bytes: number;
      /** Tokens are below this. */
      readonly size: number;
    };

const positive = v.pipe(count, v.minValue(1));

const characters = v.pipe(
  v.string(),
  v.minLength(1),
  v.check((text) => text.isWellFormed(), "half a surrogate pair is no character"),
  v.check((text) => new Set(text).size === [...text].length, "a character comes twice"),
  v.check((text) => [...text].length <= MAX_CHARACTERS, `more than ${MAX_CHARACTERS} characters`),
);

/** @param maxBytes of a tokenizer's file */
export const vocabularySchema = (maxBytes: number) =>
  v.variant("kind", [
    v.strictObject({ kind: v.literal("bytes") }),
    v.strictObject({ kind: v.literal("characters"), characters }),
    v.strictObject({
      kind: v.literal("tokenizer"),
      hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not a hex SHA-256")),
      bytes: v.pipe(positive, v.maxValue(maxBytes)),
      size: v.pipe(positive, v.maxValue(MAX_TOKENS)),
    }),
  ]);

/** Tokens are from 0 to below this: rows of an embedding, and outputs of a model of language. */
export function vocabularySize(vocabulary: Vocabulary): number {
  switch (vocabulary.kind) {
    case "bytes":
      return 256;
    case "characters":
      return [...vocabulary.characters].length;
    case "tokenizer":
      return vocabulary.size;
    default:
      return vocabulary satisfies never;
  }
}

/** Tokens of a stream are stored in as few bytes as their number allows. */
export const tokenType = (size: number): "uint8" | "int32" => (size <= 256 ? "uint8" : "int32");

/** What is wrong with the column that a vocabulary is of, or null. */
export function columnProblem(vocabulary: Vocabulary, columns: readonly ColumnSpec[]): string | null {
  const column = columns.find(({ name }) => name === TOKENS);
  if (column === undefined) return `a vocabulary is of the column ${TOKENS}, and there is none`;
  const size = vocabularySize(vocabulary);
  if (column.dtype === "int32" || (column.dtype === "uint8" && tokenType(size) === "uint8")) return null;
  return `the column ${TOKENS} is ${column.dtype}, ${size} tokens need ${tokenType(size)}`;
}
