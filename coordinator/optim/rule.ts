/** A session's update rule against its parameters: which runs of the flat space belong to which group, and what is kept. */

import type { Matrix } from "../../shared/codec/index.ts";
import type { Graph } from "../../shared/graph/ir.ts";
import { alignUp } from "../../shared/graph/parameters.ts";
import { sizeOf } from "../../shared/graph/tensor.ts";
import { keepsCenter } from "../../shared/session/aggregation.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { DEFAULT_GROUP, type OptimizerOptions, optimizerOf } from "../../shared/session/optimizer.ts";
import { squaredMatrices } from "../../shared/session/squares.ts";
import { type Kernels, kernelBytes, type Span } from "./kernels.ts";
import { initialOf, statesOf } from "./optimizers.ts";

/** The state array of averaged weights. */
export const AVERAGE = "average";

/** The last step's mean gradient, where the next one is aggregated around it; before clipping and penalties, and zero at first. */
export const CENTER = "center";

/** What clients hold where they are sent changes (client-weights.ts), and the grid of the changes. */
export const DOWNLINK = "downlink";
export const DOWNLINK_GRID = "downlinkGrid";
export const GRID_FLOATS = 3;

export type RuleDefinition = Pick<
  SessionDefinition,
  "optimizer" | "groups" | "clipping" | "average" | "downlink" | "aggregation"
> & {
  /** `fixed32` if absent. */
  readonly codec?: SessionDefinition["codec"];
  readonly graph: Pick<Graph, "parameters">;
};

export interface Group {
  readonly name: string;
  /** As defined: a schedule changes them by step. */
  readonly options: OptimizerOptions;
  readonly spans: readonly Span[];
}

export interface UpdateRule {
  readonly groups: readonly Group[];
  /** Names of everything that is kept per parameter besides the weights. */
  readonly states: readonly string[];
  /** Largest length and largest value of the mean gradient; infinite where nothing is clipped. */
  readonly clipNorm: number;
  readonly clipValue: number;
  /** Of the average of weights, null where none is kept. */
  readonly decay: number | null;
  /** Whether clients are sent changes, so that what they hold is kept besides the weights. */
  readonly sendsChanges: boolean;
  /** Parameters of which clients send squares; none where the optimizer takes those of what it is given, or needs none. */
  readonly squared: readonly Matrix[];
}

/** Trainable parameters only: a buffer has no gradient, and no penalty may touch it. */
export function updateRule(definition: RuleDefinition): UpdateRule {
  const spans = new Map<string, Span[]>();
  for (const { offset, shape, trainable, group = DEFAULT_GROUP } of definition.graph.parameters) {
    if (!trainable) continue;
    const held = spans.get(group) ?? [];
    spans.set(group, held);
    const last = held.at(-1);
    const count = alignUp(sizeOf(shape));
    if (last !== undefined && last.offset + last.count === offset) {
      held[held.length - 1] = { offset: last.offset, count: last.count + count };
    } else held.push({ offset, count });
  }
  const { clipping, average, downlink } = definition;
  return {
    groups: [...spans].map(([name, held]) => ({ name, options: optimizerOf(definition, name), spans: held })),
    states: stateNames(definition),
    clipNorm: clipping?.norm ?? Number.POSITIVE_INFINITY,
    clipValue: clipping?.value ?? Number.POSITIVE_INFINITY,
    decay: average?.decay ?? null,
    sendsChanges: downlink === "delta",
    squared: squaredMatrices(definition),
  };
}

/**
 * What the mean gradient is multiplied by, so that its length over all parameters stays within the limit; 1 without one.
 * https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
 */
export function clipScale({ clipNorm }: UpdateRule, squaredNorm: number | null): number {
  return squaredNorm === null ? 1 : Math.min(1, clipNorm / (Math.sqrt(squaredNorm) + 1e-6));
}

/** Whether the norm is needed: it is a pass over all parameters. */
export const clipsLength = ({ clipNorm }: UpdateRule): boolean => clipNorm !== Number.POSITIVE_INFINITY;

type KeptDefinition = Pick<RuleDefinition, "optimizer" | "average" | "downlink" | "aggregation">;

function stateNames({ optimizer, average, downlink, aggregation }: KeptDefinition): readonly string[] {
  return [
    ...statesOf(optimizer).filter((name) => name !== null),
    ...(average === undefined ? [] : [AVERAGE]),
    ...(downlink === "delta" ? [DOWNLINK] : []),
    ...(keepsCenter(aggregation) ? [CENTER] : []),
  ];
}

/** Bytes of memory that a definition's update takes for so many parameters. */
export const ruleBytes = (definition: RuleDefinition, parameters: number): number =>
  kernelBytes(parameters, stateNames(definition).length);

/** First values of everything that is kept, by name; the average, and what clients hold, begin as the weights. */
export function initialStates(
  definition: RuleDefinition,
  weights: Float32Array<ArrayBuffer>,
): Readonly<Record<string, Float32Array<ArrayBuffer>>> {
  const first = new Float32Array(weights.length).fill(initialOf(definition.optimizer));
  const others: Readonly<Record<string, Float32Array<ArrayBuffer>>> = {
    [AVERAGE]: weights,
    [DOWNLINK]: weights,
    ...(keepsCenter(definition.aggregation) ? { [CENTER]: new Float32Array(weights.length) } : {}),
  };
  const states = stateNames(definition).map((name): [string, Float32Array<ArrayBuffer>] => [
    name,
    others[name] ?? first,
  ]);
  return Object.fromEntries(
    definition.downlink === "delta" ? [...states, [DOWNLINK_GRID, new Float32Array(GRID_FLOATS)]] : states,
  );
}

/** Floats of everything that is kept between two steps, by name, weights first. */
export function keptSizes(definition: KeptDefinition, parameters: number): ReadonlyMap<string, number> {
  const sizes = new Map(["weights", ...stateNames(definition)].map((name) => [name, parameters]));
  if (definition.downlink === "delta") sizes.set(DOWNLINK_GRID, GRID_FLOATS);
  return sizes;
}

/** Flat views, by name. */
export interface Kept extends Readonly<Record<string, Float32Array<ArrayBuffer>>> {
  readonly weights: Float32Array<ArrayBuffer>;
}

/** Everything that the kernels hold of a session's parameters between two steps. */
export const kept = ({ weights, states }: Kernels): Kept => ({
  weights,
  ...states,
});
