/** Checkpoint files (shared/checkpoint/head.ts) on this side: read and checked whole before anything is sent or kept. */

import { createHash } from "node:crypto";
import {
  CHECKPOINT_LIMITS,
  CheckpointError,
  type CheckpointHead,
  formatHead,
  parseHead,
  sealedText,
} from "../shared/checkpoint/head.ts";
import { prolong, requirePossible } from "../shared/checkpoint/state.ts";
import { headerLength, LENGTH_BYTES, SafetensorsError } from "../shared/safetensors.ts";
import { canonicalJson } from "../shared/session/canonical.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { SessionError } from "../shared/session/errors.ts";
import { parseDefinition } from "../shared/session/validate.ts";
import { coordinatorBudget } from "../workers/limits.ts";
import { CliError, messageOf } from "./errors.ts";
import { assembleFile } from "./safetensors.ts";

export interface Checkpoint {
  /** As the file is called. */
  readonly name: string;
  readonly head: CheckpointHead;
  readonly definition: SessionDefinition;
  /** All that comes after the header. */
  readonly data: Uint8Array;
  /** Hex SHA-256 of what the head says: equal only for equal checkpoints. */
  readonly seal: string;
}

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

const damaged = (what: string): CheckpointError => new CheckpointError("checkpoint-damaged", what);

function readHead(file: Uint8Array): { head: CheckpointHead; seal: string; start: number } {
  const room = Math.max(0, Math.min(CHECKPOINT_LIMITS.headerBytes, file.length - LENGTH_BYTES));
  let text: string;
  let start: number;
  try {
    start = LENGTH_BYTES + headerLength(file, room);
    text = new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(LENGTH_BYTES, start));
  } catch (error) {
    if (!(error instanceof SafetensorsError) && !(error instanceof TypeError)) throw error;
    throw new CheckpointError("not-a-checkpoint", error.message, { cause: error });
  }
  const { head, seal, bytes } = parseHead(text);
  if (bytes !== file.length - start) throw damaged(`its parts have ${bytes} bytes, ${file.length - start} came`);
  if (sha256(sealedText(head)) !== seal) throw damaged("its header was changed: the seal is broken");
  return { head, seal, start };
}

function parse(file: Uint8Array, name: string): Checkpoint {
  const { head, seal, start } = readHead(file);
  const data = file.subarray(start);
  let offset = 0;
  for (const { name: part, bytes, sha256: expected } of head.parts) {
    if (sha256(data.subarray(offset, offset + bytes)) !== expected) throw damaged(`part ${part} was changed`);
    offset += bytes;
  }
  let value: unknown;
  try {
    value = JSON.parse(head.definition);
  } catch {
    throw damaged("its definition is not JSON");
  }
  const definition = parseDefinition(value, coordinatorBudget);
  requirePossible(head.state, definition);
  return { name, head, definition, data, seal };
}

/** Throws CliError that names the file and says what is wrong with it. */
export function parseCheckpoint(file: Uint8Array, name: string): Checkpoint {
  try {
    return parse(file, name);
  } catch (error) {
    if (!(error instanceof CheckpointError) && !(error instanceof SessionError)) throw error;
    throw new CliError(`${name} is no checkpoint to go on from: ${messageOf(error)}`, { cause: error });
  }
}

/** The file for a session that may last longer. Throws CliError where it differs in anything else, or nothing is left to do. */
export function continueCheckpoint(
  { name, head, definition: before, data }: Checkpoint,
  definition: SessionDefinition,
): Uint8Array<ArrayBuffer> {
  try {
    const next: CheckpointHead = {
      ...head,
      definition: canonicalJson(definition),
      state: prolong(head, before, definition),
    };
    return assembleFile(formatHead(next, sha256(sealedText(next))), [data]);
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new CliError(`cannot go on from ${name}: ${error.message}`, { cause: error });
  }
}
