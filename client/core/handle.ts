/**
 * What `joinTraining` gives back: the same handle over a volunteer in this thread (Node) or in a web worker (browser).
 */

import type { Progress } from "../../shared/protocol/messages.ts";
import type { EngineKind } from "../engine/engine.ts";
import { TrainingError } from "./errors.ts";
import type {
  Contributed,
  EpochRecord,
  Identity,
  SessionInfo,
  StepRecord,
  Summary,
  TrainingEvent,
  TrainingEvents,
  TrainingEventType,
  Usage,
  VolunteerStatus,
} from "./events.ts";
import { Listeners } from "./events.ts";
import type { PredictionInputs } from "./features.ts";
import type { Policies } from "./governor.ts";
import { checkShare } from "./governor.ts";
import type { Metrics } from "./metrics.ts";
import { EpochCounter } from "./metrics.ts";
import type { JoinOptions } from "./options.ts";

/** A volunteer, wherever it runs. */
export interface Link {
  pause(): void;
  resume(): void;
  leave(): void;
  setShare(share: number): void;
  setPolicies(policies: Partial<Policies>): void;
  /** Resolves once the coordinator has forgotten this client, which then leaves. */
  forget(): Promise<void>;
  predict(inputs: PredictionInputs): Promise<Float32Array>;
  /** The coordinator's record of the steps after `after`. */
  metrics(after: number): Promise<Metrics>;
  /** Resolves or rejects once everything is disposed of. */
  readonly finished: Promise<Summary>;
}

/** How to give up waiting. */
export interface AbortOptions {
  /** Rejects with the signal's reason when it aborts. */
  readonly signal?: AbortSignal;
}

/** Which part of the coordinator's record to read. */
export interface RecordOptions extends AbortOptions {
  /** Steps after this one; by default those that are done from now on. 0 is the whole history. */
  readonly after?: number;
}

/** A part taken in a session: what is known of it, what it tells, and how to end it. */
export interface TrainingHandle {
  readonly session: SessionInfo;
  readonly status: VolunteerStatus;
  /** Public identity; the coordinator lists clients by its first 8 characters. */
  readonly clientId: string;
  /** Pass it to a later `joinTraining` to come back as the same client. The resume key is a secret. */
  readonly identity: Identity;
  readonly engine: EngineKind;
  /** For people, such as "WASM × 2". */
  readonly device: string;
  /** Where the session stands, as last heard. */
  readonly progress: Progress;
  /** What this client's accepted results came to. */
  readonly contributed: Contributed;
  /** Wanted part of this machine's time, 0 to 1. */
  readonly share: number;
  /** What this client gave and took, as last heard. */
  readonly usage: Usage;
  /** Resolves when the session ends or this client has left; rejects with TrainingError if it had to give up. */
  readonly finished: Promise<Summary>;
  /** Listens to one type of event; the function returned stops that. */
  on<Type extends TrainingEventType>(type: Type, listener: (detail: TrainingEvents[Type]) => void): () => void;
  /** Every optimizer step of the session once and in order, from the coordinator's record, until the session ends. */
  steps(options?: RecordOptions): AsyncGenerator<StepRecord, void, void>;
  /** Every finished epoch, with its validation where there is one. */
  epochs(options?: RecordOptions): AsyncGenerator<EpochRecord, void, void>;
  /** Hands the lease back at once; nothing is computed or downloaded until `resume`. */
  pause(): void;
  /** Ends the volunteer's own pause; one that a circumstance causes ends with it, or by `setPolicies`. */
  resume(): void;
  /** Takes effect at once. Throws RangeError unless 0 < share ≤ 1. */
  setShare(share: number): void;
  /** Changes what is done in the circumstances named, at once. */
  setPolicies(policies: Partial<Policies>): void;
  /** Hands everything back and frees the engine. */
  leave(): Promise<Summary>;
  /**
   * Asks the coordinator to forget this client, its name and what it contributed, then leaves. Waits for a connection.
   * Rejects with TrainingError `finished` or `left` if the session or this client's part in it has ended.
   */
  forget(options?: AbortOptions): Promise<void>;
  /**
   * Prediction [samples, ...] flat, at the latest weights, for features by input name, [samples, ...] flat, in the
   * model's own units (after scale and offset).
   */
  predict(inputs: PredictionInputs, options?: AbortOptions): Promise<Float32Array>;
}

/** Shortest time between two looks at the coordinator's record, in milliseconds. */
const RECORD_INTERVAL = 500;

const NO_USAGE = {
  computeSeconds: 0,
  activeSeconds: 0,
  bytesDown: 0,
  bytesUp: 0,
  dutyCycle: 0,
  circumstances: [],
} as const;

/** What has been heard so far; complete once the coordinator said welcome. */
interface Heard {
  session: SessionInfo | null;
  status: VolunteerStatus;
  identity: Identity | null;
  engine: { readonly kind: EngineKind; readonly device: string } | null;
  progress: Progress | null;
  contributed: Contributed;
  usage: Usage | null;
}

/** Collects a volunteer's events from its first one on. */
export class Ear {
  readonly listeners = new Listeners();
  readonly heard: Heard = {
    session: null,
    status: "joining",
    identity: null,
    engine: null,
    progress: null,
    contributed: { samples: 0, acceptedShards: 0, droppedShards: 0 },
    usage: null,
  };
  readonly #observer: ((event: TrainingEvent) => void) | undefined;

  /** The observer hears everything, also what comes before there is a handle. */
  constructor(observer: ((event: TrainingEvent) => void) | undefined) {
    this.#observer = observer;
  }

  hear(event: TrainingEvent): void {
    const { heard } = this;
    switch (event.type) {
      case "session":
        heard.session = event.detail;
        break;
      case "status":
        heard.status = event.detail.status;
        break;
      case "welcome":
        heard.identity = { client: event.detail.client, resumeKey: event.detail.resumeKey };
        break;
      case "engine":
        heard.engine = event.detail;
        break;
      case "progress":
        heard.progress = event.detail;
        break;
      case "receipt":
        heard.contributed = event.detail.contributed;
        break;
      case "usage":
        heard.usage = event.detail;
        break;
      default:
        break;
    }
    this.#observer?.(event);
    this.listeners.emit(event.type, event.detail);
  }
}

/**
 * Resolves once the coordinator knows this client. Rejects with TrainingError if it comes to nothing, or with the
 * signal's reason if that aborts first; an abort later makes the client leave.
 */
export async function openHandle(link: Link, ear: Ear, { signal, share = 1 }: JoinOptions): Promise<TrainingHandle> {
  const onAbort = () => link.leave();
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) link.leave();
  link.finished.then(
    () => signal?.removeEventListener("abort", onAbort),
    () => signal?.removeEventListener("abort", onAbort),
  );
  const welcomed = new Promise<void>((resolve) => {
    const stop = ear.listeners.on("welcome", () => {
      stop();
      resolve();
    });
  });
  const summary = await Promise.race([welcomed, link.finished]);
  const { session, identity, engine, progress } = ear.heard;
  if (session === null || identity === null || engine === null || progress === null) {
    signal?.throwIfAborted();
    const outcome = summary?.outcome ?? "left";
    throw new TrainingError(outcome === "left" ? "left" : "finished", `the session ended while joining: ${outcome}`);
  }
  return createHandle(link, ear, { session, identity, engine, progress, share });
}

/** Waits for the promise, or until the signal aborts: then rejects with its reason. */
function abortable<Result>(promise: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

function createHandle(
  link: Link,
  { heard, listeners }: Ear,
  first: {
    session: SessionInfo;
    identity: Identity;
    engine: NonNullable<Heard["engine"]>;
    progress: Progress;
    share: number;
  },
): TrainingHandle {
  let over = false;
  let { share } = first;
  const onOver = () => {
    over = true;
  };
  link.finished.then(onOver, onOver);

  /** Resolves at the next progress at least RECORD_INTERVAL from now, or at the end. */
  function nextProgress(): Promise<void> {
    return new Promise((resolve) => {
      const earliest = performance.now() + RECORD_INTERVAL;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const end = () => {
        clearTimeout(timer);
        stop();
        resolve();
      };
      const stop = listeners.on("progress", () => {
        timer ??= setTimeout(end, Math.max(0, earliest - performance.now()));
      });
      link.finished.then(end, end);
    });
  }

  /** The coordinator's record in instalments; the last one is read after the end. */
  async function* instalments(
    after: () => number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Metrics, void, void> {
    for (;;) {
      const last = over;
      try {
        yield await abortable(link.metrics(after()), signal);
      } catch (error) {
        // An unreachable coordinator is asked again after the next progress, unless none will come.
        if (last || !(error instanceof TrainingError) || error.code !== "network") throw error;
      }
      if (last) return;
      if (!over) await abortable(nextProgress(), signal);
    }
  }

  const stepNow = () => (heard.progress ?? first.progress).step;

  return {
    session: first.session,
    finished: link.finished,
    get status() {
      return heard.status;
    },
    get clientId() {
      return (heard.identity ?? first.identity).client;
    },
    get identity() {
      return heard.identity ?? first.identity;
    },
    get engine() {
      return (heard.engine ?? first.engine).kind;
    },
    get device() {
      return (heard.engine ?? first.engine).device;
    },
    get progress() {
      return heard.progress ?? first.progress;
    },
    get contributed() {
      return heard.contributed;
    },
    get share() {
      return share;
    },
    get usage() {
      return heard.usage ?? { ...NO_USAGE, share };
    },
    on: (type, listener) => listeners.on(type, listener),
    async *steps(options) {
      let after = options?.after ?? stepNow();
      for await (const { steps } of instalments(() => after, options?.signal)) {
        for (const step of steps) {
          if (step.step <= after) continue;
          after = step.step;
          yield step;
        }
      }
    },
    async *epochs(options) {
      const { plan } = first.session;
      const now = options?.after ?? stepNow();
      const counter = new EpochCounter(plan, now - (now % plan.stepsPerEpoch));
      const records = instalments(() => counter.after, options?.signal);
      for await (const metrics of records) yield* counter.add(metrics);
    },
    pause: () => link.pause(),
    resume: () => link.resume(),
    setShare: (wanted) => {
      share = checkShare(wanted);
      link.setShare(share);
    },
    setPolicies: (policies) => link.setPolicies(policies),
    leave: () => {
      link.leave();
      return link.finished;
    },
    forget: (options) => abortable(link.forget(), options?.signal),
    predict: (inputs, options) => abortable(link.predict(inputs), options?.signal),
  };
}
