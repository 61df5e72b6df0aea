/**
 * One seed of the whole coordinator: the real `TrainingSession` with its store, round, optimizer and kernels on a simulated platform,
 * and volunteers who speak the real protocol over bad networks. Every event is checked; the same scenario is the same run.
 *
 * Needs hooks.ts first.
 */

import type { Answer } from "../../coordinator/session/answer.ts";
import { TrainingSession } from "../../coordinator/session/session.ts";
import { canonicalJson } from "../../shared/session/canonical.ts";
import { Chance, Timeline } from "../coordinator/round/timeline.ts";
import { InvariantError } from "../coordinator/round/witness.ts";
import { MUTATIONS, type Mutation } from "./mutations.ts";
import { install, Platform, settle } from "./platform.ts";
import { blocksOf, type Fault, type Scenario, sessionOf } from "./scenario.ts";
import { Volunteer } from "./volunteer.ts";
import { type Record, Witness } from "./witness.ts";

install(TrainingSession);

/** Virtual milliseconds for which faults go on; afterwards every run must end by `PATIENCE`. */
const TROUBLE = 60_000;
const PATIENCE = 3_600_000;

export interface Outcome {
  /** Messages, closes, alarms, timers and writes: whatever reached the coordinator or was done by it. */
  readonly events: number;
  readonly deaths: number;
  readonly sleeps: number;
  readonly writes: number;
  readonly virtualSeconds: number;
  /** Equal for equal scenarios. */
  readonly trace: string;
}

/** Runs a scenario to its end, and the calm run that it is compared with. Throws InvariantError. */
export async function run(scenario: Scenario, mutation: keyof typeof MUTATIONS | null = null): Promise<Outcome> {
  const calm = await play({ ...scenario, clients: 1, faults: [] }, null, null);
  const tampered: Mutation | null = mutation === null ? null : MUTATIONS[mutation];
  const undo = tampered?.tamper?.();
  try {
    return (await play(scenario, calm.record, tampered)).outcome;
  } finally {
    undo?.();
  }
}

async function play(
  scenario: Scenario,
  calm: Record | null,
  mutation: Mutation | null,
): Promise<{ record: Record; outcome: Outcome }> {
  const chance = new Chance(scenario.seed);
  const time = new Timeline();
  const definition = sessionOf(scenario);
  const witness = new Witness(calm);
  const has = new Set<Fault>(scenario.faults);
  const isTrouble = (): boolean => time.now < TROUBLE;
  const happens = (fault: Fault, rate: number): boolean => has.has(fault) && isTrouble() && chance.happens(rate);
  const deaths = has.has("death") ? chance.magnitude(0.0002, 0.02) : 0;
  let isCreated = false;
  const platform = new Platform({
    time,
    chance,
    watcher: witness,
    deathRate: () => (isCreated && isTrouble() ? deaths : 0),
    mutation: mutation?.platform ?? {},
  });
  let failure: unknown = null;
  const failed = (error: unknown): void => {
    failure ??= error;
  };
  platform.onError = failed;
  let events = 0;
  const onEvent = (): void => {
    events += 1;
  };
  const advance = async (): Promise<boolean> => {
    const goesOn = time.step();
    await settle();
    if (failure !== null) throw failure;
    return goesOn;
  };

  try {
    // Whoever creates it hears so when it is durable.
    const created = platform.call((object) => object.create("simulated", canonicalJson(definition), null));
    let isDone = false;
    created.then(() => {
      isDone = true;
    }, failed);
    await settle();
    while (!isDone || platform.isPending) await advance();
    isCreated = true;

    const blockOf = blocksOf(scenario);
    const volunteers = Array.from({ length: scenario.clients }, (_, index) => {
      const isReliable = index === 0;
      return new Volunteer({
        time,
        chance,
        platform,
        definition,
        block: blockOf(index),
        isReliable,
        faults: scenario.faults,
        happens: isReliable ? () => false : happens,
        failed,
        onEvent,
        onWeights: (version, hash) => witness.held(version, hash),
        onLease: (lease) => witness.given(lease),
      });
    });
    for (const volunteer of volunteers) time.after(chance.magnitude(1, 5_000), () => volunteer.connect());
    const disturb = (): void => {
      if (!isTrouble()) {
        platform.isFull = false;
        if (has.has("control")) void platform.call((object) => object.control("resume")).catch(failed);
        volunteers[0]?.connect();
        return;
      }
      const fault = chance.pick(scenario.faults);
      DISTURBANCES[fault]?.({ time, chance, platform, volunteer: chance.pick(volunteers), failed });
      time.after(chance.magnitude(20, 8_000), disturb);
    };
    if (scenario.faults.length > 0) time.after(chance.integer(10, 1_000), disturb);

    let seen = -1;
    let looked = -1;
    let isOver = false;
    let isAsked = false;
    let figures: Answer | null = null;
    for (;;) {
      const goesOn = await advance();
      // Without a write nothing has changed that lasts.
      if (looked !== platform.counts.writes) {
        looked = platform.counts.writes;
        platform.inspect((object) => {
          const { version, stage } = stateOf(object);
          if (version !== seen) witness.look(object);
          seen = version;
          isOver = stage === "done";
        });
      }
      const isLeft = isOver && volunteers.every((volunteer) => volunteer.isOver || !volunteer.isConnected);
      // An end that was not durable yet may be taken back.
      if (!isLeft) figures = null;
      if (isLeft) {
        const known = figures;
        if (known !== null && platform.inspect((object) => witness.ended(object, known)) !== null) break;
        // The answer may take its time, which goes on here.
        if (!isAsked) {
          isAsked = true;
          const asking = platform.call((object) => object.metrics(-1));
          asking.then((answer) => {
            isAsked = false;
            figures = answer;
          }, failed);
        }
        await platform.call(() => {});
      }
      if ((!goesOn && !isLeft) || time.now > PATIENCE) {
        throw new InvariantError(`nothing goes on at ${Math.round(time.now)} ms, version ${seen}`);
      }
    }
    const { counts } = platform;
    return {
      record: witness.record,
      outcome: {
        events: events + counts.writes + counts.alarms + counts.wakes,
        deaths: counts.deaths,
        sleeps: counts.sleeps,
        writes: counts.writes,
        virtualSeconds: time.now / 1000,
        trace: `${JSON.stringify(counts)} ${events} ${time.now}`,
      },
    };
  } finally {
    platform.close();
  }
}

function stateOf(object: TrainingSession) {
  const found = object.snapshot();
  if (found === null) throw new InvariantError("the session is not there");
  return found.state;
}

interface World {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly platform: Platform;
  readonly volunteer: Volunteer;
  readonly failed: (error: unknown) => void;
}

const DAY = 86_400_000;

/** Faults that happen to somebody at some time; the others are habits of volunteers. */
const DISTURBANCES: { readonly [Kind in Fault]?: (world: World) => void } = {
  deploy: ({ platform }) => platform.die(),
  sleep: ({ platform }) => platform.sleep(),
  cut: ({ volunteer }) => volunteer.cut(),
  pause: ({ time, chance, volunteer }) => {
    volunteer.setCapacity(0);
    time.after(chance.integer(1, 3_000), () => volunteer.setCapacity(Math.round(chance.magnitude(1, 64))));
  },
  control: ({ time, chance, platform, failed }) => {
    const say = (action: "pause" | "resume"): void => {
      void platform.call((object) => object.control(action)).catch(failed);
    };
    say("pause");
    time.after(chance.integer(1, 2_000), () => say("resume"));
  },
  full: ({ time, chance, platform }) => {
    platform.isFull = true;
    time.after(chance.magnitude(10, 10_000), () => {
      platform.isFull = false;
    });
  },
  clock: ({ chance, platform }) => {
    const way = chance.pick(["ahead", "back", "elsewhere"]);
    // Timers of workerd stand still where the clock is set back under it: whoever starts it starts it again.
    if (way === "back") platform.die();
    // An object that sleeps may wake on another machine.
    if (way === "elsewhere" && !platform.sleep()) return;
    platform.turnClock(way === "ahead" ? chance.magnitude(1, DAY) : -chance.magnitude(1, way === "back" ? DAY : 5_000));
  },
};
