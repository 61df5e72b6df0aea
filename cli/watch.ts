/** Watches a session until it ends: the display, the lines for machines, and whether anybody is left to compute. */

import type { Progress } from "../shared/protocol/messages.ts";
import { planRun } from "../shared/session/plan.ts";
import type { CoordinatorApi, SessionDescription, SessionMetrics } from "./api.ts";
import type { ClientShare, Display } from "./display.ts";
import { CliError, messageOf } from "./errors.ts";
import type { SessionFile } from "./session-file.ts";
import type { Volunteers } from "./volunteers.ts";

/** Milliseconds between two looks. */
const INTERVAL = 400;
/** How long a coordinator may be away before that is an error: it restarts in less. */
const PATIENCE = 60_000;

export interface Ending {
  readonly steps: number;
  readonly seconds: number;
  readonly clients: readonly ClientShare[];
}

export interface WatchOptions {
  readonly api: CoordinatorApi;
  readonly session: SessionDescription;
  readonly volunteers: Volunteers;
  readonly display: Display;
  readonly onEpoch: SessionFile["onEpoch"];
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Everyone who ever took part while this watched, the present ones as they are now. */
class Roll {
  readonly #clients = new Map<string, ClientShare>();

  take(progress: Progress): void {
    for (const { id, engine, device, samples } of progress.clients)
      this.#clients.set(id, { id, engine, device, samples });
  }

  list(): ClientShare[] {
    return [...this.#clients.values()];
  }
}

/** Reports every step and epoch of the coordinator's record exactly once. */
class Reporter {
  readonly #options: WatchOptions;
  readonly #losses = new Map<number, { sum: number; count: number }>();
  readonly #stepsPerEpoch: number;
  readonly #totalSteps: number;
  readonly #reported = new Set<number>();
  after: number;

  constructor(options: WatchOptions) {
    this.#options = options;
    const plan = planRun(options.session.definition);
    this.#stepsPerEpoch = plan.stepsPerEpoch;
    this.#totalSteps = plan.totalSteps;
    this.after = 0;
  }

  take({ steps, evaluations }: SessionMetrics): void {
    const { display, onEpoch } = this.#options;
    for (const { step, epoch, loss, metrics } of steps) {
      this.after = Math.max(this.after, step);
      display.emit({ type: "step", step, epoch, loss, ...metrics });
      const held = this.#losses.get(epoch) ?? { sum: 0, count: 0 };
      if (loss !== null) this.#losses.set(epoch, { sum: held.sum + loss, count: held.count + 1 });
      if (step % this.#stepsPerEpoch !== 0 && step !== this.#totalSteps) continue;
      const { sum, count } = this.#losses.get(epoch) ?? { sum: 0, count: 0 };
      if (onEpoch !== null && count > 0) {
        display.end();
        onEpoch({ epoch, loss: sum / count });
      }
      if (this.#options.session.definition.data.source === "local")
        display.emit({ type: "epoch", epoch, loss: sum / count });
    }
    for (const { work, step, loss, metrics } of evaluations) {
      if (work !== "validate" || this.#reported.has(step)) continue;
      this.#reported.add(step);
      const epoch = Math.ceil(step / this.#stepsPerEpoch) - 1;
      const held = this.#losses.get(epoch);
      const train = held === undefined ? null : held.sum / held.count;
      display.emit({ type: "epoch", epoch, step, loss: train, validation: { loss, ...metrics } });
    }
  }
}

/** Resolves when training has finished. Throws CliError if it failed, or if nobody is left to compute. */
export async function watchSession(options: WatchOptions): Promise<Ending> {
  const { api, session, volunteers, display } = options;
  const { definition, id } = session;
  const start = performance.now();
  const roll = new Roll();
  const reporter = new Reporter(options);
  const firstStep = session.progress.step;
  let lastHeard = performance.now();

  for (;;) {
    let progress: Progress;
    try {
      progress = (await api.readSession(id)).progress;
      reporter.take(await api.readMetrics(id, reporter.after));
      lastHeard = performance.now();
    } catch (error) {
      if (performance.now() - lastHeard > PATIENCE) throw error;
      display.say(`waiting for the coordinator: ${messageOf(error)}`);
      await pause(1000);
      continue;
    }
    roll.take(progress);
    const elapsed = (performance.now() - start) / 1000;
    const done = progress.step - firstStep;
    const left = done > 0 ? (elapsed / done) * (progress.totalSteps - progress.step) : null;
    const url = `${api.server}/s/${id}`;
    display.show({
      title: definition.title,
      url,
      progress,
      epochs: definition.epochs,
      clients: roll.list(),
      elapsed,
      left,
    });
    if (progress.stage === "done") {
      if (progress.status === "failed") throw new CliError(`the session failed: ${progress.reason}`);
      return { steps: progress.step, seconds: Math.round(elapsed * 10) / 10, clients: roll.list() };
    }
    if (progress.status === "failed" || progress.status === "stopped") {
      throw new CliError(`the session ${progress.status}${progress.reason === "" ? "" : `: ${progress.reason}`}`);
    }
    if (volunteers.alive === 0 && progress.clientCount === 0) {
      const why = volunteers.lastDeath === "" ? "" : ` (the last one: ${volunteers.lastDeath})`;
      throw new CliError(`every volunteer is gone at step ${progress.step}${why}; the same command goes on from there`);
    }
    await pause(INTERVAL);
  }
}
