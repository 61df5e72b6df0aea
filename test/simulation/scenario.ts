/** What one seed asks for: a small session, so many volunteers, and which faults there are. All of it can be made smaller. */

import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { Chance } from "../coordinator/round/timeline.ts";

/** Every kind of fault, and what it is. */
export const FAULTS = {
  death: "the coordinator dies at a write",
  deploy: "the coordinator dies between two events, and every socket with it",
  sleep: "the coordinator's memory goes while its sockets stay",
  cut: "a socket is cut, and both ends hear of it late",
  hang: "a lease is never answered",
  slow: "a result comes after its lease has run out",
  fail: "a volunteer says that it could not compute",
  duplicate: "a result is sent twice, and the one before it again",
  reorder: "a result is sent on the socket after the one that it was asked for on",
  stale: "a result is of other weights than those asked for",
  steal: "a result answers a lease of somebody else, or of nobody",
  corrupt: "bytes of a message are flipped, or missing, or too many",
  deaf: "weights are never acknowledged",
  pause: "a volunteer wants nothing for a while, or less",
  control: "the session is paused and goes on",
  full: "writes fail for a while, as on a full disk",
  clock: "the coordinator's clock is set up to a day ahead, or starts again up to a day behind",
} as const;

export type Fault = keyof typeof FAULTS;
export const faultNames = Object.keys(FAULTS) as readonly Fault[];

export interface Scenario {
  readonly seed: number;
  readonly clients: number;
  readonly steps: number;
  readonly faults: readonly Fault[];
}

/** Every so many seeds there is a crowd. */
const CROWD_EVERY = 40;
const CROWD = [300, 2_000] as const;

const isCrowd = (seed: number): boolean => seed % CROWD_EVERY === CROWD_EVERY - 1;

export function scenarioOf(seed: number): Scenario {
  const chance = new Chance(seed ^ 0x5eed);
  const clients = Math.round(isCrowd(seed) ? chance.magnitude(...CROWD) : chance.magnitude(1, 24));
  const share = chance.next();
  return {
    seed,
    clients,
    steps: isCrowd(seed) ? 3 : Math.round(chance.magnitude(2, 40)),
    faults: chance.happens(0.3) ? faultNames : faultNames.filter(() => chance.happens(share)),
  };
}

/** The session that a seed trains, whoever takes part. */
export function sessionOf({ seed, steps }: Scenario): SessionDefinition {
  const chance = new Chance(seed ^ 0xdef);
  const microBatch = chance.integer(1, 4);
  const batches = Math.round(chance.magnitude(1, isCrowd(seed) ? 64 : 16));
  const batchSize = microBatch * batches - chance.integer(0, microBatch - 1);
  const samples = chance.integer(batchSize, batchSize * 4);
  const hidden = chance.integer(1, 12);
  const held = (): number => (chance.happens(0.6) ? chance.integer(1, microBatch * 6) : 0);
  const [validation, test] = [held(), held()];
  const optimizer = chance.pick([
    optim.adam({ lr: 1e-2 }),
    optim.sgd({ lr: 0.1, momentum: 0.9 }),
    optim.adamW({ lr: 3e-3 }),
  ]);
  return defineSession({
    title: `Seed ${seed}`,
    model: nn.sequential(nn.linear(3, hidden), nn.relu(), nn.linear(hidden, 2)),
    input: [3],
    loss: loss.crossEntropy(),
    optimizer,
    data: dataset("made-up", {
      x: "x",
      y: "y",
      train: [0, samples],
      validation: [samples, samples + validation],
      test: [samples + validation, samples + validation + test],
    }),
    batchSize,
    microBatch,
    epochs: 1_000,
    maxSteps: steps,
    seed,
    codec: chance.pick(["fixed32", "fixed32", "fixed16", "packed8"] as const),
    ...(validation > 0 && chance.happens(0.3) ? { earlyStopping: { patience: 2 } } : {}),
    ...(chance.happens(0.2) ? { average: { decay: 0.9 } } : {}),
  });
}

/** Blocks of addresses by volunteer: in some seeds all are in one, so that nothing is computed twice, in others in few or in many. */
export function blocksOf({ seed }: Scenario): (volunteer: number) => string {
  const blocks = new Chance(seed ^ 0xb10c).pick([1, 2, 3, 1_000]);
  return (volunteer) => `block ${volunteer % blocks}`;
}

/** A replay's arguments. */
export const argumentsOf = ({ seed, clients, steps, faults }: Scenario): string =>
  `--seed ${seed} --clients ${clients} --steps ${steps} --faults ${faults.length === 0 ? "none" : faults.join(",")}`;
