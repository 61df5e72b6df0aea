/**
 * This tab's part in the session: joins through the SDK, which is only fetched now, and keeps what the page shows of it.
 * Told through `onChange`, which may be called hundreds of times a second: it must do next to nothing.
 */

import type {
  Circumstance,
  EngineChoice,
  PauseCause,
  Progress,
  TrainingErrorCode,
  TrainingEvents,
  TrainingHandle,
  Usage,
  VolunteerStatus,
} from "../index.ts";
import { History } from "./history.ts";
import type { Preferences } from "./preferences.ts";
import { token } from "./token.ts";

/** The last piece of work that was given to this machine. */
export interface Assignment {
  readonly work: "calibrate" | "train" | "validate" | "test";
  readonly step: number;
  readonly microBatches: number;
}

export interface Part {
  readonly status: VolunteerStatus;
  /** The SDK's own word about the status; empty if it has none. */
  readonly reason: string;
  /** Who paused it; null unless it is paused. */
  readonly cause: PauseCause | null;
  /** Of the error that ended it. */
  readonly code: TrainingErrorCode | null;
  /** What went wrong last, until work goes on; empty if nothing did. */
  readonly problem: string;
  readonly samples: number;
  readonly shares: number;
  readonly assignment: Assignment | null;
  readonly usage: Usage;
  /** What the volunteer wants no rest for. */
  readonly ignored: readonly Circumstance[];
}

export interface JoinWishes extends Preferences {
  readonly engine: EngineChoice;
}

export interface ParticipationEvents {
  /** `isNotable` where a person waits for it: paused, lost, over. */
  readonly onChange: (isNotable: boolean) => void;
  readonly onProgress: (progress: Progress) => void;
}

/** Statuses that come and go with every step. */
const EVERYDAY: ReadonlySet<VolunteerStatus> = new Set(["loading", "waiting", "working"]);

type StatusDetail = TrainingEvents["status"];

const AT_FIRST: Omit<Part, "usage"> = {
  status: "joining",
  reason: "",
  cause: null,
  code: null,
  problem: "",
  samples: 0,
  shares: 0,
  assignment: null,
  ignored: [],
};

const hiddenPolicy = (inBackground: boolean) => (inBackground ? "continue" : "pause");

export class Participation {
  readonly handle: TrainingHandle;
  /** Samples that counted, by seconds since joining. */
  readonly contributed = new History();
  readonly #startedAt = performance.now();
  readonly #events: ParticipationEvents;
  #part: Part;

  private constructor(handle: TrainingHandle, status: StatusDetail, events: ParticipationEvents) {
    this.handle = handle;
    this.#events = events;
    this.#part = { ...AT_FIRST, ...status, usage: handle.usage };
    this.contributed.add(0, 0);
    handle.on("status", ({ status, reason, cause }) => this.#onStatus(status, reason, cause));
    handle.on("assign", ({ work, step, microBatches }) => this.#set({ assignment: { work, step, microBatches } }));
    handle.on("usage", (usage) => this.#set({ usage }));
    handle.on("progress", (progress) => events.onProgress(progress));
    handle.on("receipt", ({ contributed }) =>
      this.#set({ samples: contributed.samples, shares: contributed.acceptedShards }),
    );
    handle.on("error", ({ code, message, fatal }) => this.#set({ problem: message, ...(fatal ? { code } : {}) }, true));
  }

  /** Throws TrainingError. */
  static async join(id: string, wishes: JoinWishes, events: ParticipationEvents): Promise<Participation> {
    const { joinTraining } = await import("../index.ts");
    const { engine, share, name, inBackground } = wishes;
    let status: StatusDetail = AT_FIRST;
    const handle = await joinTraining(id, {
      server: location.origin,
      ...(token === undefined ? {} : { token }),
      engine,
      share,
      policies: { hidden: hiddenPolicy(inBackground) },
      ...(name === "" ? {} : { name }),
      // A machine on its battery is paused before there is a handle to listen to.
      onEvent: (event) => {
        if (event.type === "status") status = event.detail;
      },
    });
    return new Participation(handle, status, events);
  }

  /** Whether the SDK still tells where the session stands. */
  get isLive(): boolean {
    return this.#part.status !== "finished" && this.#part.status !== "failed" && this.#part.status !== "left";
  }

  get part(): Part {
    return this.#part;
  }

  /** Seconds since joining. */
  get seconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /** A point of the curve. */
  note(): void {
    if (this.isLive) this.contributed.add(this.seconds, this.#part.samples);
  }

  /** Computes on in spite of a circumstance, from now on. */
  ignore(circumstance: Circumstance): void {
    this.handle.setPolicies({ [circumstance]: "continue" });
    this.#set({ ignored: [...this.#part.ignored, circumstance] }, true);
  }

  setInBackground(inBackground: boolean): void {
    this.handle.setPolicies({ hidden: hiddenPolicy(inBackground) });
  }

  #onStatus(status: VolunteerStatus, reason: string, cause: PauseCause | null): void {
    const isNotable = !EVERYDAY.has(status) || !EVERYDAY.has(this.#part.status);
    this.#set({ status, reason, cause, ...(status === "working" ? { problem: "" } : {}) }, isNotable);
  }

  #set(change: Partial<Part>, isNotable = false): void {
    this.#part = { ...this.#part, ...change };
    this.#events.onChange(isNotable);
  }
}
