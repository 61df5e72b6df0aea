/**
 * From marks to stages. A volunteer's turn goes from `ready` to `ready`: everything in it belongs to exactly one stage, so the
 * stages of a turn add up to it. Of each step the turn counts in which the last result was sent: the others waited for it.
 */

import type { Mark, MarkName } from "./recorder.ts";

/** In the order of a turn. */
export const STAGES = {
  assign: "from ready, or a result, to the next lease; none where that came with the weights",
  fill: "micro-batches fetched and filled in",
  compute: "forward and backward, rounded and added",
  "read back": "the sum into the volunteer's memory",
  encode: "the result into frames, and into the socket",
  coordinator: "from the last result sent to the first frame of weights, and to the lease before it",
  download: "the frames of weights",
  apply: "weights put together and set",
} as const;

export type StageName = keyof typeof STAGES;

/** What the time before a mark was spent on. Before `filled` it is `fill`, also between two micro-batches. */
const BEFORE = {
  assigned: "assign",
  filled: "fill",
  accumulated: "compute",
  computed: "compute",
  read: "read back",
  sent: "encode",
  "weights-began": "coordinator",
  "weights-came": "download",
  ready: "apply",
} as const satisfies Record<MarkName, StageName>;

export interface Turn {
  readonly stages: Readonly<Record<StageName, number>>;
  readonly milliseconds: number;
  /** When its last result was sent; weights that came without one were computed by others alone. */
  readonly sentAt: number | null;
}

export function turnsOf(marks: readonly Mark[]): Turn[] {
  const turns: Turn[] = [];
  let open: { start: number; sentAt: number | null; stages: Record<StageName, number> } | null = null;
  let before: MarkName | null = null;
  let [beforeThat, last] = [0, 0];
  for (const { name, at } of marks) {
    if (open !== null) {
      open.stages[BEFORE[name]] += at - last;
      // A lease that comes right before its weights was not waited for by itself.
      if (name === "weights-began" && before === "assigned") {
        open.stages.assign -= last - beforeThat;
        open.stages.coordinator += last - beforeThat;
      }
    }
    if (open !== null && name === "sent") open.sentAt = at;
    if (name === "ready") {
      if (open !== null) turns.push({ stages: open.stages, milliseconds: at - open.start, sentAt: open.sentAt });
      const none = Object.fromEntries(Object.keys(STAGES).map((stage) => [stage, 0])) as Record<StageName, number>;
      open = { start: at, sentAt: null, stages: none };
    }
    before = name;
    beforeThat = last;
    last = at;
  }
  return turns;
}

/** `turns` holds each volunteer's, the last of them being of the same step: by step, all of its turns. */
function byStep(turns: readonly (readonly Turn[])[]): Turn[][] {
  const count = Math.min(...turns.map(({ length }) => length));
  const aligned = turns.map((own) => own.slice(own.length - count));
  return Array.from({ length: count }, (_, step) => aligned.map((own) => own[step]));
}

/** Of each step, the turn whose result came last. */
export const decisiveTurns = (turns: readonly (readonly Turn[])[]): Turn[] =>
  byStep(turns).map((step) =>
    step.reduce((latest, turn) => ((turn.sentAt ?? 0) > (latest.sentAt ?? 0) ? turn : latest)),
  );

/** Milliseconds a step for which whoever was done first waited for the last one, on the mean; 0 where no step had two results. */
export function meanWait(turns: readonly (readonly Turn[])[], skip: number): number {
  const waits = byStep(turns)
    .slice(skip)
    .map((step) => step.flatMap(({ sentAt }) => sentAt ?? []))
    .filter(({ length }) => length > 1)
    .map((sent) => Math.max(...sent) - Math.min(...sent));
  return waits.reduce((sum, wait) => sum + wait, 0) / Math.max(1, waits.length);
}

/** Means over turns, so that they add up; `skip` of them are left out at the beginning, where data are fetched. */
export function meanStages(turns: readonly Turn[], skip: number): Record<StageName | "step", number> {
  const counted = turns.slice(skip).filter(({ sentAt }) => sentAt !== null);
  const mean = (figure: (turn: Turn) => number): number =>
    counted.reduce((sum, turn) => sum + figure(turn), 0) / counted.length;
  const stages = (Object.keys(STAGES) as StageName[]).map((name) => [name, mean((turn) => turn.stages[name])]);
  return { ...Object.fromEntries(stages), step: mean(({ milliseconds }) => milliseconds) } as Record<
    StageName | "step",
    number
  >;
}
