/** What PyTorch computed with the models that it exported (test/fixtures/interchange.py). */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { NamedTensors } from "../../../shared/nn/index.ts";

const folder = join(import.meta.dirname, "../../fixtures/onnx");

export interface ExportedCase {
  /** Shape of a sample. */
  readonly input: readonly number[];
  readonly dtype: "float32" | "int32";
  readonly x: readonly number[];
  readonly target: readonly number[];
  readonly y: readonly number[];
  readonly stateDict: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly values: readonly number[] }>
  >;
  /** Of the mean squared error, by name. */
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

export const EXPORTED = JSON.parse(gunzipSync(readFileSync(join(folder, "cases.json.gz"))).toString()) as Readonly<
  Record<string, ExportedCase>
>;

/** As sessions describe it. */
export const inputOf = ({ input, dtype }: ExportedCase) => ({ x: { dtype, shape: input } });

export const modelFile = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, `${name}.onnx`)));

export const stateDictOf = ({ stateDict }: ExportedCase): NamedTensors => new Map(Object.entries(stateDict));
