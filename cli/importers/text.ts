/**
 * A text as a stream of tokens: one row each, in the order of the text, for sessions whose samples are windows. Its parts are
 * contiguous, because windows of a shuffled text would hold words from everywhere.
 */

import { createHash } from "node:crypto";
import { charactersCodec, type TextCodec, VocabularyError } from "../../client/text/codec.ts";
import { TOKENS, tokenType, type Vocabulary } from "../../shared/session/vocabulary.ts";
import type { Chunk } from "../dataset.ts";
import { CliError } from "../errors.ts";
import { readTokenizer } from "../tokenizer.ts";
import { readFile } from "./file.ts";
import type { Imported } from "./imported.ts";
import { type Fractions, splitRanges } from "./split.ts";

/** A parsed text is many times its size in memory. */
export const MAX_TEXT_BYTES = 256_000_000;
const MAX_TOKENIZER_BYTES = 16_000_000;
/** Tokens of a sample that the printed lines propose. */
const PROPOSED_WINDOW = 64;
/** Characters written out in notes. */
const SHOWN = 200;

/**
 * What tokens are: the bytes of the file; its characters, all that there are or those given, in order; or what a
 * `tokenizer.json` makes of it.
 */
export type VocabularySource =
  | "bytes"
  | "characters"
  | { readonly characters: string }
  | { readonly tokenizer: string };

/** A text file and how to read it. */
export interface TextSource {
  readonly file: string;
  readonly vocabulary?: VocabularySource | undefined;
  readonly split?: Fractions | undefined;
}

/** A vocabulary that a text was read with. */
export interface ReadVocabulary {
  readonly vocabulary: Vocabulary;
  /** Null for bytes, which are tokens as they are. */
  readonly codec: TextCodec | null;
  readonly size: number;
  /** The tokenizer's file, which is pushed beside the chunks. */
  readonly tokenizer: Chunk | null;
  readonly note: string;
}

/** UTF-8 without a byte order mark. Throws CliError with the place of the first byte that is none. */
export function decodeText(bytes: Uint8Array, file: string): string {
  const text = new TextDecoder("utf-8").decode(bytes);
  if (!text.includes("\ufffd")) return text;
  // What could not be decoded became U+FFFD, so that encoding it again differs from there on.
  const kept = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const again = new TextEncoder().encode(kept);
  let at = again.findIndex((byte, index) => byte !== bytes[index]);
  if (at < 0) return text;
  while ((again[at] & 0xc0) === 0x80) at -= 1;
  const line = bytes.subarray(0, at).reduce((lines, byte) => lines + (byte === 0x0a ? 1 : 0), 1);
  throw new CliError(
    `${file}:${line}: byte ${at} (0x${bytes[at].toString(16)}) is not UTF-8: save the file as UTF-8, or push it as bytes`,
  );
}

/** @param texts what "characters" are gathered from, in any order */
export function readVocabulary(source: VocabularySource, texts: Iterable<string>): ReadVocabulary {
  if (source === "bytes") {
    const vocabulary = { kind: "bytes" } as const;
    return { vocabulary, codec: null, size: 256, tokenizer: null, note: "tokens: the 256 bytes" };
  }
  if (source === "characters" || "characters" in source) {
    const characters = source === "characters" ? gatherCharacters(texts) : source.characters;
    const codec = charactersCodec(characters);
    const shown = JSON.stringify(
      characters.length > SHOWN ? `${[...characters].slice(0, SHOWN).join("")}…` : characters,
    );
    return {
      vocabulary: { kind: "characters", characters },
      codec,
      size: codec.size,
      tokenizer: null,
      note: `tokens: ${codec.size} characters ${shown}`,
    };
  }
  const bytes = readFile(source.tokenizer, MAX_TOKENIZER_BYTES);
  const codec = readTokenizer(bytes, source.tokenizer);
  const hash = createHash("sha256").update(bytes).digest("hex");
  return {
    vocabulary: { kind: "tokenizer", hash, bytes: bytes.byteLength, size: codec.size },
    codec,
    size: codec.size,
    tokenizer: { hash, bytes },
    note: `tokens: ${codec.size} of ${source.tokenizer}`,
  };
}

/** Different characters in the order of their code points. */
function gatherCharacters(texts: Iterable<string>): string {
  const found = new Set<string>();
  for (const text of texts) for (const character of text) found.add(character);
  return [...found].sort((a, b) => (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0)).join("");
}

/** Throws CliError naming the file where the vocabulary has no token for something in it. */
export function encodeText(codec: TextCodec, text: string, file: string): readonly number[] {
  try {
    return codec.encode(text);
  } catch (error) {
    if (!(error instanceof VocabularyError)) throw error;
    throw new CliError(`${file}: ${error.message}`, { cause: error });
  }
}

/** What people should know of a tokenizer that lowers letters, or drops what it does not know: as the format has it, silently. */
function lossOf(codec: TextCodec, tokens: readonly number[], text: string): string[] {
  const back = codec.decode(tokens);
  if (back === text) return [];
  let at = 0;
  while (back[at] === text[at]) at += 1;
  const piece = (of: string): string => JSON.stringify(of.slice(at, at + 20));
  return [
    `the tokens do not give the text back: from character ${at} on it is ${piece(text)}, they say ${piece(back)}`,
  ];
}

/** Throws CliError naming the file. */
export function importText({ file, vocabulary: source = "bytes", split }: TextSource): Imported {
  const bytes = readFile(file, MAX_TEXT_BYTES);
  if (bytes.length === 0) throw new CliError(`${file} is empty: there is nothing to train on`);
  const text = source === "bytes" ? "" : decodeText(bytes, file);
  const { vocabulary, codec, size, tokenizer, note } = readVocabulary(source, [text]);
  const tokens = codec === null ? [] : encodeText(codec, text, file);
  const dtype = tokenType(size);
  const rows = codec === null ? bytes : dtype === "uint8" ? Uint8Array.from(tokens) : Int32Array.from(tokens);
  const { splits, trainSamples } = splitRanges(rows.length, split);
  const window = Math.max(1, Math.min(PROPOSED_WINDOW, trainSamples - 1));
  return {
    content: {
      columns: [{ name: TOKENS, dtype, shape: [] }],
      rows: [new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength)],
      samples: rows.length,
      splits,
      vocabulary,
      ...(tokenizer === null ? {} : { tokenizer }),
    },
    notes: [note, ...(codec === null ? [] : lossOf(codec, tokens, text))],
    x: `"${TOKENS}"`,
    y: `{ column: "${TOKENS}", shift: 1 }`,
    input: [window],
    window,
    ending: `the model begins with nn.embedding(${size}, …) and ends in ${size} outputs a token, with loss: loss.crossEntropy({ classAxis: -1 })`,
  };
}
