/**
 * Where things are in the GPU's flat buffers. One input buffer holds what changes with each micro-batch, so that it takes
 * one upload; offsets are in words of 4 bytes and multiples of 4.
 */

import { blockCount } from "../../../shared/codec/exponents.ts";
import type { Graph, TrainingGraph } from "../../../shared/graph/ir.ts";
import { evaluationSums, metricNames, parameterLength } from "../../../shared/graph/parameters.ts";
import { bindShape } from "../../../shared/graph/shapes.ts";
import { sizeOf } from "../../../shared/graph/tensor.ts";

/** Words at the start of the input buffer. After them come the dropout layers' keys, two words each, then the inputs. */
export const HEADER = {
  /** Where this micro-batch's scalars go. */
  slot: 0,
  /** Position in the step of the first sample. */
  position: 1,
  /** 2^q as f32: what is at least that is clamped, to `limit` = 2^q − 1 as i32. */
  limitFloat: 2,
  limit: 3,
  /** Whether the shard has sums to add to. 0: its first micro-batch, which puts its own where an earlier shard's are. */
  adds: 4,
} as const;

const HEADER_WORDS = Object.keys(HEADER).length;

/** Micro-batches whose scalars are kept before they are read back; where an evaluation has tables, fewer, but at least so many. */
const SCALAR_SLOTS = 1024;
const FEWEST_SLOTS = 16;

export const alignWords = (words: number): number => Math.ceil(words / 4) * 4;

export interface InputPlace {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  readonly integer: boolean;
}

export interface Layout {
  readonly microBatch: number;
  /** Floats of the flat parameter space. */
  readonly parameters: number;
  readonly blocks: number;
  /** Dropout layers in the order of their keys. */
  readonly layers: readonly number[];
  readonly inputs: readonly InputPlace[];
  readonly inputWords: number;
  /** Scalars by micro-batch: loss, weight, metrics by sorted name; and with the elements of the tables, those of an evaluation. */
  readonly scalars: number;
  readonly evaluationScalars: number;
  /** Statistics: largest magnitudes by block, then the count of clamped values, then the scalars by slot. */
  readonly clampedAt: number;
  readonly scalarsAt: number;
  readonly statsWords: number;
}

/** Micro-batches of so many scalars that there is room for. */
export const slotsOf = ({ statsWords, scalarsAt }: Layout, scalars: number): number =>
  Math.min(SCALAR_SLOTS, Math.floor((statsWords - scalarsAt) / scalars));

/** Words before the key of the `index`th dropout layer. */
export const keyWord = (index: number): number => HEADER_WORDS + 2 * index;

function dropoutLayers({ nodes }: Graph): number[] {
  const layers = nodes.flatMap((node) => (node.op === "DropoutMask" ? [node.attributes.layer] : []));
  return [...new Set(layers)].sort((a, b) => a - b);
}

export function layoutOf(graph: TrainingGraph, microBatch: number): Layout {
  const layers = dropoutLayers(graph);
  let next = alignWords(keyWord(layers.length));
  const inputs = graph.inputs.map(({ name, shape, dtype }) => {
    const place = { name, offset: next, length: sizeOf(bindShape(shape, microBatch)), integer: dtype === "int32" };
    next += alignWords(place.length);
    return place;
  });
  const parameters = parameterLength(graph);
  const blocks = blockCount(parameters);
  const scalars = 2 + metricNames(graph).length;
  const evaluationScalars = 2 + evaluationSums(graph);
  const scalarsAt = blocks + 1;
  return {
    microBatch,
    parameters,
    blocks,
    layers,
    inputs,
    inputWords: next,
    scalars,
    evaluationScalars,
    clampedAt: blocks,
    scalarsAt,
    statsWords: scalarsAt + Math.max(SCALAR_SLOTS * scalars, FEWEST_SLOTS * evaluationScalars),
  };
}
