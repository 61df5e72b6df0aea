/**
 * What a visitor can give a session's model and what its answer means, read from the graph and the data's columns: a
 * drawing for square images of bytes, a form for a few numbers, else nothing.
 */

import type { Graph, GraphInput } from "../../../shared/graph/ir.ts";
import { firstNode } from "../../../shared/graph/shapes.ts";
import type { ColumnSpec, InputBinding, SessionData } from "../../../shared/session/definition.ts";

export interface ImageSubject {
  readonly kind: "image";
  readonly input: string;
  /** Pixels of a side. */
  readonly side: number;
  readonly binding: InputBinding;
}

export interface Field {
  readonly label: string;
  readonly input: string;
  /** Whether the model takes whole numbers only. */
  readonly isWhole: boolean;
  readonly binding: InputBinding;
}

export interface TableSubject {
  readonly kind: "table";
  /** In the order of the inputs and of their values. */
  readonly fields: readonly Field[];
}

export type Subject = ImageSubject | TableSubject | { readonly kind: "none"; readonly why: string };

/** Sides of images that can be drawn: smaller ones are rather tables, larger ones rather photographs. */
const SIDES = { least: 8, most: 64 } as const;
/** Most fields that anybody would fill in. */
const MOST_FIELDS = 64;

const elementsOf = ({ shape }: GraphInput): number =>
  shape.slice(1).reduce<number>((size, dimension) => size * Number(dimension), 1);

export function subjectOf(graph: Graph, data: SessionData, columns: readonly ColumnSpec[]): Subject {
  const features = graph.inputs.filter(({ role }) => role === "feature");
  const bindingOf = ({ name }: GraphInput): InputBinding => data.inputs[name] ?? { column: name, scale: 1, offset: 0 };
  const [first] = features;
  if (first === undefined) return { kind: "none", why: "its model takes no input" };
  if (data.source === "dataset" && data.window !== undefined)
    return { kind: "none", why: "it goes on from a stretch of text" };
  const side = Math.sqrt(elementsOf(first));
  const stored = columns.find(({ name }) => name === bindingOf(first).column)?.dtype;
  const isImage = features.length === 1 && first.dtype === "float32" && stored === "uint8" && Number.isInteger(side);
  if (isImage && side >= SIDES.least && side <= SIDES.most) {
    return { kind: "image", input: first.name, side, binding: bindingOf(first) };
  }
  const count = features.reduce((sum, input) => sum + elementsOf(input), 0);
  if (count > MOST_FIELDS) return { kind: "none", why: `its model takes ${count} numbers, too many to type` };
  const fields = features.flatMap((input) =>
    Array.from({ length: elementsOf(input) }, (_, index) => ({
      label: elementsOf(input) === 1 ? bindingOf(input).column : `${bindingOf(input).column} ${index + 1}`,
      input: input.name,
      isWhole: input.dtype === "int32",
      binding: bindingOf(input),
    })),
  );
  return { kind: "table", fields };
}

/** How a prediction is read. */
export type Reading =
  /** Logits of exclusive classes. */
  | "classes"
  /** Logits of independent questions. */
  | "logits"
  /** Probabilities of independent questions. */
  | "probabilities"
  /** Numbers in the targets' unit. */
  | "numbers";

/** Follows from the loss that the graph was built with (shared/nn/losses). */
export function readingOf(graph: Graph): Reading {
  if (graph.inputs.some(({ role, dtype }) => role === "target" && dtype === "int32")) return "classes";
  const { prediction } = graph.outputs;
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(prediction)).map(({ op }) => op);
  if (readers.includes("LogSoftmax")) return "classes";
  if (readers.includes("Softplus")) return "logits";
  const maker = graph.nodes[prediction - firstNode(graph)]?.op;
  return maker === "Sigmoid" && "correct" in graph.outputs.metrics ? "probabilities" : "numbers";
}
