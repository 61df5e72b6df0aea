/** What `npm run audits` measures, and a short version of it in every test run: cheaters, honest fleets, and what audits cost. */

import type { AuditOptions } from "../../../coordinator/audit/index.ts";
import { DEFAULT_AUDITS } from "../../../shared/session/audits.ts";
import { type FleetClient, type Outcome, runFleet } from "./fleet.ts";
import type { Cheat } from "./gradients.ts";

export const CHEATS: readonly Cheat[] = ["zeros", "half", "scaled", "replayed"];

/** Honest shards of a sleeper before it turns. */
export const SLEEPS = 200;

const MICRO_BATCHES = 32;
const FLEET = 20;
/** More than any cheater needs; one that is not found by then is not found. */
const MOST_STEPS = 3_000;

/** Half of them on WASM, half on modelled GPUs. */
export function honestFleet(count: number, isProven: boolean): FleetClient[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `honest ${index}`,
    engine: index % 2 === 0 ? "wasm" : "webgpu",
    cheat: () => null,
    isProven,
  }));
}

export interface Hunt {
  /** Accepted shards of the cheater when it was banned, from the fewest to the most; infinite where it never was. */
  readonly shards: readonly number[];
  /** Honest clients that were banned. */
  readonly innocents: number;
}

/** So many runs with one cheater among 19 honest clients. It says that it is a GPU, whose results are given more room. */
export function hunt(cheat: Cheat, runs: number, honestShards: number, isFleetProven: boolean): Hunt {
  let innocents = 0;
  const shards = Array.from({ length: runs }, (_, run) => {
    const liar: FleetClient = {
      id: "liar",
      engine: "webgpu",
      cheat: (accepted, step) => (step > 0 && accepted >= honestShards ? cheat : null),
      isProven: false,
    };
    const { banned } = runFleet({
      // Far apart: neighbours begin alike.
      seed: Math.imul(run + 1, 0x9e3779b1) >>> 1,
      clients: [...honestFleet(FLEET - 1, isFleetProven), liar],
      microBatches: MICRO_BATCHES,
      audits: DEFAULT_AUDITS,
      isOver: ({ banned: found, steps }) => found.has("liar") || steps >= MOST_STEPS,
    });
    innocents += [...banned.keys()].filter((id) => id !== "liar").length;
    const found = banned.get("liar");
    return found === undefined ? Number.POSITIVE_INFINITY : found - honestShards;
  });
  return { shards: shards.sort((a, b) => a - b), innocents };
}

/** The 99th percentile of sorted figures: so many of a hundred are not above it. */
export const percentile99 = (sorted: readonly number[]): number => sorted[Math.ceil(0.99 * sorted.length) - 1] ?? NaN;

/** Runs in which so many of 20 send the same zeros from their first step on; averages of who was banned within 300 steps. */
export function collusion(
  colluders: number,
  runs: number,
  isFleetProven: boolean,
): { readonly liars: number; readonly honest: number } {
  let [liars, honest] = [0, 0];
  for (let run = 0; run < runs; run++) {
    const gang = Array.from(
      { length: colluders },
      (_, index): FleetClient => ({
        id: `liar ${index}`,
        // On WASM their zeros are the same bits.
        engine: "wasm",
        cheat: (_accepted, step) => (step > 0 ? "zeros" : null),
        isProven: false,
      }),
    );
    const { banned } = runFleet({
      seed: Math.imul(run + 7, 0x9e3779b1) >>> 1,
      clients: [...honestFleet(FLEET - colluders, isFleetProven), ...gang],
      microBatches: MICRO_BATCHES,
      audits: DEFAULT_AUDITS,
      isOver: ({ banned: found, steps }) =>
        gang.every(({ id }) => found.has(id)) || steps >= 300 || found.size >= FLEET - 2,
    });
    const found = gang.filter(({ id }) => banned.has(id)).length;
    liars += found / runs;
    honest += (banned.size - found) / runs;
  }
  return { liars, honest };
}

/** Honest fleets whose every lease is doubled, until so many were compared. */
export function honestAudits(audits: number): {
  readonly compared: number;
  readonly disputed: number;
  readonly banned: number;
} {
  const always: AuditOptions = { newcomers: Number.POSITIVE_INFINITY, rate: 1 };
  let [compared, disputed, banned] = [0, 0, 0];
  for (let run = 0; compared < audits; run++) {
    const outcome = runFleet({
      seed: 1_000_003 + run,
      clients: honestFleet(30, false),
      microBatches: 24,
      audits: always,
      isOver: ({ counts }) => (counts?.agreed ?? 0) + (counts?.disputed ?? 0) >= Math.min(10_000, audits - compared),
    });
    compared += (outcome.counts?.agreed ?? 0) + (outcome.counts?.disputed ?? 0);
    disputed += outcome.counts?.disputed ?? 0;
    banned += outcome.banned.size;
  }
  return { compared, disputed, banned };
}

export interface Overhead {
  readonly clients: number;
  readonly microBatches: number;
  /** What audits add to each, as a part of what it is without them. */
  readonly compute: number;
  readonly bytes: number;
  readonly packedBytes: number;
  readonly time: number;
}

/** Clients and micro-batches of a step that sessions have: far fewer than clients, nearly as many, more, and many more. */
export const SHAPES = [
  [20, 8],
  [20, 16],
  [100, 32],
  [20, 32],
  [20, 400],
] as const;

/** Bytes of a parameter each way: float32 down, and fixed32 or packed8 up. */
const BYTES = { down: 4, fixed32: 4, packed8: 0.62 } as const;

/** Part of all bytes that audits may add. */
const MOST_BYTES = 0.01;
/** So far a few hundred steps may be off the mean. */
const CHANCE = 1.03;

/**
 * Most that audits may add to the bytes of such a fleet, results being as long as weights. Where clients outnumber micro-batches a double is one
 * result more, and elsewhere one in place of another: of each step's results, one a micro-batch, the rate is added, beside weights for
 * all clients.
 */
export const mostBytes = (clients: number, microBatches: number): number =>
  clients > microBatches ? (CHANCE * DEFAULT_AUDITS.rate * microBatches) / (microBatches + clients) : MOST_BYTES;

/** What audits add to a fleet that is proven, over so many steps. */
export function overhead([clients, microBatches]: readonly [number, number], steps: number): Overhead {
  const measure = (audits: AuditOptions | null): Outcome =>
    runFleet({
      seed: 5,
      clients: honestFleet(clients, true),
      microBatches,
      audits,
      isOver: (outcome) => outcome.steps >= steps,
    });
  const [without, with_] = [measure(null), measure(DEFAULT_AUDITS)];
  const compare = (figure: (outcome: Outcome) => number): number => figure(with_) / figure(without) - 1;
  const bytes = (up: number) =>
    compare((outcome) => (outcome.results * up + outcome.downlinks * BYTES.down) / outcome.steps);
  return {
    clients,
    microBatches,
    compute: compare(({ computed, useful }) => computed / useful),
    bytes: bytes(BYTES.fixed32),
    packedBytes: bytes(BYTES.packed8),
    time: compare(({ milliseconds, steps: made }) => milliseconds / made),
  };
}
