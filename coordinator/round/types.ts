/**
 * Vocabulary of the round machine: `(state, event) → (state, effects)`. Times are milliseconds: of events and wakes by the shell's clock,
 * which may be set, of leases by the round's own, which never goes back.
 */

import type { Work } from "../../shared/session/plan.ts";
import type { Auditable, Evidence } from "../audit/index.ts";

export type ClientId = string;
export type Stage = Work | "done";
export type Status = "running" | "paused" | "stopped" | "failed" | "finished";

/** A run of micro-batches handed to one client: half-open [from, to). */
export interface Lease {
  readonly id: number;
  readonly work: Work;
  readonly step: number;
  readonly version: number;
  readonly from: number;
  readonly to: number;
  readonly assignedAt: number;
  /** After this it may be handed to somebody else; a late result still counts if it is first. */
  readonly deadline: number;
}

export type RoundEvent =
  /** A socket said hello. `lease` is the one its attachment still holds after the coordinator woke; `version` its weights'. */
  | {
      readonly type: "joined";
      readonly time: number;
      readonly client: ClientId;
      readonly version: number | null;
      readonly lease: Lease | null;
      /** Absent where nothing is compared. */
      readonly audit?: Auditable;
    }
  | { readonly type: "left"; readonly time: number; readonly client: ClientId }
  | { readonly type: "ready"; readonly time: number; readonly client: ClientId; readonly version: number }
  | { readonly type: "capacity"; readonly time: number; readonly client: ClientId; readonly microBatches: number }
  /** A result arrived whole and has the right size. */
  | {
      readonly type: "result";
      readonly time: number;
      readonly client: ClientId;
      readonly lease: number;
      readonly version: number;
      readonly step: number;
      /** Of a doubled lease's result. */
      readonly evidence?: Evidence;
    }
  /** The client could not compute a lease, or sent something unusable for it. */
  | { readonly type: "failed"; readonly time: number; readonly client: ClientId; readonly lease: number }
  /** It says that a gradient of its lease is not finite: somebody else is to compute the same, if anybody is there. */
  | { readonly type: "disputed"; readonly time: number; readonly client: ClientId; readonly lease: number }
  | { readonly type: "tick"; readonly time: number }
  /** The shell made a completed piece of work durable: what comes next, at which version of the weights. */
  | {
      readonly type: "committed";
      readonly time: number;
      readonly stage: Stage;
      readonly step: number;
      readonly version: number;
      /** Clients that a newer version is sent to at once: they are given work with it, and need not ask. */
      readonly ahead: readonly ClientId[];
    }
  /**
   * After `convict`: its piece of work begins again, or an earlier one does, at a version that is higher where the weights are
   * others.
   */
  | {
      readonly type: "restarted";
      readonly time: number;
      readonly stage: Stage;
      readonly step: number;
      readonly version: number;
      readonly ahead: readonly ClientId[];
    }
  | { readonly type: "control"; readonly time: number; readonly action: "pause" | "resume" | "stop" | "fail" };

export type DropReason = "duplicate" | "stale" | "foreign";

export type RoundEffect =
  | { readonly type: "assign"; readonly client: ClientId; readonly lease: Lease }
  | { readonly type: "revoke"; readonly client: ClientId; readonly lease: number }
  /** Add this result to the sum: exactly once for each micro-batch. */
  | { readonly type: "accept"; readonly client: ClientId; readonly lease: Lease }
  /** The result of work that another one was added for: it is not, and was compared with it. */
  | { readonly type: "compared"; readonly client: ClientId; readonly lease: Lease }
  /**
   * These were found to have sent wrong results: they are banned, and what the open piece added up to is void. Nothing is assigned
   * until `restarted`.
   */
  | { readonly type: "convict"; readonly clients: readonly ClientId[] }
  | { readonly type: "drop"; readonly client: ClientId; readonly lease: number; readonly reason: DropReason }
  /** Every micro-batch is in: make it durable, apply it, then send `committed`. Nothing is assigned in between. */
  | { readonly type: "complete"; readonly work: Work; readonly step: number }
  /** Send the weights of this version to every client that has none or older ones, behind the work that was assigned with it. */
  | { readonly type: "broadcast"; readonly version: number }
  /** A tick must come at this time (the earliest deadline), or null: none is needed. */
  | { readonly type: "wake"; readonly time: number | null };
