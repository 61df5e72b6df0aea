/**
 * What a page's PyTorch says of an exported file, without PyTorch: the layers of its `nn.Sequential` must have the names and
 * shapes that `load_state_dict` would ask the file for. https://github.com/huggingface/safetensors#format
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";

export const needsPyTorch = (code: string): boolean => /^(import|from) (torch|safetensors)\b/m.test(code);

/** Names and shapes of a safetensors file's tensors. */
function readShapes(file: Buffer): Record<string, readonly number[]> {
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<string, { shape: number[] }>;
  return Object.fromEntries(
    Object.entries(header).flatMap(([name, { shape }]) => (name === "__metadata__" ? [] : [[name, shape]])),
  );
}

/** The state_dict of `nn.Sequential(...)` by PyTorch's rules: weights [out, in] by the index of their layer. */
function expectedShapes(code: string): Record<string, readonly number[]> {
  const layers = /nn\.Sequential\(([\s\S]*?)\)\s*$/m.exec(code)?.[1] ?? "";
  const shapes: Record<string, readonly number[]> = {};
  for (const [index, [, kind, args]] of [...layers.matchAll(/nn\.(\w+)\(([^)]*)\)/g)].entries()) {
    if (kind !== "Linear") continue;
    const [inputs, outputs] = (args ?? "").split(",").map(Number);
    shapes[`${index}.weight`] = [outputs!, inputs!];
    shapes[`${index}.bias`] = [outputs!];
  }
  return shapes;
}

/** Throws if the file that the code loads, in `folder`, has not the tensors of its model. */
export function checkExported(folder: string, code: string): void {
  const name = /load_file\("([^"]+)"\)/.exec(code)?.[1];
  if (name === undefined) throw new Error(`PyTorch code that loads no exported file:\n${code}`);
  const [expected, actual] = [expectedShapes(code), readShapes(readFileSync(join(folder, name)))];
  if (Object.keys(expected).length === 0) throw new Error(`no layers were found in:\n${code}`);
  for (const shapes of [expected, actual]) {
    for (const key of Object.keys(shapes)) {
      if (String(expected[key]) !== String(actual[key])) {
        throw new Error(`${name}: ${key} is [${actual[key]}], the page's model has [${expected[key]}]`);
      }
    }
  }
}
