/** A session's weights as a file on disk. */

import { exportOnnx } from "../client/engine/onnx/export.ts";
import type { CoordinatorApi, SessionDescription } from "./api.ts";
import { encodeSafetensors } from "./safetensors.ts";
import { writeWhole } from "./state.ts";

type Encode = (session: SessionDescription, weights: Float32Array) => Uint8Array;

/** How a model can be written: as PyTorch loads it, or as onnxruntime runs it. */
export const MODEL_FORMATS = {
  safetensors: ({ id, definition }, weights) =>
    encodeSafetensors(definition.graph, weights, { format: "pt", session: id, title: definition.title }),
  onnx: ({ definition }, weights) => exportOnnx(definition.graph, weights).bytes,
} as const satisfies Record<string, Encode>;

/** Throws RefusedError `no-best` where `best` was never measured. */
export async function writeModel(
  api: CoordinatorApi,
  session: SessionDescription,
  which: "best" | "latest",
  file: string,
  format: keyof typeof MODEL_FORMATS = "safetensors",
): Promise<void> {
  const weights = await api.readWeights(session.id, which, session.parameters);
  writeWhole(file, MODEL_FORMATS[format](session, weights));
}
