/**
 * What liars send, as a table. All of them know every honest gradient of the step before they answer, and agree with one another.
 * Each attack has one number, its strength; the worst of its grid counts. The grids hold what Karimireddy, He and Jaggi (2022) attacked with,
 * where docs/security.md stands beside their figures: 1, 1, 0.1, and 0.25 for 5 liars of 25.
 */

import { permuteIndex } from "../../shared/random/index.ts";

/** A step as the liars see it: what the coordinator will compare, [parameters]. */
export interface Sight {
  /** Over the honest rows, by coordinate. */
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
  /** This liar's row, had it been honest; with labels 9 − y for those that flip them. */
  readonly own: Float32Array;
  readonly step: number;
  readonly liar: number;
}

export interface Attack {
  readonly about: string;
  readonly strengths: readonly number[];
  readonly flipsLabels?: boolean;
  /** Value of coordinate `at`. */
  readonly value: (sight: Sight, strength: number, at: number) => number;
}

const scaledOwn =
  (sign: number): Attack["value"] =>
  ({ own }, strength, at) =>
    sign * strength * own[at];

export const ATTACKS = {
  "sign flip": {
    about: "its own gradient times −s",
    strengths: [1, 10, 100],
    value: scaledOwn(-1),
  },
  "label flip": {
    about: "the gradient for labels 9 − y, times s",
    strengths: [1, 3, 10],
    flipsLabels: true,
    value: scaledOwn(1),
  },
  "inner product": {
    about: "the honest mean times −s (Xie, Koyejo, Gupta 2020)",
    strengths: [0.1, 0.5, 2, 10],
    value: ({ mean }, strength, at) => -strength * mean[at],
  },
  "a little is enough": {
    about: "the honest mean less s of their standard deviations (Baruch, Baruch, Goldberg 2019)",
    strengths: [0.25, 0.5, 1, 1.5],
    value: ({ mean, deviation }, strength, at) => mean[at] - strength * deviation[at],
  },
  noise: {
    about: "normal, s times the honest standard deviation in every coordinate",
    strengths: [1, 10, 100],
    value: ({ deviation, step, liar }, strength, at) => strength * deviation[at] * normal(step, liar, at),
  },
} as const satisfies Record<string, Attack>;

export type AttackName = keyof typeof ATTACKS;

const TABLE = 65_536;
/** Normal numbers by Box and Muller: as many as are needed to look random, and the same in every run. */
const NORMALS = Float32Array.from({ length: TABLE }, (_, at) => {
  const one = (permuteIndex([1, 2], TABLE, at) + 0.5) / TABLE;
  const other = permuteIndex([3, 4], TABLE, at) / TABLE;
  return Math.sqrt(-2 * Math.log(one)) * Math.cos(2 * Math.PI * other);
});

const normal = (step: number, liar: number, at: number): number =>
  NORMALS[(at * 40_503 + step * 9_973 + liar * 16_411) % TABLE];
