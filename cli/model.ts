/** A session's weights as a file on disk. */

import type { CoordinatorApi, SessionDescription } from "./api.ts";
import { encodeSafetensors } from "./safetensors.ts";
import { writeWhole } from "./state.ts";

/** Throws RefusedError `no-best` where `best` was never measured. */
export async function writeModel(
  api: CoordinatorApi,
  { id, definition, parameters }: SessionDescription,
  which: "best" | "latest",
  file: string,
): Promise<void> {
  const weights = await api.readWeights(id, which, parameters);
  const metadata = { format: "pt", session: id, title: definition.title };
  writeWhole(file, encodeSafetensors(definition.graph, weights, metadata));
}
