/**
 * One training of MNIST by a fleet of WASM volunteers, with or without churn; what it came to. Used by the tests (one
 * seed, fewer steps) and by `scripts/exactness.ts` (all seeds).
 */

import type { GradientCodec } from "../../shared/session/definition.ts";
import { mnistSession, type TestCoordinator, untilDone } from "./coordinator.ts";
import type { Fleet, FleetMember } from "./fleets.ts";
import { startSlowLine } from "./slow-line.ts";

/** Milliseconds for one training on the busiest machine; tests have limits of their own. */
const LIMIT = 1_200_000;

export interface Run {
  readonly coordinator: TestCoordinator;
  readonly fleet: Fleet;
  readonly seed: number;
  readonly steps: number;
  /** How many results of the volunteer on the slow line come too late; each takes as long as a lease. */
  readonly lateResults: number;
  /** How gradients travel; `fixed32` if absent. */
  readonly codec?: GradientCodec;
  readonly downlink?: "float32" | "delta";
}

/** Milliseconds of a calm training of 60 steps by one volunteer in Node, its start included, on an idle machine. */
const CALM = 6_000;

export interface Outcome {
  readonly weightsHash: string;
  /** Training samples that the coordinator counted, by step. */
  readonly samples: readonly number[];
  readonly kills: number;
  /** Results that the coordinator dropped because they came too late. */
  readonly late: number;
  /** Milliseconds from the first volunteer's start to the end. */
  readonly took: number;
}

async function create({
  coordinator: { api },
  seed,
  steps,
  codec = "fixed32",
  downlink = "float32",
}: Omit<Run, "lateResults">): Promise<string> {
  const definition = mnistSession({ seed, maxSteps: steps, epochs: Math.ceil(steps / 215), codec, downlink });
  return (await api.createSession(definition)).id;
}

async function outcomeOf(
  { coordinator: { api } }: Pick<Run, "coordinator">,
  id: string,
  counts: Pick<Outcome, "kills" | "late" | "took">,
): Promise<Outcome> {
  const { result, steps } = await api.readMetrics(id, 0);
  return { weightsHash: result?.weightsHash ?? "", samples: steps.map(({ samples }) => samples), ...counts };
}

/** `clients` steady volunteers. */
export async function trainSteadily(run: Omit<Run, "lateResults">, clients: number): Promise<Outcome> {
  const { coordinator, fleet } = run;
  const id = await create(run);
  const start = (_: unknown, index: number): Promise<FleetMember> =>
    fleet.start(`${coordinator.url}/s/${id}`, `volunteer ${index + 1}`);
  const began = performance.now();
  const members = await Promise.all(Array.from({ length: clients }, start));
  await untilDone(coordinator.api, id, LIMIT);
  const took = performance.now() - began;
  await Promise.all(members.map((member) => member.kill()));
  return outcomeOf(run, id, { kills: 0, late: 0, took });
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A generator for the schedule of kills: only its determinism matters. */
export function schedule(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

/**
 * Three volunteers that are killed and start again on a seeded schedule, and one whose results lie on a slow line until
 * their lease has expired and others have done their work.
 * @param calm milliseconds that 60 steps took one volunteer in Node: where all is slower, volunteers live longer
 */
export async function trainWithChurn(run: Run, calm: number, say: (line: string) => void): Promise<Outcome> {
  const { coordinator, fleet, seed, lateResults } = run;
  const { api, url } = coordinator;
  const id = await create(run);
  const random = schedule(seed);
  const over = Promise.withResolvers<void>();
  let isOver = false;
  let kills = 0;

  const live = async (name: string): Promise<void> => {
    while (!isOver) {
      const starting = fleet.start(`${url}/s/${id}`, name);
      const member = await Promise.race([starting, over.promise]);
      if (member === undefined) {
        // Where training is over there is nothing to join.
        void starting.then((late) => late.kill()).catch(() => {});
        return;
      }
      const [least, most] = fleet.lifetime;
      const delay = Math.round(Math.max(1, calm / CALM) * (least + random() * (most - least)));
      const lives = await Promise.race([member.ended, over.promise, pause(delay).then(() => true)]);
      if (lives === true && !isOver) {
        kills += 1;
        say(`seed ${seed}: ${name} killed after ${delay} ms`);
      }
      await member.kill();
    }
  };

  const line = await startSlowLine(url);
  const slow = await fleet.start(`${line.url}/s/${id}`, "slow volunteer");
  // The others come when its first result lies on the line: alone it cannot be relieved before it has computed.
  await line.held();
  const delayResults = async (): Promise<void> => {
    for (let count = 0; count < lateResults && !isOver; count++) {
      await Promise.race([line.held(), over.promise]);
      const { step } = (await api.readSession(id)).progress;
      // The step ends without it once its lease is overdue and somebody else has done its work.
      while (!isOver && (await api.readSession(id)).progress.step <= step) await pause(50);
      if (!isOver) say(`seed ${seed}: a result for step ${step} arrives during a later one`);
      if (count === lateResults - 1) line.open();
      else line.release();
    }
  };
  const began = performance.now();
  const delays = delayResults();
  const lives = ["volunteer 1", "volunteer 2", "volunteer 3"].map(live);
  await untilDone(api, id, LIMIT);
  const took = performance.now() - began;
  const { results } = await api.readDiagnostics(id);
  isOver = true;
  over.resolve();
  await Promise.all([...lives, delays, slow.kill()]);
  await line.stop();
  return outcomeOf(run, id, { kills, late: results.stale, took });
}
