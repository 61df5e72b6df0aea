/**
 * A deterministic simulation of a training under faults: virtual time, seeded volunteers over seeded networks, and a coordinator
 * that may lose its memory at any point. A RoundWitness checks every event; what only the whole run shows is checked here:
 * each piece of work is committed once and in order, its sum exact, every sample accounted for, and nothing stands still.
 *
 * Left out: bytes. A micro-batch's gradient is one integer, different for every micro-batch of every piece.
 */

import { type RunPlan, workSamples } from "../../shared/session/plan.ts";
import { Coordinator, type Counts } from "./round/coordinator.ts";
import { Chance, Timeline } from "./round/timeline.ts";
import { Volunteer } from "./round/volunteer.ts";
import { type Advance, InvariantError } from "./round/witness.ts";
import { choosePlan, piecesOf } from "./round/work.ts";

export { type Advance, InvariantError };

/** Virtual milliseconds for which faults go on; afterwards every run must end. */
const TROUBLE = 90_000;
const MOST_VOLUNTEERS = 48;

/** What happened, so that a test can see that faults were met at all. */
export interface Outcome extends Readonly<Counts> {
  /** Hash of every event and effect: equal for equal seeds. */
  readonly trace: number;
  readonly volunteers: number;
  readonly pieces: number;
  readonly samples: number;
  readonly virtualSeconds: number;
}

/** Runs one seed to its end. Throws InvariantError if something that must hold does not, or if nothing goes on. */
export function simulate(seed: number, advance?: Advance): Outcome {
  const chance = new Chance(seed);
  const time = new Timeline();
  const plan = choosePlan(chance);
  /** How often things go wrong in this run, from never to often. */
  const trouble = chance.happens(0.1) ? 0 : chance.next();
  const restarts = chance.happens(0.4) ? 0 : chance.magnitude(0.0005, 0.05);
  const isTrouble = (): boolean => time.now < TROUBLE;
  const restartRate = (): number => (isTrouble() ? restarts : 0);
  const coordinator = new Coordinator({ time, chance, plan, restartRate, advance });
  const misbehaves = (): boolean => isTrouble() && chance.happens(0.4 * trouble);
  const volunteers = Array.from({ length: Math.round(chance.magnitude(1, MOST_VOLUNTEERS)) }, (_, index) => {
    // With the first one alone everything can finish.
    return new Volunteer({ id: `v${index}`, time, chance, coordinator, isReliable: index === 0, misbehaves });
  });
  for (const volunteer of volunteers) time.after(chance.magnitude(1, 5_000), () => volunteer.connect());

  const disturb = (): void => {
    if (coordinator.isDone) return;
    if (!isTrouble()) {
      coordinator.control("resume");
      volunteers[0]!.connect();
      volunteers[0]!.setCapacity(1_000);
      return;
    }
    DISTURBANCES[chance.integer(0, DISTURBANCES.length - 1)]!({ chance, time, coordinator, volunteers });
    time.after(chance.magnitude(20, 10_000) * (1.1 - trouble), disturb);
  };
  time.after(chance.integer(10, 1_000), disturb);

  while (!coordinator.isDone && time.step());
  checkAccounts(plan, coordinator);
  return {
    trace: coordinator.trace,
    volunteers: volunteers.length,
    pieces: coordinator.committed.length,
    samples: coordinator.trainedSamples,
    virtualSeconds: time.now / 1000,
    ...coordinator.counts,
  };
}

interface World {
  readonly chance: Chance;
  readonly time: Timeline;
  readonly coordinator: Coordinator;
  readonly volunteers: readonly Volunteer[];
}

/** What may happen to anybody at any time, equally likely. */
const DISTURBANCES: readonly ((world: World) => void)[] = [
  ({ chance, volunteers }) => chance.pick(volunteers).cut(),
  ({ chance, volunteers }) => chance.pick(volunteers).connect(),
  ({ chance, time, volunteers }) => {
    const volunteer = chance.pick(volunteers);
    volunteer.setCapacity(0);
    time.after(chance.integer(1, 3_000), () => volunteer.setCapacity(Math.round(chance.magnitude(1, 64))));
  },
  ({ chance, volunteers }) => chance.pick(volunteers).setCapacity(Math.round(chance.magnitude(1, 64))),
  ({ chance, time, coordinator }) => {
    coordinator.control("pause");
    time.after(chance.integer(1, 2_000), () => coordinator.control("resume"));
  },
  ({ coordinator }) => coordinator.tick(),
  /** A sleep: sockets and what is attached to them survive. */
  ({ coordinator }) => coordinator.restart(),
  /** A deployment: nothing does. */
  ({ coordinator, volunteers }) => {
    for (const volunteer of volunteers) volunteer.cut();
    coordinator.restart();
  },
];

function checkAccounts(plan: RunPlan, coordinator: Coordinator): void {
  if (!coordinator.isDone) throw new InvariantError(`nothing goes on in ${coordinator.stage}`);
  const expected = piecesOf(plan).join();
  const done = coordinator.committed.join();
  if (done !== expected) throw new InvariantError(`committed ${done}, not ${expected}`);
  let samples = 0;
  for (let step = 0; step < plan.totalSteps; step++) {
    const { from, to } = workSamples(plan, "train", step);
    samples += to - from;
  }
  let credited = 0;
  for (const credit of coordinator.credits.values()) credited += credit;
  if (coordinator.trainedSamples !== samples || credited !== samples) {
    throw new InvariantError(
      `${samples} samples to train on, ${coordinator.trainedSamples} counted, ${credited} credited to clients`,
    );
  }
}
