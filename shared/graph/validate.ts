/**
 * Reads a graph from untrusted JSON (invariants I5 and I10): a coordinator before it creates a session, a client before it
 * compiles anything. Nothing is used before it was checked, and nothing is accepted that is more than the reader's budget.
 */

import * as v from "valibot";
import { estimateCost } from "./cost.ts";
import { GraphError } from "./error.ts";
import { type Graph, IR_VERSION, type Node, type OpName, type ValueId } from "./ir.ts";
import { OPS } from "./ops/index.ts";
import { ALIGNMENT, parameterLength } from "./parameters.ts";
import { firstNode, inferShapes } from "./shapes.ts";
import { sameShape, sizeOf, type TensorType } from "./tensor.ts";

export interface GraphBudget {
  /** Floats of the flat parameter array. */
  readonly parameters: number;
  readonly nodes: number;
  /** Floating-point operations of a forward pass over one micro-batch. */
  readonly flops?: number;
  /** Bytes of all values of a forward pass, and of the parameters. */
  readonly memoryBytes?: number;
}

const MAX_RANK = 8;
/** A confusion matrix of 32 classes, and the counts of 256 bins for two. */
const MAX_TABLE_ELEMENTS = 32 * 32 + 2 * 256;
const MAX_DIMENSION = 2 ** 31 - 1;

const name = v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/, "a name is 1 to 128 printable ASCII characters"));
const size = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_DIMENSION));
const float = v.pipe(v.number(), v.finite());
const id = v.pipe(v.number(), v.integer(), v.minValue(0));

const initializer = v.variant("kind", [
  v.strictObject({ kind: v.literal("uniform"), bound: float }),
  v.strictObject({ kind: v.literal("normal"), std: float }),
  v.strictObject({ kind: v.literal("constant"), value: float }),
  v.strictObject({ kind: v.literal("given") }),
  v.strictObject({ kind: v.literal("sinusoidal") }),
]);

const graphSchema = v.strictObject({
  irVersion: v.literal(IR_VERSION),
  inputs: v.pipe(
    v.array(
      v.strictObject({
        name,
        dtype: v.picklist(["float32", "int32"]),
        shape: v.pipe(v.array(v.union([size, v.literal("N")])), v.minLength(1), v.maxLength(MAX_RANK)),
        role: v.picklist(["feature", "target", "weight"]),
      }),
    ),
    v.maxLength(64),
  ),
  parameters: v.pipe(
    v.array(
      v.strictObject({
        name,
        shape: v.pipe(v.array(size), v.maxLength(MAX_RANK)),
        offset: v.pipe(v.number(), v.integer(), v.minValue(0), v.multipleOf(ALIGNMENT)),
        trainable: v.boolean(),
        init: initializer,
        aliases: v.exactOptional(v.pipe(v.array(name), v.maxLength(64))),
        group: v.exactOptional(name),
      }),
    ),
    v.maxLength(10_000),
  ),
  nodes: v.array(
    v.strictObject({ op: v.string(), inputs: v.pipe(v.array(id), v.maxLength(8)), attributes: v.unknown() }),
  ),
  outputs: v.strictObject({
    prediction: id,
    loss: id,
    weight: id,
    metrics: v.pipe(
      v.record(name, id),
      v.check((metrics) => Object.keys(metrics).length <= 16, "there are at most 16 metrics"),
    ),
    tables: v.exactOptional(
      v.pipe(
        v.record(name, v.strictObject({ value: id, shape: v.pipe(v.array(size), v.minLength(1), v.maxLength(2)) })),
        v.check((tables) => Object.keys(tables).length <= 4, "there are at most 4 tables"),
      ),
    ),
    largestWeight: v.exactOptional(v.pipe(float, v.minValue(0))),
  }),
});

function parseNode(raw: { op: string; inputs: ValueId[]; attributes: unknown }, index: number): Node {
  if (!Object.hasOwn(OPS, raw.op))
    throw new GraphError("unknown-op", `node ${index}: there is no op ${raw.op.slice(0, 40)}`);
  const op = raw.op as OpName;
  const attributes = v.safeParse(OPS[op].attributes, raw.attributes);
  if (!attributes.success) {
    const [issue] = attributes.issues;
    throw new GraphError(
      "attribute",
      `node ${index} (${op}), ${v.getDotPath(issue) ?? "attributes"}: ${issue.message}`,
    );
  }
  return { op, inputs: raw.inputs, attributes: attributes.output } as Node;
}

function requireDistinct(names: readonly string[], what: string): void {
  const seen = new Set<string>();
  for (const held of names) {
    if (seen.has(held)) throw new GraphError("structure", `two ${what} are named ${held}`);
    seen.add(held);
  }
}

/** Parameters lie one after another: none overlaps another, and no space is claimed for nothing. */
function requireLayout(graph: Graph, budget: GraphBudget): void {
  let end = 0;
  for (const { name, offset, shape } of [...graph.parameters].sort((a, b) => a.offset - b.offset)) {
    if (offset < end)
      throw new GraphError("structure", `parameter ${name} at ${offset} overlaps the one before, which ends at ${end}`);
    if (offset >= end + ALIGNMENT)
      throw new GraphError("structure", `there is a gap before parameter ${name} at ${offset}`);
    end = offset + sizeOf(shape);
    if (end > budget.parameters) requireWithin("parameters", end, budget.parameters);
  }
  if (graph.parameters.every(({ trainable }) => !trainable)) throw new GraphError("structure", "nothing is trainable");
}

/** Tables are computed, of the shape that they say, and small enough to travel with every evaluation. */
function requireTables({ outputs: { tables = {} } }: Graph, types: readonly TensorType[]): void {
  let elements = 0;
  for (const [what, { value, shape }] of Object.entries(tables)) {
    const type = types[value];
    if (type?.dtype !== "float32" || !sameShape(type.shape, shape)) {
      const found = type === undefined ? "no value" : `${type.dtype} [${type.shape.join(", ")}]`;
      throw new GraphError("shape", `table ${what} is ${found}, expected float32 [${shape.join(", ")}]`);
    }
    elements += sizeOf(shape);
  }
  if (elements > MAX_TABLE_ELEMENTS) requireWithin("numbers in tables", elements, MAX_TABLE_ELEMENTS);
}

function requireWithin(what: string, figure: number, limit: number | undefined): void {
  if (limit !== undefined && figure > limit) throw new GraphError("budget", `${figure} ${what}, the limit is ${limit}`);
}

/** Throws GraphError. The result shares nothing with `value` but strings. */
export function validateGraph(value: unknown, budget: GraphBudget & { readonly microBatch: number }): Graph {
  const nodes = (value as { nodes?: unknown } | null)?.nodes;
  if (Array.isArray(nodes)) requireWithin("nodes", nodes.length, budget.nodes);
  const result = v.safeParse(graphSchema, value);
  if (!result.success) {
    const [issue] = result.issues;
    throw new GraphError("structure", `${v.getDotPath(issue) ?? "graph"}: ${issue.message}`);
  }
  const graph: Graph = { ...result.output, nodes: result.output.nodes.map(parseNode) };
  const names = graph.parameters.flatMap(({ name, aliases }) => [name, ...(aliases ?? [])]);
  requireDistinct(names, "parameters");
  requireDistinct(
    graph.inputs.map((input) => input.name),
    "inputs",
  );
  for (const { name, shape } of graph.inputs) {
    if (shape[0] !== "N" || shape.indexOf("N", 1) >= 0) {
      throw new GraphError("shape", `input ${name}: the first dimension is N, and no other`);
    }
  }
  requireLayout(graph, budget);
  requireWithin("parameters", parameterLength(graph), budget.parameters);

  const types = inferShapes(graph, budget.microBatch);
  const { prediction, loss, weight, metrics } = graph.outputs;
  for (const [what, output] of Object.entries({ prediction, loss, weight, ...metrics })) {
    if (output >= types.length)
      throw new GraphError("structure", `output ${what} is value ${output}, there are ${types.length}`);
    if (what !== "prediction" && types[output].shape.length !== 0) {
      throw new GraphError("shape", `output ${what} has shape [${types[output].shape.join(", ")}], expected a scalar`);
    }
  }
  requireTables(graph, types);
  if (loss < firstNode(graph)) throw new GraphError("structure", "the loss is not computed by any node");
  const cost = estimateCost(graph, budget.microBatch);
  requireWithin("floating-point operations a micro-batch", cost.flops, budget.flops);
  requireWithin("bytes of values and parameters", cost.activationBytes + cost.parameterBytes, budget.memoryBytes);
  return graph;
}

export { GraphError };
