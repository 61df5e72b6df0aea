/**
 * What a volunteer tells its page: one table of events by type. Every payload survives structured cloning, because
 * in a browser it crosses from the worker to the page.
 */

import type { Progress } from "../../shared/protocol/messages.ts";
import type { ColumnSpec } from "../../shared/session/definition.ts";
import type { RunPlan, Work } from "../../shared/session/plan.ts";
import type { EngineKind } from "../engine/engine.ts";
import type { TrainingErrorCode } from "./errors.ts";
import type { Circumstance } from "./governor.ts";

/**
 * `joining`: reading and checking the session, building the engine. `connecting`: no socket. `loading`: fetching
 * weights. `waiting`: ready, nothing assigned. `working`: computing a lease. `paused`: nothing is computed until its
 * cause is over. The last three are final.
 */
export type VolunteerStatus =
  | "joining"
  | "connecting"
  | "loading"
  | "waiting"
  | "working"
  | "paused"
  | "finished"
  | "left"
  | "failed";

/** A public id and the secret that proves it. Keep both to come back as the same client. */
export interface Identity {
  readonly client: string;
  readonly resumeKey: string;
}

/** What this client computes with. */
export interface EngineInfo {
  readonly kind: EngineKind;
  /** For people, such as "WASM × 2". */
  readonly device: string;
}

/** What a volunteer may know of a session: the checked definition less its graph. */
export interface SessionInfo {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly contact: string;
  readonly dataLicence: string;
  readonly modelLicence: string;
  /** Floats in the flat parameter array, padding included. */
  readonly parameters: number;
  readonly plan: RunPlan;
  /** Hex SHA-256 of the graph's canonical JSON, to pin with `graphHash`; null on insecure pages, which cannot compute it. */
  readonly graphHash: string | null;
  /** Columns that the caller must bring, or null when the data are hosted. */
  readonly localColumns: readonly ColumnSpec[] | null;
}

/** Counted from the receipts of this client's own results. */
export interface Contributed {
  /** Samples of accepted results, evaluation included. */
  readonly samples: number;
  readonly acceptedShards: number;
  /** Results that came second or too late. */
  readonly droppedShards: number;
}

/** Who paused: the volunteer, the governor because of a circumstance, or the session's owner. */
export type PauseCause = "volunteer" | Circumstance | "session";

/** What this client gave and took since it joined. */
export interface Usage {
  /** Time in which it computed. */
  readonly computeSeconds: number;
  /** Time in which it took part: connected and not paused. */
  readonly activeSeconds: number;
  /** Bodies of HTTP answers and messages of sockets, unpacked; also what the browser's own HTTP cache answered. */
  readonly bytesDown: number;
  readonly bytesUp: number;
  /** Wanted part of this machine's time, 0 to 1. */
  readonly share: number;
  /** Measured part of the last 30 seconds, or of those since it joined, in which it computed: 0 to 1. */
  readonly dutyCycle: number;
  /** In force now, whatever the reaction to them. */
  readonly circumstances: readonly Circumstance[];
}

/** One optimizer step, as the coordinator recorded it. */
export interface StepRecord {
  /** Updates done after this step: the first is 1. */
  readonly step: number;
  /** Counted from 0. */
  readonly epoch: number;
  /** Mean over the step's samples; null if their weights summed to 0. */
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  readonly samples: number;
  /** Samples by the engine that computed them: `webgpu`, `wasm`, `native`. */
  readonly engines: Readonly<Record<string, number>>;
  /** Learning rate of the step, of parameters without a group of their own. */
  readonly lr: number | null;
  /** Unix milliseconds. */
  readonly time: number;
}

/** One evaluation of the whole validation or test split. */
export interface EvaluationRecord {
  readonly work: "validate" | "test";
  /** Updates done. */
  readonly step: number;
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  /**
   * Counts over its samples by name, flat and row-major, where the session asks for them: `confusion` [classes, classes] has
   * the true class by row. Held of the last evaluation of each kind.
   */
  readonly tables?: Readonly<Record<string, readonly number[]>>;
  readonly time: number;
}

/** One finished epoch. */
export interface EpochRecord {
  /** Counted from 0. */
  readonly epoch: number;
  /** Updates done at its end. */
  readonly step: number;
  /** Mean over the epoch's samples, each at the weights of its own step. */
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  /** Null where there is no validation split. */
  readonly validation: { readonly loss: number | null; readonly metrics: Readonly<Record<string, number>> } | null;
}

/** How it ended. */
export interface Summary {
  /** `failed` is the session's own end, such as a gradient that is not finite; `reason` says why. */
  readonly outcome: "finished" | "stopped" | "failed" | "left";
  readonly reason: string;
  /** Updates done when last heard of. */
  readonly step: number;
  readonly totalSteps: number;
  readonly contributed: Contributed;
  /** Null if it ended before there was one. */
  readonly engine: EngineInfo | null;
  readonly client: string | null;
  readonly seconds: number;
}

/** Every event, by type, with what it tells. */
export interface TrainingEvents {
  /** `reason` says why it reconnects or failed, empty otherwise; `cause` who paused, null unless `paused`. */
  status: { readonly status: VolunteerStatus; readonly reason: string; readonly cause: PauseCause | null };
  session: SessionInfo;
  engine: EngineInfo;
  /** Identity to keep for a resume. */
  welcome: Identity & { readonly step: number; readonly version: number };
  /** The engine now holds these weights. */
  weights: { readonly version: number; readonly step: number };
  assign: {
    readonly lease: number;
    readonly work: Work;
    readonly step: number;
    readonly version: number;
    readonly microBatches: number;
  };
  /** A result is on its way. `loss` is this shard's mean, null when it has no weight. */
  result: {
    readonly lease: number;
    readonly work: Work;
    readonly step: number;
    readonly microBatches: number;
    readonly loss: number | null;
    readonly clamped: number;
    readonly milliseconds: number;
  };
  receipt: {
    readonly lease: number;
    readonly accepted: boolean;
    readonly reason: string;
    readonly samples: number;
    readonly contributed: Contributed;
  };
  progress: Progress;
  /** Bytes of hosted data at hand, of those this session has. */
  data: { readonly loadedBytes: number; readonly totalBytes: number };
  error: { readonly code: TrainingErrorCode; readonly message: string; readonly fatal: boolean };
  /** At most once a second, from the welcome to the end. */
  usage: Usage;
  finished: Summary;
}

/** What `on` can listen to. */
export type TrainingEventType = keyof TrainingEvents;

/** Any event, told apart by its `type`. */
export type TrainingEvent = {
  readonly [Type in TrainingEventType]: { readonly type: Type; readonly detail: TrainingEvents[Type] };
}[TrainingEventType];

/** A typed list of listeners. A listener that throws does not keep the others from hearing. */
export class Listeners {
  readonly #byType: { [Type in TrainingEventType]?: Set<(detail: TrainingEvents[Type]) => void> } = {};

  /** Returns the function that takes the listener off again. */
  on<Type extends TrainingEventType>(type: Type, listener: (detail: TrainingEvents[Type]) => void): () => void {
    const existing: Set<(detail: TrainingEvents[Type]) => void> | undefined = this.#byType[type];
    const listeners = existing ?? new Set<(detail: TrainingEvents[Type]) => void>();
    if (existing === undefined) this.#set(type, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  #set<Type extends TrainingEventType>(type: Type, listeners: Set<(detail: TrainingEvents[Type]) => void>): void {
    (this.#byType as Record<Type, Set<(detail: TrainingEvents[Type]) => void>>)[type] = listeners;
  }

  /** Calls each listener; what one throws is reported as an uncaught error of its own task. */
  emit<Type extends TrainingEventType>(type: Type, detail: TrainingEvents[Type]): void {
    const listeners: ReadonlySet<(detail: TrainingEvents[Type]) => void> | undefined = this.#byType[type];
    for (const listener of [...(listeners ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
