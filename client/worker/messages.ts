/** What page and worker say to each other: two tables, one each way. */

import type { TrainingErrorCode } from "../core/errors.ts";
import type { Summary, TrainingEvent } from "../core/events.ts";
import type { PredictionInputs } from "../core/features.ts";
import type { Conditions, Policies } from "../core/governor.ts";
import type { Metrics } from "../core/metrics.ts";
import type { VolunteerOptions } from "../core/volunteer.ts";

/** Calls that are answered, by name: their argument and their answer. */
export interface Calls {
  predict: { readonly argument: PredictionInputs; readonly answer: Float32Array };
  metrics: { readonly argument: number; readonly answer: Metrics };
  forget: { readonly argument: null; readonly answer: null };
}

export type CallName = keyof Calls;

export type CallMessage = {
  readonly [Name in CallName]: {
    readonly type: "call";
    readonly id: number;
    readonly name: Name;
    readonly argument: Calls[Name]["argument"];
  };
}[CallName];

/** Page to worker. */
export type PageMessage =
  | { readonly type: "join"; readonly options: VolunteerOptions }
  | { readonly type: "pause" }
  | { readonly type: "resume" }
  | { readonly type: "leave" }
  | { readonly type: "share"; readonly share: number }
  | { readonly type: "policies"; readonly policies: Partial<Policies> }
  | { readonly type: "conditions"; readonly conditions: Conditions }
  | { readonly type: "wake" }
  /** The network or the page came back. */
  | { readonly type: "reconnect" }
  | CallMessage
  /** Source text of the ONNX pool's worker, or null if the page could not load it. */
  | { readonly type: "pool"; readonly source: string | null; readonly problem: string };

export interface PlainError {
  readonly code: TrainingErrorCode;
  readonly message: string;
}

/** Worker to page. */
export type WorkerMessage =
  | { readonly type: "event"; readonly event: TrainingEvent }
  | { readonly type: "answer"; readonly id: number; readonly answer: Calls[CallName]["answer"] }
  | { readonly type: "refusal"; readonly id: number; readonly error: PlainError }
  /** The WASM engine is wanted: only now is its code needed. */
  | { readonly type: "pool" }
  | { readonly type: "finished"; readonly summary: Summary }
  | { readonly type: "failed"; readonly error: PlainError };
