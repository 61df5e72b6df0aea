/**
 * What a session file may start from, out of files beside it: `import { onnx, safetensors } from "commonweight/files"`. Paths
 * are relative to the file that imports this module; each such file has an instance of its own, which knows it by the
 * `from` of its address (own-modules.ts).
 */

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { GraphError } from "../shared/graph/error.ts";
import type { Module, NamedTensors } from "../shared/nn/index.ts";
import { MAX_MODEL_BYTES } from "../shared/onnx/model.ts";
import { type OnnxOptions, onnxModule } from "../shared/onnx/module.ts";
import { CliError } from "./errors.ts";
import { readFile } from "./importers/file.ts";
import { parseSafetensors } from "./importers/safetensors.ts";

const importer = new URL(import.meta.url).searchParams.get("from");
const base = importer === null ? "." : dirname(fileURLToPath(importer));

/** Bytes of a file of weights: as many as of a model. */
const MAX_WEIGHTS_BYTES = MAX_MODEL_BYTES;

/**
 * A model that PyTorch exported (`torch.onnx.export`, opset 13 to 21), with its weights, as a module.
 * @param path relative to the session file
 * @param options `stateDict: safetensors("…")` gives parameters back the names that the exporter rewrote; `frozen` names
 *   parameters that are not trained, or their beginnings; `output` is the prediction, if it is not the first output
 * Throws CliError for a file that cannot be read or is not what it should be, and names every op that is not supported.
 */
export function onnx(path: string, options: OnnxOptions = {}): Module {
  const bytes = readFile(resolve(base, path), MAX_MODEL_BYTES);
  try {
    return onnxModule(bytes, options);
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new CliError(`${path}: ${error.message}`, { cause: error });
  }
}

/**
 * Weights by name, as `safetensors.torch.save_file(model.state_dict(), …)` writes them: for `defineSession({ weights })`.
 * @param path relative to the session file
 * Throws CliError naming the file and the tensor.
 */
export function safetensors(path: string): NamedTensors {
  return parseSafetensors(readFile(resolve(base, path), MAX_WEIGHTS_BYTES), path);
}
