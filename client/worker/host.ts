/**
 * The page's side of the worker: commands go in, events come out, and the page lends it the source text of the ONNX
 * pool's worker when it asks. The page itself computes nothing and holds no socket.
 */

import { describeError, TrainingError } from "../core/errors.ts";
import type { Summary, TrainingEvent } from "../core/events.ts";
import type { Link } from "../core/handle.ts";
import type { VolunteerOptions } from "../core/volunteer.ts";
import type { CallName, Calls, PageMessage, WorkerMessage } from "./messages.ts";
import { watchSensors } from "./sensors.ts";

export interface HostOptions {
  readonly worker: Worker;
  readonly volunteer: VolunteerOptions;
  readonly onEvent: (event: TrainingEvent) => void;
  /** Loads the source text of the ONNX pool's worker. */
  readonly loadPool: () => Promise<string>;
}

interface Pending {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: TrainingError) => void;
}

/** Starts the volunteer in the worker. The worker is terminated once the volunteer has ended. */
export function hostVolunteer({ worker, volunteer, onEvent, loadPool }: HostOptions): Link {
  const pending = new Map<number, Pending>();
  let calls = 0;
  const { promise: finished, resolve, reject } = Promise.withResolvers<Summary>();
  // A failure is also an event: nobody has to wait for this promise.
  finished.catch(() => {});

  const post = (message: PageMessage) => worker.postMessage(message);

  function close(error: TrainingError): void {
    unwatch();
    worker.terminate();
    for (const call of pending.values()) call.reject(error);
    pending.clear();
  }

  function call<Name extends CallName>(name: Name, argument: Calls[Name]["argument"]): Promise<Calls[Name]["answer"]> {
    return new Promise((resolve, reject) => {
      const id = calls++;
      pending.set(id, { resolve, reject });
      post({ type: "call", id, name, argument } as PageMessage);
    });
  }

  async function sendPool(): Promise<void> {
    try {
      post({ type: "pool", source: await loadPool(), problem: "" });
    } catch (error) {
      post({ type: "pool", source: null, problem: describeError(error) });
    }
  }

  function fail(error: TrainingError): void {
    close(error);
    reject(error);
  }

  worker.addEventListener("message", ({ data }: MessageEvent<WorkerMessage>) => {
    switch (data.type) {
      case "event":
        onEvent(data.event);
        break;
      case "answer":
        pending.get(data.id)?.resolve(data.answer as never);
        pending.delete(data.id);
        break;
      case "refusal":
        pending.get(data.id)?.reject(new TrainingError(data.error.code, data.error.message));
        pending.delete(data.id);
        break;
      case "pool":
        void sendPool();
        break;
      case "finished":
        close(new TrainingError("left", "this client has left"));
        resolve(data.summary);
        break;
      case "failed":
        fail(new TrainingError(data.error.code, data.error.message));
        break;
      default:
        data satisfies never;
    }
  });
  worker.addEventListener("error", (event) => {
    const why = event.message || "it could not be loaded; a content security policy needs worker-src blob:";
    const error = new TrainingError("unsupported", `the worker failed: ${why}`);
    onEvent({ type: "error", detail: { code: error.code, message: error.message, fatal: true } });
    onEvent({ type: "status", detail: { status: "failed", reason: error.message, cause: null } });
    fail(error);
  });

  post({ type: "join", options: volunteer });
  const unwatch = watchSensors({
    changed: (conditions) => post({ type: "conditions", conditions }),
    shown: () => post({ type: "wake" }),
    returned: () => post({ type: "reconnect" }),
  });
  return {
    finished,
    pause: () => post({ type: "pause" }),
    resume: () => post({ type: "resume" }),
    leave: () => post({ type: "leave" }),
    setShare: (share) => post({ type: "share", share }),
    setPolicies: (policies) => post({ type: "policies", policies }),
    forget: () => call("forget", null).then(() => {}),
    predict: (inputs) => call("predict", inputs),
    metrics: (after) => call("metrics", after),
  };
}
