/**
 * Turns something that computes gradients into a contestant of a race: its gradient is compared with the reference first,
 * then its steps are timed and what it asks of WebGPU is counted. Runs where the engine runs: in a page or a worker.
 */

import { sizeOf } from "../../shared/graph/index.ts";
import { type Contestant, type Facts, Refusal } from "../harness/race.ts";
import { summarize } from "../harness/statistics.ts";
import { createAccount, type GpuCounts, installGpuCounter } from "./gpu-counter.ts";
import { flopsOf, type Problem, relativeDistance } from "./workloads.ts";

/** One engine with one problem. */
export interface Stepper {
  /** One step, from inputs in the host's memory to a gradient that is ready. */
  step(): Promise<void>;
  /** The last step's gradient of the summed loss, in the flat parameter space of the graph. Not timed. */
  gradient(): Promise<Float32Array>;
  /** What it knows of itself, such as the bytes that its plan moves. */
  readonly facts?: Facts;
  dispose?(): Promise<void>;
}

/** Throws Refusal `unavailable` where the engine cannot do this problem at all. */
export type CreateStepper = (problem: Problem) => Promise<Stepper>;

/** Relative L2 distance from the float64 reference up to which a gradient is right. */
export const TOLERANCE = 1e-4;

/** Milliseconds that a round should last, so that clocks and pauses do not show, and most steps in it. */
const ROUND_TIME = 100;
const MOST_STEPS = 32;
/**
 * Before the first timed step, besides the one that is checked: so many steps at least, and for so many milliseconds.
 * Browsers run WebAssembly as it was compiled in haste, and once more compiled what was often called.
 */
const WARM_UP_STEPS = 2;
const WARM_UP_TIME = 2000;

const MEGABYTE = 1e6;
const GIGA = 1e9;
const MILLISECONDS = 1000;

/** Of steps that take so many milliseconds. */
function speedFacts(problem: Problem, milliseconds: number): Facts {
  const seconds = milliseconds / MILLISECONDS;
  return { "samples/s": problem.batch / seconds, "GFLOP/s": flopsOf(problem) / seconds / GIGA };
}

/** By step. */
function gpuFacts(counts: GpuCounts, steps: number): Facts {
  if (counts.dispatches === 0) return {};
  return {
    dispatches: counts.dispatches / steps,
    submits: counts.submits / steps,
    "read-backs": counts.readBacks / steps,
    "MB up": counts.uploadedBytes / steps / MEGABYTE,
    "MB down": counts.readBytes / steps / MEGABYTE,
    "MB moved": counts.boundBytes / steps / MEGABYTE,
    "peak MB": counts.peakBytes / MEGABYTE,
  };
}

/** Names of the parameters whose own gradients are too far off: where to look. */
function wrongParameters({ graph }: Problem, gradient: Float32Array, reference: Float32Array): string[] {
  return graph.parameters
    .filter(({ shape, offset }) => {
      const end = offset + sizeOf(shape);
      return !(relativeDistance(gradient.subarray(offset, end), reference.subarray(offset, end)) <= TOLERANCE);
    })
    .map(({ name }) => name);
}

export interface TrialOptions {
  readonly name: string;
  readonly ours: boolean;
  readonly create: CreateStepper;
  readonly problem: Problem;
  readonly reference: Float32Array;
}

export function createTrial({ name, ours, create, problem, reference }: TrialOptions): Contestant {
  const account = createAccount();
  let stepper: Stepper | null = null;
  let repeat = 1;
  let steps = 0;
  let distance = 0;
  const rounds: number[] = [];

  const time = async (count: number, engine: Stepper): Promise<number> => {
    account.open();
    const start = performance.now();
    for (let step = 0; step < count; step++) await engine.step();
    return (performance.now() - start) / count;
  };

  return {
    name,
    ours,
    async prepare() {
      installGpuCounter();
      account.open();
      stepper = await create(problem);
      await stepper.step();
      const gradient = await stepper.gradient();
      distance = relativeDistance(gradient, reference);
      if (!(distance <= TOLERANCE)) {
        await stepper.dispose?.();
        throw new Refusal(
          "wrong",
          `its gradient is ${distance.toExponential(1)} from the reference, expected at most ${TOLERANCE}: not timed ` +
            `(${wrongParameters(problem, gradient, reference).join(", ")})`,
        );
      }
      const end = performance.now() + WARM_UP_TIME;
      let one: number;
      do one = await time(WARM_UP_STEPS, stepper);
      while (performance.now() < end);
      repeat = Math.min(MOST_STEPS, Math.max(1, Math.round(ROUND_TIME / one)));
      account.reset();
      return {};
    },
    async measure() {
      if (stepper === null) throw new Error(`${name} was not prepared`);
      steps += repeat;
      const milliseconds = await time(repeat, stepper);
      rounds.push(milliseconds);
      return milliseconds;
    },
    async finish() {
      await stepper?.dispose?.();
      const speed = speedFacts(problem, summarize(rounds).median);
      return { "Δ gradient": distance, ...speed, ...gpuFacts(account.counts, Math.max(1, steps)), ...stepper?.facts };
    },
  };
}
