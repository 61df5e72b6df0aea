/** A session that goes on from a checkpoint file: its head is read and checked here, its parts stream on to the session's object. */

import { readExactly, requireParts } from "../coordinator/session/checkpoint.ts";
import { sha256Hex } from "../coordinator/session/identity.ts";
import {
  CHECKPOINT_LIMITS,
  CheckpointError,
  type CheckpointHead,
  parseHead,
  sealedText,
} from "../shared/checkpoint/head.ts";
import { requirePossible } from "../shared/checkpoint/state.ts";
import { headerLength, LENGTH_BYTES, SafetensorsError } from "../shared/safetensors.ts";
import { canonicalJson } from "../shared/session/canonical.ts";
import { checkDataset, parseDefinition } from "../shared/session/validate.ts";
import { readManifest } from "./datasets.ts";
import { HttpError } from "./errors.ts";
import { coordinatorBudget } from "./limits.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

async function readHead(body: ReadableStream<Uint8Array>): Promise<CheckpointHead> {
  const reader = body.getReader({ mode: "byob" });
  let text: string;
  try {
    const prefix = await readExactly(reader, LENGTH_BYTES, "its header");
    const length = headerLength(prefix, CHECKPOINT_LIMITS.headerBytes);
    text = decoder.decode(await readExactly(reader, length, "its header"));
  } catch (error) {
    if (!(error instanceof SafetensorsError) && !(error instanceof TypeError)) throw error;
    throw new CheckpointError("not-a-checkpoint", error.message, { cause: error });
  } finally {
    reader.releaseLock();
  }
  const { head, seal, bytes } = parseHead(text);
  if (bytes > CHECKPOINT_LIMITS.fileBytes) {
    throw new CheckpointError("limit-exceeded", `${bytes} bytes of parts, the limit is ${CHECKPOINT_LIMITS.fileBytes}`);
  }
  if ((await sha256Hex(sealedText(head))) !== seal) {
    throw new CheckpointError("checkpoint-damaged", "its header was changed: the seal is broken");
  }
  return head;
}

/** JSON of a session or a manifest within the head. */
function readJson(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError("checkpoint-damaged", `its ${what} is not JSON`, { cause });
  }
}

/**
 * The head of a checkpoint that a session here can go on from, with definition and manifest in canonical JSON; what follows
 * it stays in `body`. Throws CheckpointError, SessionError, or HttpError 422 `unknown-dataset`.
 */
export async function admitCheckpoint(body: ReadableStream<Uint8Array>, bucket: R2Bucket): Promise<CheckpointHead> {
  const head = await readHead(body);
  const definition = parseDefinition(readJson("definition", head.definition), coordinatorBudget);
  requirePossible(head.state, definition);
  if (head.state.stage === "done") {
    throw new CheckpointError("checkpoint-mismatch", "its training is over: give it more epochs or steps");
  }
  requireParts(head, definition);
  const { data } = definition;
  if (data.source === "local") return { ...head, definition: canonicalJson(definition), manifest: null };
  const manifest = await readManifest(bucket, data.dataset);
  if (manifest === null) {
    throw new HttpError(422, "unknown-dataset", `there is no data set ${data.dataset}: push it first`);
  }
  checkDataset(definition, manifest);
  if (head.manifest === null || canonicalJson(readJson("manifest", head.manifest)) !== canonicalJson(manifest)) {
    throw new CheckpointError(
      "checkpoint-mismatch",
      `the data set ${data.dataset} of this coordinator is not the one that it was trained on`,
    );
  }
  return { ...head, definition: canonicalJson(definition), manifest: canonicalJson(manifest) };
}
