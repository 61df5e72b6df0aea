/**
 * The SDK for Node (22 or newer): the same `joinTraining` and the same handle. The volunteer runs in the calling thread;
 * with more than one worker its WASM engine computes in worker threads.
 */

import { parseAddress } from "../core/address.ts";
import { Ear, openHandle, type TrainingHandle } from "../core/handle.ts";
import type { JoinOptions as CommonOptions } from "../core/options.ts";
import type { EngineChoice } from "../core/platform.ts";
import { Volunteer } from "../core/volunteer.ts";
import { nodePlatform } from "./platform.ts";

export type { Progress } from "../../shared/protocol/messages.ts";
export type { TrainingErrorCode } from "../core/errors.ts";
export { TRAINING_ERRORS, TrainingError } from "../core/errors.ts";
export type * from "../core/events.ts";
export type { Circumstance, Policies, Reaction } from "../core/governor.ts";
export { DEFAULT_POLICIES } from "../core/governor.ts";
export type { AbortOptions, RecordOptions, TrainingHandle } from "../core/handle.ts";
export type { EngineChoice } from "../core/platform.ts";

export interface JoinOptions extends CommonOptions {
  /** `native` needs the package onnxruntime-node; `auto` takes it where it is installed and faster. */
  readonly engine?: EngineChoice;
}

/**
 * Joins by the session's link, or by its id at `server`. Resolves once the coordinator knows this client. Rejects with
 * TrainingError, see `TRAINING_ERRORS`, or with the signal's reason.
 */
export async function joinTraining(session: string, options: JoinOptions = {}): Promise<TrainingHandle> {
  options.signal?.throwIfAborted();
  const address = parseAddress(session, options.server);
  const ear = new Ear(options.onEvent);
  const { engine = "auto", workers, data, budget, name, identity } = options;
  const volunteer = new Volunteer({ address, engine, workers, identity, data, budget, name }, nodePlatform, (event) =>
    ear.hear(event),
  );
  const link = {
    finished: volunteer.finished,
    pause: () => volunteer.pause(),
    resume: () => volunteer.resume(),
    leave: () => volunteer.leave(),
    predict: (inputs: Parameters<Volunteer["predict"]>[0]) => volunteer.predict(inputs),
    metrics: (after: number) => volunteer.metrics(after),
  };
  return openHandle(link, ear, options.signal);
}
