/**
 * Watches what a simulated coordinator sends and keeps, and compares it bit for bit with a calm run of the same session: one
 * volunteer, no fault. The invariants are those of docs/architecture.md.
 */

import type { Answer } from "../../coordinator/session/answer.ts";
import type { TrainingSession } from "../../coordinator/session/session.ts";
import { decodeFrame } from "../../shared/protocol/frames.ts";
import { isFrame } from "../../shared/protocol/messages.ts";
import { InvariantError } from "../coordinator/round/witness.ts";
import type { ServerSocket, Watcher } from "./platform.ts";
import { hashOf } from "./result.ts";

/** What a run came to. */
export interface Record {
  /** Hash of every body of weights that was sent, by version. */
  readonly weights: Map<number, number>;
  /** Hash of parameters and optimizer state after each step at which they were looked at. */
  readonly parameters: Map<number, number>;
  /** Everything that is durable about the training but the time, and who did it. */
  final: string;
  /** Samples of all members together, each once however many computed it. */
  samples: number;
}

export class Witness implements Watcher {
  readonly record: Record = { weights: new Map(), parameters: new Map(), final: "", samples: 0 };
  readonly #calm: Record | null;
  readonly #ledger: boolean;
  /** Newest version and step that anybody was sent. */
  #version = 0;
  #looks = 0;
  readonly #leases = new Set<number>();

  constructor(calm: Record | null) {
    this.#calm = calm;
    this.#ledger = calm !== null;
  }

  sent(_: ServerSocket, bytes: Uint8Array<ArrayBuffer>): void {
    if (!isFrame(bytes.buffer)) return;
    const frame = decodeFrame(bytes.buffer);
    this.held(frame.version, hashOf(frame.payload));
  }

  /** Somebody was given a body of weights. */
  held(version: number, hash: number): void {
    this.#version = Math.max(this.#version, version);
    this.#compare("weights of version", this.record.weights, this.#calm?.weights, version, hash);
  }

  /** A number says which micro-batches of which step a result is of: it has one meaning for ever. */
  given(lease: number): void {
    if (this.#leases.has(lease)) throw new InvariantError(`I1: the lease number ${lease} was given twice`);
    this.#leases.add(lease);
  }

  /** I3: what was seen is there after every awakening. */
  woke(object: TrainingSession): void {
    this.look(object);
  }

  /** I1 and I3: state, weights and moments have the bits of the calm run; I4: the ledger is within its limit. */
  look(object: TrainingSession): void {
    const found = object.snapshot();
    if (found === null) return;
    const { state, weights, states } = found;
    if (state.version < this.#version) {
      throw new InvariantError(`I3: version ${state.version} after ${this.#version} was sent: what was seen is lost`);
    }
    if (state.status === "failed") throw new InvariantError(`I5: the session failed: ${state.reason}`);
    let hash = hashOf(state.envelope);
    for (const values of [weights, ...Object.values(states)]) {
      hash = Math.imul(hash, 31) ^ hashOf(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    // A version may have other parameters than the one before although no step is between them.
    this.#compare("parameters of version", this.record.parameters, this.#calm?.parameters, state.version, hash);
    this.#looks += 1;
    if (this.#ledger && this.#looks % 16 === 0) this.#bounds(object);
  }

  /** The end: every figure that the object answered with, and every sample once. */
  ended(object: TrainingSession, figures: Answer): true {
    const metrics = JSON.parse(jsonOf(figures), (key, value: unknown) =>
      ["time", "engines", "members"].includes(key) ? undefined : value,
    ) as unknown;
    const { members } = JSON.parse(jsonOf(object.diagnostics())) as {
      members: { samples: number; repeated: number }[];
    };
    const { state } = object.snapshot() ?? { state: null };
    this.record.final = JSON.stringify({
      metrics,
      state: { ...state, envelope: undefined, checkpointStep: undefined, checkpointEnvelope: undefined },
    });
    this.record.samples = members.reduce((sum, { samples, repeated }) => sum + samples - repeated, 0);
    if (this.#calm === null) return true;
    if (this.record.final !== this.#calm.final) {
      throw new InvariantError(
        `I1: it ended otherwise than the calm run: ${difference(this.record.final, this.#calm.final)}`,
      );
    }
    if (this.record.samples !== this.#calm.samples) {
      throw new InvariantError(`I1: ${this.record.samples} samples are credited, ${this.#calm.samples} were asked for`);
    }
    const { ledger } = JSON.parse(jsonOf(object.diagnostics())) as {
      ledger: { accounts: { [account: string]: number } };
    };
    for (const account of ["uploads", "downlinks", "downloads"]) {
      const bytes = ledger.accounts[account] ?? 0;
      if (bytes !== 0) throw new InvariantError(`I4: ${bytes} bytes of ${account} are counted after everyone has gone`);
    }
    return true;
  }

  #bounds(object: TrainingSession): void {
    const { ledger, log } = JSON.parse(jsonOf(object.diagnostics())) as {
      ledger: { used: number; limit: number };
      log: { steps: number };
    };
    if (ledger.used > ledger.limit) throw new InvariantError(`I4: ${ledger.used} bytes of ${ledger.limit} are used`);
    if (log.steps > 64) throw new InvariantError(`I3: ${log.steps} steps are in the log, a checkpoint is after 64`);
  }

  #compare(
    what: string,
    own: Map<number, number>,
    calm: Map<number, number> | undefined,
    version: number,
    hash: number,
  ): void {
    const expected = calm?.get(version) ?? own.get(version);
    own.set(version, hash);
    if (expected !== undefined && expected !== hash) {
      throw new InvariantError(`I1: the ${what} ${version} are not those of the calm run`);
    }
  }
}

/** Where two texts part. */
function difference(own: string, calm: string): string {
  let at = 0;
  while (own[at] === calm[at] && at < own.length) at += 1;
  const around = (text: string): string => text.slice(Math.max(0, at - 60), at + 60);
  return `${around(own)}, expected ${around(calm)}`;
}

function jsonOf(answer: { ok: true; json: string } | { ok: false; message: string }): string {
  if (!answer.ok) throw new InvariantError(`asked for figures, was told: ${answer.message}`);
  return answer.json;
}
