/** NumPy's arrays as a data set: one column each, from NPY files or from one NPZ (a zip of them, as numpy.savez writes). */

import { unzipSync } from "fflate";
import { sampleBytes } from "../../shared/session/dataset.ts";
import type { ColumnSpec } from "../../shared/session/definition.ts";
import { CliError, messageOf } from "../errors.ts";
import { MAX_FILE_BYTES, readFile } from "./file.ts";
import type { Imported } from "./imported.ts";
import { type NpyArray, parseNpy } from "./npy.ts";
import { arrange, type Fractions, splitSamples } from "./split.ts";

const MAX_ARRAYS = 64;

/**
 * Entries by name without `.npy`. What they unpack to is bounded by what the archive's directory says, and that by a limit:
 * the unpacker writes into memory of the declared size, so an entry that lies comes out too short and fails as an array.
 */
export function unpackNpz(file: Uint8Array, name: string): Record<string, Uint8Array> {
  let [entries, bytes] = [0, 0];
  try {
    const unpacked = unzipSync(file, {
      filter: ({ name: entry, originalSize }) => {
        entries += 1;
        bytes += originalSize;
        if (entries > MAX_ARRAYS) throw new CliError(`${name}: more than ${MAX_ARRAYS} arrays`);
        if (bytes > MAX_FILE_BYTES) throw new CliError(`${name}: unpacks to over ${MAX_FILE_BYTES} bytes`);
        if (!entry.endsWith(".npy")) throw new CliError(`${name}: ${JSON.stringify(entry)} is not an NPY array`);
        return true;
      },
    });
    return Object.fromEntries(Object.entries(unpacked).map(([entry, data]) => [entry.slice(0, -4), data]));
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`${name} is not an NPZ file (a zip of arrays): ${messageOf(error)}`, { cause: error });
  }
}

interface NamedArray {
  readonly column: string;
  readonly file: string;
  readonly array: NpyArray;
}

function toDataset(arrays: readonly NamedArray[], fractions?: Fractions, seed?: number): Imported {
  const [first] = arrays;
  if (first === undefined) throw new CliError("there are no arrays");
  const samples = first.array.shape[0];
  for (const { file, array } of arrays) {
    if (array.shape[0] !== samples) {
      throw new CliError(`${file} has ${array.shape[0]} samples, ${first.file} has ${samples}`);
    }
  }
  const split = splitSamples(samples, fractions, seed);
  const columns = arrays.map(
    ({ column, array }): ColumnSpec => ({ name: column, dtype: array.dtype, shape: array.shape.slice(1) }),
  );
  const second = arrays[1];
  return {
    content: {
      columns,
      rows: arrays.map(({ array }, index) => arrange(array.bytes, sampleBytes(columns[index]), split.order)),
      samples,
      splits: split.splits,
    },
    notes: columns.map(({ name, dtype, shape }) => `${name}: ${dtype} [${[samples, ...shape].join(", ")}]`),
    x: JSON.stringify(first.column),
    y: second === undefined ? null : JSON.stringify(second.column),
    input: columns[0].shape,
    ending: null,
  };
}

/** @param files by column, features first. Throws CliError naming the file. */
export function importNpy(files: Readonly<Record<string, string>>, fractions?: Fractions, seed?: number): Imported {
  const arrays = Object.entries(files).map(([column, file]) => ({
    column,
    file,
    array: parseNpy(readFile(file), file),
  }));
  return toDataset(arrays, fractions, seed);
}

/** Throws CliError naming the file and the array. */
export function importNpz(file: string, fractions?: Fractions, seed?: number): Imported {
  const arrays = Object.entries(unpackNpz(readFile(file), file)).map(([column, bytes]) => {
    const name = `${file}, array ${JSON.stringify(column)}`;
    return { column, file: name, array: parseNpy(bytes, name) };
  });
  return toDataset(arrays, fractions, seed);
}
