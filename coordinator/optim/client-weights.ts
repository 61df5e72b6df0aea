/**
 * What clients hold where a session sends them changes instead of weights. After each update it is moved towards the weights by
 * whole units of one grid, and those units are what is sent: so all clients hold the same bits, gradients are taken there, and what
 * a change leaves out is in the next difference (error feedback, in the coordinator).
 *
 * The unit is a power of two about twice as large as an update, so that most parameters do not change in most steps. It
 * follows the part of them that does, by the mean of the last steps, whatever the optimizer: counts, powers of two and one
 * float32, so that a replay finds the same units.
 */

import type { Kernels } from "./kernels.ts";
import { DOWNLINK, GRID_FLOATS } from "./rule.ts";

/** The first unit, in root mean squares of the first update, is the next lower power of two. */
const FIRST = 2;
/** Part of the trainable parameters that changes, on the mean: below, the unit is halved, above, it is doubled. */
const CHANGED = { least: 0.05, expected: 0.12, most: 0.22 } as const;
/** What the newest step counts in that mean. */
const NEWEST = 1 / 16;
/** A unit and its inverse stay ordinary float32 values. */
const UNIT_RANGE = { least: 2 ** -100, most: 2 ** 100 } as const;
/** Where updates die away, the unit stays so near to what it was first: they may come back. */
const LEAST_OF_FIRST = 2 ** -16;

/** One update as clients are told of it: what they hold grows by `units` times `unit`. */
export interface Change {
  readonly unit: number;
  /** [parameters], valid until the next update. */
  readonly units: Int8Array;
}

/** The same, as they are sent it. */
export interface EncodedChange {
  readonly unit: number;
  /** A sparse message (shared/codec/sparse.ts). */
  readonly units: Uint8Array;
}

/** The largest power of two that is not above a positive float32; 0 for one below all ordinary ones. */
function powerBelow(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] &= 0x7f800000;
  return new Float32Array(bits.buffer)[0];
}

const isUnit = (value: number): boolean =>
  value >= UNIT_RANGE.least && value <= UNIT_RANGE.most && powerBelow(value) === value;

export class ClientWeights {
  readonly #kernels: Kernels;
  /** Parameters that an update may change. */
  readonly #trainable: number;
  /** What is kept besides: the unit of the next change, 0 until there was an update; the mean part that changes; the least unit. */
  readonly grid = new Float32Array(GRID_FLOATS);
  /** What the last update came to; null before any, and where nothing has a unit yet. */
  change: Change | null = null;
  /** Whether all weights are numbers. */
  isFinite = true;

  constructor(kernels: Kernels, trainable: number) {
    this.#kernels = kernels;
    this.#trainable = trainable;
  }

  get weights(): Float32Array<ArrayBuffer> {
    return this.#kernels.states[DOWNLINK];
  }

  /** Of the last update; null also where it may take more than a byte a parameter. To be asked for before sums are packed. */
  encodeChange(): EncodedChange | null {
    if (this.change === null) return null;
    const units = this.#kernels.encodeUnits();
    return units === null ? null : { unit: this.change.unit, units };
  }

  /** Follows an update of the weights. */
  follow(): void {
    this.change = null;
    // A checkpoint from elsewhere may say anything.
    if (!isUnit(this.grid[0])) {
      const first = this.#firstUnit();
      this.grid.set([first, CHANGED.expected, Math.max(first * LEAST_OF_FIRST, UNIT_RANGE.least)]);
    }
    const [unit, mean, least] = this.grid;
    if (unit === 0) return;
    const moved = this.#kernels.approach(DOWNLINK, unit);
    this.isFinite = moved !== null;
    if (moved === null) return;
    this.change = { unit, units: moved.units };
    const next = Math.fround(mean + (moved.changed / this.#trainable - mean) * NEWEST);
    // A unit of another size is expected to change another part.
    if (next > CHANGED.most && unit < UNIT_RANGE.most) this.grid.set([unit * 2, next / 2]);
    else if (next < CHANGED.least && unit > least) this.grid.set([unit / 2, next * 2]);
    else this.grid[1] = next;
  }

  #firstUnit(): number {
    const { weights } = this.#kernels;
    const held = this.weights;
    let squares = 0;
    for (let at = 0; at < weights.length; at++) squares += (weights[at] - held[at]) ** 2;
    const typical = FIRST * Math.sqrt(squares / this.#trainable);
    if (!Number.isFinite(typical)) return 1;
    return typical === 0 ? 0 : Math.min(Math.max(powerBelow(typical), UNIT_RANGE.least), UNIT_RANGE.most);
  }
}
