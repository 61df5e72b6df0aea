/**
 * The SDK for Node (22 or newer): the same `joinTraining` and the same handle. The volunteer runs in the calling thread;
 * with more than one worker its WASM engine computes in worker threads.
 */

import { parseAddress } from "../core/address.ts";
import { Ear, type Link, openHandle, type TrainingHandle } from "../core/handle.ts";
import { type JoinOptions as CommonOptions, readOptions } from "../core/options.ts";
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

/** What `joinTraining` takes besides the session, in Node. */
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
  const address = parseAddress(session, options.server, options.token);
  const ear = new Ear(options.onEvent);
  const { engine = "auto", identity } = options;
  const volunteer = new Volunteer({ ...readOptions(options), address, engine, identity }, nodePlatform, (event) =>
    ear.hear(event),
  );
  const link: Link = {
    finished: volunteer.finished,
    pause: () => volunteer.pause(),
    resume: () => volunteer.resume(),
    leave: () => volunteer.leave(),
    setShare: (share) => volunteer.setShare(share),
    setPolicies: (policies) => volunteer.setPolicies(policies),
    forget: () => volunteer.forget(),
    predict: (inputs) => volunteer.predict(inputs),
    metrics: (after) => volunteer.metrics(after),
  };
  return openHandle(link, ear, options);
}
