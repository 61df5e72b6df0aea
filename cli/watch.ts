/** Watches a session until it ends: the display, the lines for machines, and whether anybody is left to compute. */

import type { Progress } from "../shared/protocol/messages.ts";
import { canonicalJson } from "../shared/session/canonical.ts";
import { planRun } from "../shared/session/plan.ts";
import type { CoordinatorApi, SessionDescription, SessionMetrics, StepMetric } from "./api.ts";
import type { ClientShare, Display } from "./display.ts";
import { CliError, messageOf, RefusedError } from "./errors.ts";
import { plain } from "./foreign-text.ts";
import type { SessionFile } from "./session-file.ts";
import type { Volunteers } from "./volunteers.ts";

/** Milliseconds between two looks. */
const INTERVAL = 400;
/** How long a coordinator may be away before that is an error: it restarts in less. */
const PATIENCE = 60_000;
/** No step for so long is said. */
const STILLNESS = 60_000;
/** Time left is estimated from the steps of so many milliseconds. */
const PACE_WINDOW = 20_000;

/** What one kind of engine did in training steps. */
export interface EngineShare {
  readonly engine: string;
  /** Steps with a result of it. */
  readonly steps: number;
  readonly samples: number;
}

export interface Ending {
  readonly status: Progress["status"];
  /** Why, where the coordinator gave a reason. */
  readonly reason: string;
  readonly steps: number;
  readonly clients: readonly ClientShare[];
  readonly engines: readonly EngineShare[];
}

export interface WatchOptions {
  readonly api: CoordinatorApi;
  readonly session: SessionDescription;
  /** Those that this process started, or null where it only looks on. */
  readonly volunteers: Volunteers | null;
  readonly display: Display;
  readonly onEpoch: SessionFile["onEpoch"];
  /** Absent for a training. */
  readonly probe?: Probe;
}

/** A session that is run to be measured: it may be ended at any step, and one that fails has been measured until then. */
export interface Probe {
  /** Each training step once, in order. */
  onStep(step: StepMetric): void;
  /** Whether enough is known. */
  isDone(): boolean;
  /** What is shown beside the loss. */
  note(): string;
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Everyone who ever took part while this watched, the present ones as they are now. */
class Roll {
  readonly #clients = new Map<string, ClientShare>();

  take(progress: Progress): void {
    for (const { id, name, engine, device, samples } of progress.clients)
      this.#clients.set(id, { id, name, engine, device, samples });
  }

  list(): ClientShare[] {
    return [...this.#clients.values()];
  }
}

/** How fast steps are done of late, and when one was last done. Times are milliseconds. */
export class Pace {
  readonly #marks: { readonly time: number; readonly step: number }[] = [];
  #lastStepAt = Number.NaN;

  note(time: number, step: number): void {
    if (step !== this.#marks.at(-1)?.step) this.#lastStepAt = time;
    this.#marks.push({ time, step });
    while (this.#marks.length > 2 && time - this.#marks[0].time > PACE_WINDOW) this.#marks.shift();
  }

  /** Seconds until `totalSteps` are done at this pace, or null if none was done of late. */
  secondsLeft(totalSteps: number): number | null {
    const [first, last] = [this.#marks[0], this.#marks.at(-1)];
    if (first === undefined || last === undefined || last.step <= first.step) return null;
    return (((last.time - first.time) / (last.step - first.step)) * Math.max(0, totalSteps - last.step)) / 1000;
  }

  stillFor(time: number): number {
    return time - this.#lastStepAt;
  }
}

/**
 * Reports every step and epoch of the coordinator's record exactly once and in order. It begins with the first step also
 * where a session goes on, so that one output holds the whole run.
 */
export class Reporter {
  readonly #display: Display;
  readonly #onEpoch: SessionFile["onEpoch"];
  readonly #probe: Probe | undefined;
  readonly #losses = new Map<number, { sum: number; count: number }>();
  readonly #stepsPerEpoch: number;
  readonly #totalSteps: number;
  readonly #validates: boolean;
  readonly #evaluated = new Set<number>();
  readonly #engines = new Map<string, EngineShare>();
  /** Steps up to this one are reported. */
  after = 0;

  constructor({ session, display, onEpoch, probe }: Pick<WatchOptions, "session" | "display" | "onEpoch" | "probe">) {
    const plan = planRun(session.definition);
    this.#display = display;
    this.#onEpoch = onEpoch;
    this.#probe = probe;
    this.#stepsPerEpoch = plan.stepsPerEpoch;
    this.#totalSteps = plan.totalSteps;
    this.#validates = plan.validationSamples > 0;
  }

  /** Engines by the samples that they computed, most first. */
  engines(): EngineShare[] {
    return [...this.#engines.values()].sort((a, b) => b.samples - a.samples);
  }

  take({ steps, evaluations }: SessionMetrics): void {
    for (const done of steps) {
      const { step, epoch, loss, metrics, engines } = done;
      if (step <= this.after) continue;
      this.after = step;
      this.#display.emit({ type: "step", step, epoch, loss, ...metrics, engines });
      this.#probe?.onStep(done);
      this.#count(engines);
      this.#add(epoch, loss);
      if (step % this.#stepsPerEpoch === 0 || step === this.#totalSteps) this.#endEpoch(epoch, step);
    }
    for (const { work, step, loss, metrics } of evaluations) {
      if (work !== "validate" || step > this.after || this.#evaluated.has(step)) continue;
      this.#evaluated.add(step);
      const epoch = Math.ceil(step / this.#stepsPerEpoch) - 1;
      this.#display.emit({ type: "epoch", epoch, step, loss: this.#mean(epoch), validation: { loss, ...metrics } });
    }
  }

  #count(engines: Readonly<Record<string, number>>): void {
    for (const [engine, samples] of Object.entries(engines)) {
      const before = this.#engines.get(engine) ?? { steps: 0, samples: 0 };
      this.#engines.set(engine, { engine, steps: before.steps + 1, samples: before.samples + samples });
    }
  }

  #add(epoch: number, loss: number | null): void {
    if (loss === null) return;
    const { sum, count } = this.#losses.get(epoch) ?? { sum: 0, count: 0 };
    this.#losses.set(epoch, { sum: sum + loss, count: count + 1 });
  }

  #mean(epoch: number): number | null {
    const losses = this.#losses.get(epoch);
    return losses === undefined ? null : losses.sum / losses.count;
  }

  /** Machines hear of an epoch once it is validated, where there is something to validate with. */
  #endEpoch(epoch: number, step: number): void {
    const [loss, onEpoch] = [this.#mean(epoch), this.#onEpoch];
    if (loss !== null && onEpoch !== null) this.#display.aside(() => onEpoch({ epoch, loss }));
    if (!this.#validates) this.#display.emit({ type: "epoch", epoch, step, loss, validation: null });
  }
}

/** Reads the record to its present end, which may be several pages away. */
async function report(api: CoordinatorApi, id: string, reporter: Reporter): Promise<void> {
  for (;;) {
    const { after } = reporter;
    reporter.take(await api.readMetrics(id, after));
    if (reporter.after === after) return;
  }
}

const because = (reason: string): string => (reason === "" ? "" : `: ${plain(reason)}`);

/** Says once, in words, what changed between two looks: who is there, and whether the session goes on. */
export class Narrator {
  readonly #url: string;
  #wasPresent: boolean | null = null;
  #everPresent = false;
  #status: Progress["status"] | null = null;

  constructor(url: string) {
    this.#url = url;
  }

  take({ status, reason, step, clientCount, stage }: Progress): string[] {
    const lines: string[] = [];
    const isPresent = clientCount > 0;
    const isOpen = stage !== "done" && status !== "failed" && status !== "stopped";
    if (isOpen && !isPresent && this.#wasPresent !== false) {
      lines.push(
        this.#everPresent || step > 0
          ? `everyone has left at step ${step}: it goes on when somebody opens ${this.#url}`
          : `nobody has joined yet: it begins when somebody opens ${this.#url}`,
      );
    }
    if (isOpen && isPresent && this.#wasPresent === false) lines.push(`somebody is there: ${clientCount} taking part`);
    if (status === "paused" && this.#status !== "paused") lines.push(`paused at step ${step}${because(reason)}`);
    if (isOpen && this.#status === "paused" && status !== "paused") lines.push(`resumed at step ${step}`);
    this.#wasPresent = isPresent;
    this.#everPresent ||= isPresent;
    this.#status = status;
    return lines;
  }
}

/** Ends the session, unless it has ended by itself meanwhile. */
async function stop(api: CoordinatorApi, id: string): Promise<void> {
  try {
    await api.control(id, "stop");
  } catch (error) {
    if (!(error instanceof RefusedError && error.code === "session-over")) throw error;
  }
}

/**
 * Resolves when training has finished or was stopped. Throws CliError if it failed and is no probe, if the session was deleted, or if all
 * volunteers of this process are gone and there is nobody else.
 */
export async function watchSession(options: WatchOptions): Promise<Ending> {
  const { api, session, volunteers, display, probe } = options;
  const { definition, id } = session;
  const url = `${api.server}/s/${id}`;
  const roll = new Roll();
  const pace = new Pace();
  const reporter = new Reporter(options);
  // Of its own volunteers a command hears by other ways.
  const narrator = volunteers === null || volunteers.started === 0 ? new Narrator(url) : null;
  let state = "";
  let step = session.progress.step;
  let lastHeard = performance.now();
  let lastStill = performance.now();
  let desertedAt = -1;

  for (;;) {
    let progress: Progress;
    try {
      progress = (await api.readSession(id)).progress;
      await report(api, id, reporter);
      lastHeard = performance.now();
    } catch (error) {
      if (error instanceof RefusedError && error.status === 404) {
        display.emit({ type: "status", status: "deleted", reason: "", step, clients: 0 });
        throw new CliError(`the session was deleted at step ${step}: nobody can go on with it`, { cause: error });
      }
      const isFinal = error instanceof RefusedError && error.status < 500;
      if (isFinal || performance.now() - lastHeard > PATIENCE) throw error;
      display.say(`waiting for the coordinator: ${messageOf(error)}`);
      await pause(1000);
      continue;
    }
    roll.take(progress);
    step = progress.step;
    for (const line of narrator?.take(progress) ?? []) display.say(line);
    const { status, reason, clientCount: clients } = progress;
    if (state !== canonicalJson([status, reason, clients])) {
      display.emit({ type: "status", status, reason, step, clients });
    }
    state = canonicalJson([status, reason, clients]);
    const now = performance.now();
    pace.note(now, progress.step);
    const left = progress.clientCount === 0 ? null : pace.secondsLeft(progress.totalSteps);
    display.show({
      title: definition.title,
      url,
      progress,
      epochs: definition.epochs,
      clients: roll.list(),
      elapsed: now / 1000,
      left,
      ...(probe === undefined ? {} : { note: probe.note() }),
    });
    const isStuck = status === "failed" || (status === "paused" && reason !== "");
    if (isStuck && probe !== undefined) {
      return { status: "failed", reason, steps: progress.step, clients: roll.list(), engines: reporter.engines() };
    }
    if (status === "finished" || status === "stopped") {
      return { status, reason, steps: progress.step, clients: roll.list(), engines: reporter.engines() };
    }
    if (status === "failed") throw new CliError(`the session failed at step ${step}${because(reason)}`);
    // Nobody's wish, but an anomaly: whoever watches is to look at it.
    if (isStuck) {
      throw new CliError(
        `the session paused itself at step ${step}${because(reason)}\ncommonweight journal ${id} says more; commonweight resume ${id} lets it go on`,
      );
    }
    // Seen twice at the same step: the first look may have crossed the end on its way.
    const isAlone = volunteers !== null && volunteers.started > 0 && volunteers.alive === 0;
    const isDeserted = isAlone && progress.clientCount === 0;
    if (isDeserted && desertedAt === progress.step) {
      const why = volunteers.lastDeath === "" ? "" : ` (the last one: ${volunteers.lastDeath})`;
      const goesOn = probe === undefined ? "; the same command goes on from there" : "";
      throw new CliError(`every volunteer is gone at step ${progress.step}${why}${goesOn}`);
    }
    if (probe?.isDone()) {
      await stop(api, id);
      continue;
    }
    desertedAt = isDeserted ? progress.step : -1;
    if (pace.stillFor(now) > STILLNESS && now - lastStill > STILLNESS) {
      lastStill = now;
      display.say(
        `no step for ${Math.round(pace.stillFor(now) / 1000)} s, ${progress.clientCount} volunteers connected`,
      );
    }
    await pause(INTERVAL);
  }
}
