/** Data sets on their way to a coordinator: columns in memory, cut into content-addressed chunks. */

import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chunkLayout, type DatasetManifest, sampleBytes } from "../shared/session/dataset.ts";
import type { ColumnSpec } from "../shared/session/definition.ts";
import type { Vocabulary } from "../shared/session/vocabulary.ts";
import { CliError } from "./errors.ts";
import { readFile } from "./importers/file.ts";
import { type IdxArray, parseIdx } from "./importers/idx.ts";
import { importLabelledText, type LabelledTextSource } from "./importers/labelled-text.ts";
import { type CsvSource, importCsv } from "./importers/table.ts";
import { importText, type TextSource, type VocabularySource } from "./importers/text.ts";

/** Bytes of one chunk, roughly: large enough to be few requests, small enough to cache and retry. */
const CHUNK_BYTES = 1 << 20;

/** Where an image set lies on disk. */
export interface IdxFiles {
  readonly images: string;
  readonly labels: string;
  readonly testImages?: string | undefined;
  readonly testLabels?: string | undefined;
}

/** A whole data set in memory: all rows of each column, one after another. */
export interface DatasetContent {
  readonly columns: readonly ColumnSpec[];
  readonly rows: readonly Uint8Array[];
  readonly samples: number;
  readonly splits: Readonly<Record<string, readonly [number, number]>>;
  /** Of the column `tokens`, and its tokenizer's file if it has one. */
  readonly vocabulary?: Vocabulary;
  readonly tokenizer?: Chunk;
}

const readIdx = (path: string): IdxArray => parseIdx(readFile(path), path);

function readPair(images: string, labels: string): { images: IdxArray; labels: IdxArray } {
  const pair = { images: readIdx(images), labels: readIdx(labels) };
  if (pair.labels.shape.length !== 1)
    throw new CliError(`${labels}: labels have one dimension, this has ${pair.labels.shape.length}`);
  if (pair.images.shape[0] !== pair.labels.shape[0]) {
    throw new CliError(`${images} has ${pair.images.shape[0]} images, ${labels} has ${pair.labels.shape[0]} labels`);
  }
  return pair;
}

/** Images and labels as columns `image` (uint8, flat) and `label` (uint8), test samples after the training ones. */
export function readImageSet(files: IdxFiles): DatasetContent {
  const train = readPair(files.images, files.labels);
  const { testImages, testLabels } = files;
  if ((testImages === undefined) !== (testLabels === undefined)) {
    throw new CliError("a test set needs both its images and its labels");
  }
  const test = testImages === undefined || testLabels === undefined ? null : readPair(testImages, testLabels);
  const pixels = train.images.shape.slice(1);
  if (test !== null && test.images.shape.slice(1).join() !== pixels.join()) {
    throw new CliError(
      `test images are ${test.images.shape.slice(1).join(" × ")}, training images ${pixels.join(" × ")}`,
    );
  }
  const count = train.images.shape[0];
  const total = count + (test?.images.shape[0] ?? 0);
  const join = (first: Uint8Array, second: Uint8Array | undefined): Uint8Array =>
    second === undefined ? first : Buffer.concat([first, second]);
  return {
    columns: [
      { name: "image", dtype: "uint8", shape: [pixels.reduce((size, dimension) => size * dimension, 1)] },
      { name: "label", dtype: "uint8", shape: [] },
    ],
    rows: [join(train.images.data, test?.images.data), join(train.labels.data, test?.labels.data)],
    samples: total,
    splits: { train: [0, count], test: [count, total] },
  };
}

/** One column in memory: all its values, and one sample's shape. */
export interface ColumnData {
  readonly values: Uint8Array | Int32Array | Float32Array;
  readonly shape: readonly number[];
}

type FilePath = string | URL;

/** Paths of a text in a session file, relative to it. */
interface TextFiles {
  readonly file: FilePath;
  readonly vocabulary?: Exclude<VocabularySource, { readonly tokenizer: string }> | { readonly tokenizer: FilePath };
}

/** A data set that a session file brings along: files on disk, or arrays made on the spot. Paths are relative to that file. */
export type DatasetSource =
  | { readonly idx: IdxFiles }
  | { readonly csv: Omit<CsvSource, "file"> & { readonly file: FilePath } }
  | { readonly text: Omit<TextSource, keyof TextFiles> & TextFiles }
  | { readonly labelledText: Omit<LabelledTextSource, keyof TextFiles> & TextFiles }
  | { readonly columns: Readonly<Record<string, ColumnData>> };

function dtypeOf(values: unknown): ColumnSpec["dtype"] | null {
  if (values instanceof Uint8Array) return "uint8";
  if (values instanceof Int32Array) return "int32";
  return values instanceof Float32Array ? "float32" : null;
}

/** Reads a source into memory, its paths from `folder`. Throws CliError if it is none, or if columns differ in length. */
export function readSource(name: string, source: DatasetSource, folder = "."): DatasetContent {
  const at = (file: FilePath): string => resolve(folder, file instanceof URL ? fileURLToPath(file) : file);
  if ("csv" in source) return importCsv({ ...source.csv, file: at(source.csv.file) }).content;
  const located = ({ file, vocabulary }: TextFiles) => ({
    file: at(file),
    vocabulary:
      typeof vocabulary === "object" && "tokenizer" in vocabulary
        ? { tokenizer: at(vocabulary.tokenizer) }
        : vocabulary,
  });
  if ("text" in source) return importText({ ...source.text, ...located(source.text) }).content;
  if ("labelledText" in source) {
    return importLabelledText({ ...source.labelledText, ...located(source.labelledText) }).content;
  }
  if ("idx" in source) {
    const { images, labels, testImages, testLabels } = source.idx;
    return readImageSet({
      images: at(images),
      labels: at(labels),
      testImages: testImages === undefined ? undefined : at(testImages),
      testLabels: testLabels === undefined ? undefined : at(testLabels),
    });
  }
  const entries = Object.entries(source.columns).map(([column, { values, shape }]) => {
    const dtype = dtypeOf(values);
    if (dtype === null) {
      throw new CliError(`data set ${name}: column ${column} must be a Uint8Array, an Int32Array or a Float32Array`);
    }
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    const spec: ColumnSpec = { name: column, dtype, shape };
    const rows = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return { spec, rows, samples: values.length / size };
  });
  const [first] = entries;
  if (first === undefined) throw new CliError(`the data set ${name} has no columns`);
  for (const { spec, samples } of entries) {
    if (samples !== first.samples || !Number.isInteger(samples)) {
      throw new CliError(
        `data set ${name}: column ${spec.name} has ${samples} samples, ${first.spec.name} has ${first.samples}`,
      );
    }
  }
  return {
    columns: entries.map(({ spec }) => spec),
    rows: entries.map(({ rows }) => rows),
    samples: first.samples,
    splits: { train: [0, first.samples] },
  };
}

export interface Chunk {
  readonly hash: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Cuts a data set into chunks by the layout of shared/session/dataset.ts; its tokenizer is one more. Throws CliError if it is empty. */
export function cutDataset(
  name: string,
  content: DatasetContent,
): { manifest: DatasetManifest; chunks: readonly Chunk[] } {
  const { columns, rows, samples, splits, vocabulary, tokenizer } = content;
  if (samples === 0) throw new CliError(`the data set ${name} holds no samples`);
  const perSample = columns.reduce((size, column) => size + sampleBytes(column), 0);
  const chunkSamples = Math.max(1, Math.min(samples, Math.floor(CHUNK_BYTES / perSample)));
  const chunks: Chunk[] = [];
  for (let from = 0; from < samples; from += chunkSamples) {
    const count = Math.min(chunkSamples, samples - from);
    const { offsets, bytes: size } = chunkLayout(columns, count);
    const bytes = new Uint8Array(size);
    for (const [index, column] of columns.entries()) {
      const row = sampleBytes(column);
      bytes.set(rows[index].subarray(from * row, (from + count) * row), offsets[index]);
    }
    chunks.push({ hash: createHash("sha256").update(bytes).digest("hex"), bytes });
  }
  const manifest = {
    format: 1,
    name,
    columns,
    samples,
    chunkSamples,
    chunks: chunks.map(({ hash }) => hash),
    splits,
    ...(vocabulary === undefined ? {} : { vocabulary }),
  } as const;
  return { manifest, chunks: tokenizer === undefined ? chunks : [...chunks, tokenizer] };
}
