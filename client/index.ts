/**
 * The SDK for browsers: `await joinTraining(sessionId)` takes part in a training session.
 *
 * One web worker per call owns the socket, the data and the engine; the page's main thread only hears events. Nothing is
 * computed or downloaded before the call. Code comes from this package alone, never from the coordinator.
 */

import type { SessionAddress } from "./core/address.ts";
import { parseAddress } from "./core/address.ts";
import { TrainingError } from "./core/errors.ts";
import type { TrainingHandle } from "./core/handle.ts";
import { Ear, openHandle } from "./core/handle.ts";
import type { JoinOptions as CommonOptions } from "./core/options.ts";
import { readOptions } from "./core/options.ts";
import { hostVolunteer } from "./worker/host.ts";
import type { TabIdentity } from "./worker/identity.ts";
import { claimTabIdentity } from "./worker/identity.ts";
import { threadsOf } from "./worker/threads.ts";

export type { Progress } from "../shared/protocol/messages.ts";
export type { TrainingErrorCode } from "./core/errors.ts";
export { TRAINING_ERRORS, TrainingError } from "./core/errors.ts";
export type {
  Contributed,
  EngineInfo,
  EpochRecord,
  EvaluationRecord,
  Identity,
  PauseCause,
  SessionInfo,
  StepRecord,
  Summary,
  TrainingEvent,
  TrainingEvents,
  TrainingEventType,
  Usage,
  VolunteerStatus,
} from "./core/events.ts";
export type { PredictionInputs } from "./core/features.ts";
export type { Circumstance, Policies, Reaction } from "./core/governor.ts";
export { DEFAULT_POLICIES } from "./core/governor.ts";
export type { AbortOptions, RecordOptions, TrainingHandle } from "./core/handle.ts";
export type { ClientBudget } from "./core/session.ts";
export type { LocalColumns } from "./data/local.ts";
export type { EngineKind } from "./engine/engine.ts";

/** `auto` measures WebGPU and WASM on the session's own model and takes the faster. */
export type EngineChoice = "auto" | "webgpu" | "wasm";

/** What `joinTraining` takes besides the session, in browsers. */
export interface JoinOptions extends CommonOptions {
  readonly engine?: EngineChoice;
  /** Makes the worker; by default from source text within this package. Its module is `commonweight/worker`. */
  readonly worker?: () => Worker;
}

/** Loopback counts as secure, also from an https page. */
const LOOPBACK = /^http:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(\/|$)/;

function requireUsable(server: string, engine: EngineChoice): void {
  if (typeof Worker === "undefined") {
    throw new TrainingError("unsupported", "there are no web workers here; in Node import commonweight/node");
  }
  if (location.protocol === "https:" && server.startsWith("http:") && !LOOPBACK.test(server)) {
    throw new TrainingError("insecure", `an https page cannot connect to ${server}: serve the coordinator over https`);
  }
  if (engine === "webgpu" && !isSecureContext) {
    throw new TrainingError("insecure", "WebGPU exists only on https pages and on localhost");
  }
}

/** Whether the worker will compute by itself: with one thread of WASM, as far as that can be known before anything is measured. */
function isAlone({ engine = "auto", workers }: JoinOptions): boolean {
  const isWasm = engine === "wasm" || (engine === "auto" && navigator.gpu === undefined);
  return isWasm && threadsOf(workers) === 1;
}

/** A worker from text runs on any origin and under any bundler. */
async function createInlineWorker(options: JoinOptions): Promise<Worker> {
  const { default: source } = await (isAlone(options)
    ? import("./worker/alone.generated.js")
    : import("./worker/inline.generated.js"));
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module", name: "commonweight" });
  // Not before it has loaded: browsers differ in when they read the address.
  worker.addEventListener("message", () => URL.revokeObjectURL(url), { once: true });
  return worker;
}

/**
 * Joins by session id (at `server`, by default this page's origin) or by the session's link. Resolves once the
 * coordinator knows this client. Rejects with TrainingError, see `TRAINING_ERRORS`, or with the signal's reason.
 */
export async function joinTraining(session: string, options: JoinOptions = {}): Promise<TrainingHandle> {
  options.signal?.throwIfAborted();
  const server = options.server ?? (session.includes("/") ? undefined : location.origin);
  const address = parseAddress(session, server, options.token);
  requireUsable(address.server, options.engine ?? "auto");
  if (options.identity !== undefined) return join(address, options, null);
  const tab = await claimTabIdentity(address);
  try {
    return await join(address, options, tab);
  } catch (error) {
    const stale = tab.identity !== null && error instanceof TrainingError && error.code === "wrong-resume-key";
    if (!stale) throw error;
    // The coordinator no longer accepts the tab's old identity: the tab starts anew.
    tab.forget();
    return join(address, options, await claimTabIdentity(address));
  }
}

async function join(address: SessionAddress, options: JoinOptions, tab: TabIdentity | null): Promise<TrainingHandle> {
  const ear = new Ear((event) => {
    if (event.type === "welcome") tab?.keep(event.detail);
    options.onEvent?.(event);
  });
  const common = readOptions(options);
  const { engine = "auto" } = options;
  const identity = options.identity ?? tab?.identity ?? undefined;
  const link = hostVolunteer({
    worker: options.worker?.() ?? (await createInlineWorker(options)),
    volunteer: { ...common, address, engine, identity },
    onEvent: (event) => ear.hear(event),
    loadPool: async () => (await import("./worker/pool.generated.js")).default,
  });
  const release = () => tab?.release();
  link.finished.then(release, release);
  const forget = () => link.forget().then(() => tab?.forget());
  return openHandle({ ...link, forget }, ear, options);
}
