/**
 * Texts of unequal length, each with what is to be predicted of it: tokens padded to one length, longer ones cut, a mask that
 * says what is padding, and a class or a number. From a table, from JSON lines, or from a folder of a sub-folder a class.
 */

import { statSync } from "node:fs";
import { bytesCodec } from "../../client/text/codec.ts";
import { TOKENS } from "../../shared/session/vocabulary.ts";
import { CliError, messageOf } from "../errors.ts";
import { listClasses } from "./classes.ts";
import { MAX_CSV_BYTES, parseCsv, type Table } from "./csv.ts";
import { MAX_FILE_BYTES, readFile } from "./file.ts";
import type { Imported } from "./imported.ts";
import { parseJsonl } from "./jsonl.ts";
import { arrange, type Fractions, splitSamples } from "./split.ts";
import { Cells, checkNames, columnName, encodeTarget } from "./table.ts";
import { decodeText, encodeText, MAX_TEXT_BYTES, readVocabulary, type VocabularySource } from "./text.ts";

/** Texts with labels, and how to read them. */
export interface LabelledTextSource {
  /** A CSV file with a header row, a `.jsonl` file with an object a line, or a folder with a sub-folder of .txt files a class. */
  readonly file: string;
  /** The column of the texts; `text` if absent. */
  readonly column?: string | undefined;
  /** The column to predict; `label` if absent. */
  readonly target?: string | undefined;
  /** Tokens of a sample; 128 if absent. */
  readonly length?: number | undefined;
  readonly vocabulary?: VocabularySource | undefined;
  readonly split?: Fractions | undefined;
  /** Of the shuffle before the split. */
  readonly seed?: number | undefined;
  /** Of a CSV file: one character, or `tab`. */
  readonly delimiter?: string | undefined;
}

/** Column of the mask: 1 where a token is padding, as PyTorch's `key_padding_mask`. */
export const PADDING = "padding";
/** No token: an embedding gives zeros for it, and a loss of classes does not count it. */
const NO_TOKEN = -1;
const MAX_LENGTH = 65_536;

const isFolder = (path: string): boolean => {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw new CliError(`cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
};

function readFolder(folder: string, column: string, target: string): Table {
  const { classes, files } = listClasses(folder, { pattern: /\.txt$/i, one: "a .txt file", many: "texts" });
  const texts = files.map(({ path }) => {
    const text = decodeText(readFile(path, MAX_TEXT_BYTES), path);
    if (text.trim() === "") throw new CliError(`${path} is empty; leave it out`);
    return text;
  });
  const labels = files.map(({ label }) => classes[label]);
  return { file: folder, header: [column, target], cells: [texts, labels], lines: files.map((_, index) => index + 1) };
}

function readTable({ file, delimiter }: LabelledTextSource, column: string, target: string): Table {
  if (isFolder(file)) return readFolder(file, column, target);
  if (/\.jsonl$/i.test(file)) return parseJsonl(readFile(file, MAX_TEXT_BYTES), file, [column, target]);
  const table = parseCsv(readFile(file, MAX_CSV_BYTES), file, delimiter);
  checkNames(table, { target: column });
  checkNames(table, { target });
  return table;
}

const cellsOf = (table: Table, name: string): Cells => new Cells(table, table.header.indexOf(name));

/** Columns `tokens` [length] (int32), `padding` [length] (uint8) and the target's own. Throws CliError with file and line. */
export function importLabelledText(source: LabelledTextSource): Imported {
  const { file, column = "text", target = "label", length = 128, vocabulary: asked = "bytes" } = source;
  if (!Number.isInteger(length) || length < 1 || length > MAX_LENGTH) {
    throw new CliError(`a text's length is ${length}, expected a whole number from 1 to ${MAX_LENGTH} (tokens)`);
  }
  if (column === target) throw new CliError(`${file}: column ${column} cannot be both the text and the target`);
  const table = readTable(source, column, target);
  const texts = cellsOf(table, column);
  texts.requireFilled();
  const samples = texts.texts.length;
  if (samples * length * 5 > MAX_FILE_BYTES) {
    throw new CliError(`${samples} texts of ${length} tokens are over ${MAX_FILE_BYTES} bytes`);
  }
  const { vocabulary, codec, size, tokenizer, note } = readVocabulary(asked, texts.texts);
  const notes = [note];
  const label = encodeTarget(cellsOf(table, target), undefined, notes);

  const tokens = new Int32Array(samples * length).fill(NO_TOKEN); // [samples, length]
  const padding = new Uint8Array(samples * length).fill(1);
  let [cut, longest] = [0, 0];
  for (const [row, text] of texts.texts.entries()) {
    const encoded = encodeText(codec ?? bytesCodec, text, `${table.file}:${table.lines[row]}`);
    const kept = encoded.slice(0, length);
    tokens.set(kept, row * length);
    padding.fill(0, row * length, row * length + kept.length);
    longest = Math.max(longest, encoded.length);
    if (encoded.length > length) cut += 1;
  }
  notes.push(
    `texts: up to ${longest} tokens; ${cut} of ${samples} have more than ${length} and are cut, shorter ones are padded with ${NO_TOKEN}`,
  );
  const split = splitSamples(samples, source.split, source.seed);
  const name = columnName(target, [TOKENS, PADDING]);
  const labels = new Uint8Array(label.values.buffer, label.values.byteOffset, label.values.byteLength);
  return {
    content: {
      columns: [
        { name: TOKENS, dtype: "int32", shape: [length] },
        { name: PADDING, dtype: "uint8", shape: [length] },
        { name, ...label.spec },
      ],
      rows: [
        arrange(new Uint8Array(tokens.buffer), length * 4, split.order),
        arrange(padding, length, split.order),
        arrange(labels, label.values.BYTES_PER_ELEMENT, split.order),
      ],
      samples,
      splits: split.splits,
      vocabulary,
      ...(tokenizer === null ? {} : { tokenizer }),
    },
    notes,
    x: JSON.stringify(TOKENS),
    y: JSON.stringify(name),
    input: [length],
    mask: PADDING,
    ending: `the model begins with nn.embedding(${size}, …) and pools with nn.meanOverTokens({ paddingMask: "${PADDING}" }); ${label.ending}`,
  };
}
