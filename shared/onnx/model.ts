/**
 * Reads an ONNX file (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3): the few messages that a network needs, by
 * their field numbers. The reader is ours because a general protobuf library brings a code generator and a schema of 40
 * messages along, unpacks everything before it can be bounded, and recurses into whatever is nested; here graphs inside of
 * graphs (If, Loop, Scan) are not read at all.
 */

import { GraphError } from "../graph/error.ts";
import { type Field, readFields, readPacked, readText } from "./protobuf.ts";
import {
  type Allowance,
  type Constant,
  MAX_NAME,
  MAX_NUMBERS,
  MAX_RANK,
  type NamedConstant,
  parseTensor,
} from "./tensor.ts";

export type Attribute =
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "tensor"; readonly value: Constant }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "ints"; readonly value: readonly number[] }
  /** A graph, or of a kind that no known op has. */
  | { readonly kind: "unread" };

export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  /** Empty for ONNX's own. */
  readonly domain: string;
  /** Empty where an optional one is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
}

export interface OnnxValue {
  readonly name: string;
  /** TensorProto.DataType; 0 where it is not said. */
  readonly type: number;
  /** null for a size that is only named or not said; the whole is null where there is no shape. */
  readonly shape: readonly (number | null)[] | null;
}

export interface OnnxModel {
  readonly opset: number;
  /** What has to be fed: initializers are left out. */
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly initializers: readonly NamedConstant[];
  readonly nodes: readonly OnnxNode[];
}

export const OPSETS = { least: 13, most: 21 } as const;

/** Bytes of a file; 3 million parameters in float64 are 24 MB. */
export const MAX_MODEL_BYTES = 64_000_000;
const MAX_NODES = 20_000;
const MAX_INITIALIZERS = 10_000;
/** Inputs and outputs of a node or a graph, attributes of a node, numbers of an attribute. */
const MAX_LISTED = 4_096;

function listed<T>(list: T[], item: T, most: number, what: string): void {
  if (list.length >= most) throw new GraphError("budget", `${what}: more than ${most}`);
  list.push(item);
}

const text = ({ bytes }: { bytes: Uint8Array }, what: string): string => readText(bytes, MAX_NAME, what);

const readFloat = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true);

/** Numbers of a list attribute, packed or one by one. */
function addNumbers(list: number[], content: Field, isFloat: boolean, what: string): void {
  const add = (value: number): void => listed(list, value, MAX_LISTED, what);
  if (content.kind === "integer") add(content.value);
  else if (content.kind === "fixed") add(readFloat(content.bytes));
  else if (!isFloat) readPacked(content.bytes, what, add);
  else for (let at = 0; at + 4 <= content.bytes.length; at += 4) add(readFloat(content.bytes.subarray(at)));
}

/** By AttributeProto.AttributeType; its other values are lists of tensors, graphs and types. */
const ATTRIBUTE_KINDS: Readonly<Record<number, Attribute["kind"]>> = {
  1: "float",
  2: "int",
  3: "string",
  4: "tensor",
  6: "floats",
  7: "ints",
};

function parseAttribute(bytes: Uint8Array, what: string, allowance: Allowance): [string, Attribute] {
  const held = {
    float: 0,
    int: 0,
    string: "",
    tensor: null as Constant | null,
    floats: [] as number[],
    ints: [] as number[],
  };
  let [name, type] = ["", 0];
  readFields(bytes, what, (field, content) => {
    if (field === 7) addNumbers(held.floats, content, true, what);
    else if (field === 8) addNumbers(held.ints, content, false, what);
    else if (content.kind === "integer") {
      if (field === 3) held.int = content.value;
      else if (field === 20) type = content.value;
    } else if (content.kind === "fixed") {
      if (field === 2 && content.bytes.length === 4) held.float = readFloat(content.bytes);
    } else if (field === 1) name = text(content, `${what}: an attribute's name`);
    else if (field === 4) held.string = text(content, `${what}: attribute ${name}`);
    else if (field === 5) held.tensor = parseTensor(content.bytes, `${what}: attribute ${name}`, allowance);
  });
  const kind = ATTRIBUTE_KINDS[type] ?? "unread";
  if (kind === "unread") return [name, { kind }];
  const value = held[kind];
  if (value === null) throw new GraphError("structure", `${what}: attribute ${name} has no tensor`);
  return [name, { kind, value } as Attribute];
}

function parseNode(bytes: Uint8Array, index: number, allowance: Allowance): OnnxNode {
  const what = `ONNX node ${index}`;
  let [name, op, domain] = ["", "", ""];
  const [inputs, outputs]: [string[], string[]] = [[], []];
  const attributes = new Map<string, Attribute>();
  readFields(bytes, what, (field, content) => {
    if (content.kind !== "bytes") return;
    if (field === 1) listed(inputs, text(content, what), MAX_LISTED, `${what}: inputs`);
    else if (field === 2) listed(outputs, text(content, what), MAX_LISTED, `${what}: outputs`);
    else if (field === 3) name = text(content, what);
    else if (field === 4) op = text(content, what);
    else if (field === 7) domain = text(content, what);
    else if (field === 5) {
      if (attributes.size >= MAX_LISTED) throw new GraphError("budget", `${what}: more than ${MAX_LISTED} attributes`);
      attributes.set(...parseAttribute(content.bytes, what, allowance));
    }
  });
  return { name, op, domain: domain === "ai.onnx" ? "" : domain, inputs, outputs, attributes };
}

function parseDimension(bytes: Uint8Array, what: string): number | null {
  let size: number | null = null;
  readFields(bytes, what, (field, content) => {
    if (field === 1 && content.kind === "integer") size = content.value;
  });
  // Some writers say 0 or −1 for a size that is not fixed.
  return size !== null && size > 0 ? size : null;
}

/** The field `field` of a message that is a message itself; empty where it is not there. */
function inner(bytes: Uint8Array, field: number, what: string): Uint8Array | null {
  let found: Uint8Array | null = null;
  readFields(bytes, what, (at, content) => {
    if (at === field && content.kind === "bytes") found = content.bytes;
  });
  return found;
}

function parseValue(bytes: Uint8Array): OnnxValue {
  const name = text({ bytes: inner(bytes, 1, "ONNX value") ?? new Uint8Array(0) }, "the name of a value");
  const what = `ONNX value ${name}`;
  const tensor = inner(inner(bytes, 2, what) ?? new Uint8Array(0), 1, what);
  if (tensor === null) return { name, type: 0, shape: null };
  let type = 0;
  let shape: (number | null)[] | null = null;
  readFields(tensor, what, (field, content) => {
    if (field === 1 && content.kind === "integer") type = content.value;
    else if (field === 2 && content.kind === "bytes") {
      const sizes: (number | null)[] = [];
      readFields(content.bytes, what, (at, dimension) => {
        if (at === 1 && dimension.kind === "bytes")
          listed(sizes, parseDimension(dimension.bytes, what), MAX_RANK, `${what}: dimensions`);
      });
      shape = sizes;
    }
  });
  return { name, type, shape };
}

interface Parsed {
  readonly inputs: OnnxValue[];
  readonly outputs: OnnxValue[];
  readonly initializers: NamedConstant[];
  readonly nodes: OnnxNode[];
}

function parseGraph(bytes: Uint8Array): Parsed {
  const graph: Parsed = { inputs: [], outputs: [], initializers: [], nodes: [] };
  const allowance: Allowance = { numbers: MAX_NUMBERS };
  readFields(bytes, "ONNX graph", (field, content) => {
    if (content.kind !== "bytes") return;
    if (field === 1) listed(graph.nodes, parseNode(content.bytes, graph.nodes.length, allowance), MAX_NODES, "nodes");
    else if (field === 5) {
      const tensor = parseTensor(content.bytes, "initializer", allowance);
      listed(graph.initializers, tensor, MAX_INITIALIZERS, "initializers");
    } else if (field === 11) listed(graph.inputs, parseValue(content.bytes), MAX_INITIALIZERS, "inputs");
    else if (field === 12) listed(graph.outputs, parseValue(content.bytes), MAX_LISTED, "outputs");
    else if (field === 15) throw new GraphError("structure", "sparse initializers are not read");
  });
  return graph;
}

/**
 * Reads a model and checks that names mean one thing each. Throws GraphError: `structure` for what is malformed, `budget`
 * for what is too much.
 */
export function parseModel(bytes: Uint8Array): OnnxModel {
  if (bytes.byteLength > MAX_MODEL_BYTES) {
    throw new GraphError("budget", `the model has ${bytes.byteLength} bytes, the limit is ${MAX_MODEL_BYTES}`);
  }
  let [opset, graph] = [0, null as Parsed | null];
  readFields(bytes, "ONNX model", (field, content) => {
    if (content.kind !== "bytes") return;
    if (field === 7) {
      if (graph !== null) throw new GraphError("structure", "the ONNX model has two graphs");
      graph = parseGraph(content.bytes);
    } else if (field === 8) {
      const domain = inner(content.bytes, 1, "opset") ?? new Uint8Array(0);
      if (domain.length > 0 && text({ bytes: domain }, "opset") !== "ai.onnx") return;
      readFields(content.bytes, "opset", (at, version) => {
        if (at === 2 && version.kind === "integer") opset = version.value;
      });
    }
  });
  // The assignment above is in a callback, which the type checker does not follow.
  const parsed = graph as Parsed | null;
  if (parsed === null) throw new GraphError("structure", "this is not an ONNX model: it has no graph");
  if (opset < OPSETS.least || opset > OPSETS.most) {
    throw new GraphError(
      "structure",
      `the model is of opset ${opset}, read are ${OPSETS.least} to ${OPSETS.most}: torch.onnx.export(…, opset_version=17)`,
    );
  }
  const known = new Set<string>();
  for (const { name } of parsed.initializers) define(known, name, "two initializers");
  const inputs = parsed.inputs.filter(({ name }) => !known.has(name));
  for (const { name } of inputs) define(known, name, "two inputs");
  for (const node of parsed.nodes) {
    for (const name of node.outputs) if (name !== "") define(known, name, "two values");
  }
  return { opset, ...parsed, inputs };
}

function define(known: Set<string>, name: string, what: string): void {
  if (known.has(name)) throw new GraphError("structure", `${what} are named ${name}`);
  known.add(name);
}
