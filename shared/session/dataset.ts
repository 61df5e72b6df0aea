/**
 * A data set's manifest: columns, and immutable chunks named by the SHA-256 of their bytes. A chunk holds
 * `chunkSamples` consecutive samples (the last one what remains), column by column: first all of the chunk's rows of
 * the first column, then of the second, each column starting at a multiple of 4 bytes.
 */

import type { ColumnSpec } from "./definition.ts";
import type { Vocabulary } from "./vocabulary.ts";

export interface DatasetManifest {
  readonly format: 1;
  readonly name: string;
  readonly columns: readonly ColumnSpec[];
  readonly samples: number;
  readonly chunkSamples: number;
  /** Hex SHA-256 by chunk. */
  readonly chunks: readonly string[];
  /** Named half-open ranges of samples, such as train and test. */
  readonly splits: Readonly<Record<string, readonly [from: number, to: number]>>;
  /** What the tokens of the column `tokens` stand for, where the data are text. */
  readonly vocabulary?: Vocabulary;
}

/** Bytes of one value by stored type. */
export const DTYPE_BYTES = { uint8: 1, int32: 4, float32: 4 } as const satisfies Record<ColumnSpec["dtype"], number>;

/** Bytes of one sample of a column. */
export function sampleBytes(column: ColumnSpec): number {
  return column.shape.reduce((size, dimension) => size * dimension, DTYPE_BYTES[column.dtype]);
}

/** Byte offset of each column within a chunk of `samples` samples, and the chunk's size in bytes. */
export function chunkLayout(columns: readonly ColumnSpec[], samples: number): { offsets: number[]; bytes: number } {
  const offsets: number[] = [];
  let bytes = 0;
  for (const column of columns) {
    offsets.push(bytes);
    bytes += Math.ceil((sampleBytes(column) * samples) / 4) * 4;
  }
  return { offsets, bytes };
}
