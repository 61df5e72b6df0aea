/** Which trainings `npm run attacks` makes, and what of them counts: the worst of each attack's strengths. */

import type { Aggregation } from "../../shared/session/aggregation.ts";
import { ATTACKS, type AttackName } from "./attacks.ts";
import { LIARS, type Trial } from "./trial.ts";

const attackers = LIARS;

/** The settings that are compared, by the names that the table has. */
export const SETTINGS: Readonly<Record<string, Aggregation>> = {
  mean: { kind: "mean" },
  recommended: { kind: "centeredClipping", attackers, momentum: 0.95 },
  "clipped mean": { kind: "clippedMean", attackers },
  median: { kind: "median", attackers },
  "trimmed mean": { kind: "trimmedMean", attackers },
  "multi-Krum": { kind: "multiKrum", attackers },
  "centered clipping": { kind: "centeredClipping", attackers },
  "trimmed mean of pairs": { kind: "trimmedMean", attackers, bucket: 2 },
  "recommended, of pairs": { kind: "centeredClipping", attackers, momentum: 0.95, bucket: 2 },
};

export interface Cell {
  readonly setting: string;
  /** Null: everyone is honest. */
  readonly attack: AttackName | null;
  readonly strength: number;
  readonly isSkewed: boolean;
}

export type Shape = Pick<Trial, "hidden" | "steps" | "seed" | "lr">;

export const attackNames = Object.keys(ATTACKS) as readonly AttackName[];

/** All strengths of all attacks, and none, for each setting, without skew and with. */
export function cellsOf(
  settings: readonly string[],
  skews: readonly boolean[],
  attacks: readonly AttackName[],
): Cell[] {
  return skews.flatMap((isSkewed) =>
    settings.flatMap((setting) => [
      { setting, attack: null, strength: 0, isSkewed },
      ...attacks.flatMap((attack) =>
        ATTACKS[attack].strengths.map((strength) => ({ setting, attack, strength, isSkewed })),
      ),
    ]),
  );
}

export const trialOf = ({ setting, attack, strength, isSkewed }: Cell, shape: Shape): Trial => ({
  ...shape,
  aggregation: SETTINGS[setting],
  attack,
  strength,
  isSkewed,
});

export interface Outcome extends Cell {
  /** Of the test set, after the last step. */
  readonly accuracy: number;
}

const percent = (part: number): string => (part * 100).toFixed(1);

/** A Markdown table a kind of shard: the lowest accuracy over an attack's strengths, and at which strength it was. */
export function tables(outcomes: readonly Outcome[]): string {
  return [false, true]
    .filter((isSkewed) => outcomes.some((outcome) => outcome.isSkewed === isSkewed))
    .map((isSkewed) => {
      const own = outcomes.filter((outcome) => outcome.isSkewed === isSkewed);
      const attacks = attackNames.filter((name) => own.some(({ attack }) => attack === name));
      const head = [isSkewed ? "by digits" : "shuffled", "nobody lies", ...attacks];
      const rows = [...new Set(own.map(({ setting }) => setting))].map((setting) => [
        setting,
        ...[null, ...attacks].map((attack) =>
          worstOf(own.filter((each) => each.setting === setting && each.attack === attack)),
        ),
      ]);
      return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
    })
    .join("\n\n");
}

function worstOf(outcomes: readonly Outcome[]): string {
  if (outcomes.length === 0) return "";
  const { accuracy, attack, strength } = outcomes.reduce((least, each) =>
    each.accuracy < least.accuracy ? each : least,
  );
  return attack === null ? percent(accuracy) : `${percent(accuracy)} (${strength})`;
}
