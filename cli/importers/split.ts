/**
 * Which samples are trained on, which are held out and which are kept for the test. Samples are shuffled first, because
 * files are often sorted (but not the tokens of a text); the same seed gives the same order on every machine.
 */

import { deriveKey, Permutation } from "../../shared/random/index.ts";
import { CliError } from "../errors.ts";

export const SPLITS = ["train", "validation", "test"] as const;

/** Parts of the whole, which add up to 1. */
export type Fractions = Readonly<Partial<Record<(typeof SPLITS)[number], number>>>;

export const DEFAULT_FRACTIONS: Fractions = { train: 0.8, validation: 0.1, test: 0.1 };

/** The shuffle of no epoch (shared/random): a session's own shuffles have nothing to do with this one. */
const NO_EPOCH = 0xffffffff;

export interface Split {
  /** The sample of the file that comes at each place. */
  readonly order: Uint32Array;
  /** Half-open ranges of places. */
  readonly splits: Readonly<Record<string, readonly [from: number, to: number]>>;
  readonly trainSamples: number;
}

/** Reads `train=0.8,validation=0.1,test=0.1`. Throws CliError if that is not what it is. */
export function parseFractions(text: string): Fractions {
  const entries = text.split(",").map((part) => {
    const [name, fraction] = part.split("=").map((side) => side.trim());
    const split = SPLITS.find((known) => known === name);
    if (split === undefined || !fraction) {
      throw new CliError(`--split ${text}: expected train=0.8,validation=0.1,test=0.1, got ${part || "nothing"}`);
    }
    return [split, Number(fraction)] as const;
  });
  if (new Set(entries.map(([split]) => split)).size !== entries.length) {
    throw new CliError(`--split ${text}: a part is named twice`);
  }
  return Object.fromEntries(entries);
}

/** Parts one after another. Throws CliError if the fractions are not parts of a whole, or leave nothing to train on. */
export function splitRanges(
  samples: number,
  fractions: Fractions = DEFAULT_FRACTIONS,
): Pick<Split, "splits" | "trainSamples"> {
  const parts = SPLITS.map((name) => ({ name, fraction: fractions[name] ?? 0 }));
  const sum = parts.reduce((total, { fraction }) => total + fraction, 0);
  if (!parts.every(({ fraction }) => fraction >= 0 && fraction <= 1) || Math.abs(sum - 1) > 1e-6) {
    const given = parts.map(({ name, fraction }) => `${name} ${fraction}`).join(", ");
    throw new CliError(`the parts of a split add up to 1, these to ${Number(sum.toFixed(6))}: ${given}`);
  }
  const splits: Record<string, readonly [number, number]> = {};
  let [share, from] = [0, 0];
  for (const { name, fraction } of parts) {
    share += fraction;
    const to = Math.min(samples, Math.round(share * samples));
    if (fraction > 0) splits[name] = [from, to];
    from = to;
  }
  const trainSamples = splits.train?.[1] ?? 0;
  if (trainSamples === 0) throw new CliError(`a split of ${samples} samples leaves none to train on`);
  return { splits, trainSamples };
}

/** Parts of the shuffled samples. Throws CliError if the fractions are not parts of a whole, or leave nothing to train on. */
export function splitSamples(samples: number, fractions?: Fractions, seed = 0): Split {
  const ranges = splitRanges(samples, fractions);
  const shuffle = new Permutation(deriveKey(seed, "permutation", NO_EPOCH), samples);
  return { order: Uint32Array.from({ length: samples }, (_, place) => shuffle.at(place)), ...ranges };
}

/** Rows of `size` bytes in the split's order. */
export function arrange(rows: Uint8Array, size: number, order: Uint32Array): Uint8Array<ArrayBuffer> {
  const arranged = new Uint8Array(order.length * size);
  for (const [place, sample] of order.entries()) {
    arranged.set(rows.subarray(sample * size, (sample + 1) * size), place * size);
  }
  return arranged;
}
