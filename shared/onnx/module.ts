/**
 * An ONNX model as a module: it stands wherever a layer does, with its weights. Initializers become parameters, each at its
 * first use; an `Identity` of one is a parameter of its own, because exporters merge tensors that merely began equal. What
 * the graph computes of shapes alone is computed here; every other node becomes nodes of the IR.
 */

import { GraphError } from "../graph/error.ts";
import { given } from "../graph/given.ts";
import type { ValueId } from "../graph/ir.ts";
import { sameShape } from "../graph/tensor.ts";
import { type GraphWriter, type Module, TRACE_BATCH } from "../nn/module.ts";
import type { NamedTensors } from "../nn/weights.ts";
import { castTo, FOLDS, intAttribute, integerList, isBatch, scalar, targetShape } from "./folding.ts";
import { type OnnxModel, type OnnxNode, type OnnxValue, parseModel } from "./model.ts";
import { Names } from "./names.ts";
import { type Matrix, OPERATIONS, type Operands } from "./operations/index.ts";
import { expandAttribute, majorOf, type Placed, reshapeAttribute, reshapedTo } from "./reshape.ts";
import { type Constant, dtypeOf } from "./tensor.ts";
import { reasonOf } from "./unsupported.ts";

export interface OnnxOptions {
  /** The output that is the prediction, by name; the first one if absent. */
  readonly output?: string;
  /** A state_dict whose names take the place of made-up ones, by equal values. */
  readonly stateDict?: NamedTensors;
  /** Names of parameters that are not trained, or their beginnings: `"encoder."`. */
  readonly frozen?: readonly string[];
}

/** What a name of the file stands for while the graph is read. */
type Held =
  | { readonly kind: "value"; readonly id: ValueId; readonly type: Constant["dtype"] }
  | { readonly kind: "constant"; readonly constant: Constant }
  /** A further output that the op's entry does not make. */
  | { readonly kind: "unmade"; readonly by: string }
  /** An initializer: a parameter once something reads it. */
  | { readonly kind: "weights"; readonly name: string; readonly constant: Constant; made: Matrix | null };

/** Numbers of all folded constants of one graph. */
const MAX_FOLDED_IN_ALL = 16_000_000;
/** Ops that are named where several are not supported. */
const SHOWN = 8;

/** Single numbers by a name that an exporter made up: constants, which nobody meant to train. */
const isMadeUp = (name: string): boolean => /^(\/|onnx::|\d+$)/.test(name);

const describeNode = ({ op, domain, name, outputs }: OnnxNode): string =>
  `${domain === "" ? "" : `${domain}.`}${op} (node ${name || "without a name"}, which makes ${outputs[0] ?? "nothing"})`;

/** Whether shapes alone are computed by this node, whatever its inputs. */
const readsShape = (op: string): boolean => op === "Shape" || op === "Size";

/** The ops that are imported, with those that are only folded: of shapes and constants, which do not train. */
export const IMPORTED: { readonly computed: ReadonlySet<string>; readonly folded: ReadonlySet<string> } = {
  computed: new Set(Object.keys(OPERATIONS)),
  folded: new Set(["Constant", "Shape", "Size", ...Object.keys(FOLDS)].filter((op) => !Object.hasOwn(OPERATIONS, op))),
};

/** Throws GraphError `unknown-op` naming every op that neither is an operation here nor can be folded. */
function requireKnown(nodes: readonly OnnxNode[]): void {
  const unknown = nodes.filter(
    ({ op, domain }) => domain !== "" || !(IMPORTED.computed.has(op) || IMPORTED.folded.has(op)),
  );
  if (unknown.length === 0) return;
  const more = unknown.length > SHOWN ? `, and ${unknown.length - SHOWN} more` : "";
  const shown = unknown.slice(0, SHOWN).map((node) => `${describeNode(node)}${reasonOf(node)}`);
  throw new GraphError("unknown-op", `ops that are not supported: ${shown.join("; ")}${more}`);
}

/** Element types of results that are not those of the first input, by op. */
const RESULTS: Readonly<Record<string, Constant["dtype"]>> = {
  And: "bool",
  ArgMax: "int",
  ArgMin: "int",
  Equal: "bool",
  Greater: "bool",
  GreaterOrEqual: "bool",
  Less: "bool",
  LessOrEqual: "bool",
  Not: "bool",
  Or: "bool",
  Xor: "bool",
};

const typeOfHeld = (held: Held | undefined): Constant["dtype"] => {
  if (held?.kind === "value") return held.type;
  return held === undefined || held.kind === "unmade" ? "float" : held.constant.dtype;
};

function resultType({ op, attributes }: OnnxNode, inputs: readonly (Held | undefined)[]): Constant["dtype"] {
  if (op === "Cast") return dtypeOf(intAttribute(attributes, "to", 0)) ?? "float";
  return RESULTS[op] ?? typeOfHeld(inputs[op === "Where" || op === "CastLike" ? 1 : 0]);
}

/** What an output of a file became: a value of the graph, or numbers that were known at once. */
export type Imported =
  | { readonly kind: "value"; readonly id: ValueId }
  | { readonly kind: "constant"; readonly constant: Constant };

/**
 * −∞ and the lowest number of float32 stand for what a softmax is not to see. This number says so, too (shared/nn/attention.ts),
 * and makes no NaN where it is multiplied with 0.
 */
const MASKED = -1e9;
const LOWEST = -3.4e38;

/** Reads one graph into a writer. */
class Importer {
  readonly #model: OnnxModel;
  readonly #options: OnnxOptions;
  readonly #to: GraphWriter;
  readonly #names: Names;
  readonly #held = new Map<string, Held>();
  /** The fixed batch of the export, null where it was left open. */
  readonly #exported: number | null;
  /** Where the batch lies within its axis, of values where it is not the first there (see reshape.ts). */
  readonly #majors = new Map<ValueId, number>();
  #folded = 0;

  constructor(model: OnnxModel, options: OnnxOptions, to: GraphWriter, inputs: readonly ValueId[]) {
    this.#model = model;
    this.#options = options;
    this.#to = to;
    const aliases = model.nodes.filter(({ op }) => op === "Identity").flatMap(({ outputs }) => outputs);
    this.#names = new Names(options.stateDict ?? null, [...model.initializers.map(({ name }) => name), ...aliases]);
    for (const constant of model.initializers) {
      const { name, dtype, data } = constant;
      const isWeights = dtype === "float" && !(data.length === 1 && isMadeUp(name));
      this.#held.set(
        name,
        isWeights ? { kind: "weights", name, constant, made: null } : { kind: "constant", constant },
      );
    }
    for (const [index, value] of model.inputs.entries()) this.#feed(value, inputs[index]);
    this.#exported = model.inputs[0]?.shape?.[0] ?? null;
  }

  /** Binds one of the model's inputs. Throws GraphError `shape` where the shape or the kind of number is another one. */
  #feed({ name, shape: declared, type }: OnnxValue, id: ValueId): void {
    const shape = this.#to.shapeOf(id);
    const dtype = this.#to.dtypeOf(id);
    const kind = type === 0 ? (dtype === "int32" ? "int" : "float") : dtypeOf(type);
    if (
      declared !== null &&
      (declared.length !== shape.length ||
        declared.some((size, axis) => axis > 0 && size !== null && size !== shape[axis]))
    ) {
      const wanted = declared.map((size, axis) => (axis === 0 ? "N" : (size ?? "?"))).join(", ");
      throw new GraphError("shape", `the ONNX model takes ${name} [${wanted}], got [N, ${shape.slice(1).join(", ")}]`);
    }
    if (kind === null || (kind === "float") !== (dtype === "float32")) {
      const wanted = kind === null ? "numbers that are not read" : kind === "float" ? "float32" : "int32";
      throw new GraphError("shape", `the ONNX model takes ${name} as ${wanted}, and it is ${dtype}`);
    }
    this.#held.set(name, { kind: "value", id, type: kind });
  }

  run(): ReadonlyMap<string, Imported> {
    for (const node of this.#model.nodes) {
      try {
        this.#node(node);
      } catch (error) {
        if (!(error instanceof GraphError)) throw error;
        throw new GraphError(error.code, `ONNX op ${describeNode(node)}: ${error.message}`);
      }
    }
    const made = this.#model.outputs.flatMap(({ name }): [string, Imported][] => {
      const held = this.#held.get(name);
      if (held === undefined || held.kind === "unmade") return [];
      if (held.kind === "constant") return [[name, held]];
      return [[name, { kind: "value", id: this.#value(held) }]];
    });
    return new Map(made);
  }

  #node(node: OnnxNode): void {
    const [output] = node.outputs;
    if (output === undefined) return;
    const inputs = node.inputs.map((name) => this.#find(name));
    const [first] = inputs;
    if (node.op === "Identity" && first?.kind === "weights") {
      this.#held.set(output, { ...first, name: output, made: null });
      return;
    }
    const constant = this.#fold(node, inputs);
    if (constant !== null) {
      this.#folded += constant.data.length;
      if (this.#folded > MAX_FOLDED_IN_ALL) throw new GraphError("budget", "the graph's constants are too large");
      this.#held.set(output, { kind: "constant", constant });
      return;
    }
    if (!Object.hasOwn(OPERATIONS, node.op)) {
      throw new GraphError("unknown-op", "it is supported for shapes and constants, and here it is given values");
    }
    const made = OPERATIONS[node.op](this.#operands(node, inputs));
    const type = resultType(node, inputs);
    const ids = typeof made === "number" ? [made] : made;
    for (const id of ids) this.#inheritMajor(id, inputs);
    for (const [index, name] of node.outputs.entries()) {
      if (name !== "")
        this.#held.set(
          name,
          index < ids.length ? { kind: "value", id: ids[index], type } : { kind: "unmade", by: node.op },
        );
    }
  }

  /** Undefined for an optional input that is left out. */
  #find(name: string): Held | undefined {
    if (name === "") return undefined;
    const held = this.#held.get(name);
    if (held === undefined) throw new GraphError("structure", `it reads ${name}, which nothing before it makes`);
    if (held.kind === "unmade") {
      throw new GraphError("unknown-op", `it reads ${name}, a further output of ${held.by}, which is not supported`);
    }
    return held;
  }

  /** What a node makes if that is known already, or null. */
  #fold({ op, attributes }: OnnxNode, inputs: readonly (Held | undefined)[]): Constant | null {
    if (op === "Constant") return constantOf(attributes);
    const [first] = inputs;
    if (readsShape(op) && first !== undefined) {
      const shape = first.kind === "value" ? this.#to.shapeOf(first.id) : knownOf(first).shape;
      if (op === "Size") return scalar(shape.reduce((size, next) => size * next, 1));
      const [start, end] = ["start", "end"].map((name) => attributes.get(name));
      return integerList(
        shape.slice(start?.kind === "int" ? start.value : 0, end?.kind === "int" ? end.value : undefined),
      );
    }
    if (op === "CastLike" && first?.kind === "constant") return castTo(first.constant, typeOfHeld(inputs[1]));
    if (!Object.hasOwn(FOLDS, op) || inputs.length === 0) return null;
    const constants = inputs.map((held) => (held?.kind === "constant" ? held.constant : undefined));
    if (inputs.some((held, index) => held !== undefined && constants[index] === undefined)) return null;
    return FOLDS[op]({ inputs: constants, attributes });
  }

  #operands({ attributes, inputs: names, outputs }: OnnxNode, inputs: readonly (Held | undefined)[]): Operands {
    const to = this.#to;
    const require = (index: number): Held => {
      const held = inputs[index];
      if (held === undefined) throw new GraphError("structure", `input ${index} is left out`);
      return held;
    };
    return {
      to,
      attributes,
      count: names.length,
      outputs: outputs.length,
      exported: this.#exported,
      has: (index) => inputs[index] !== undefined,
      typeOf: (index) => typeOfHeld(require(index)),
      value: (index) => this.#number(require(index)),
      raw: (index) => this.#value(require(index)),
      buffer: (index) => this.#value(require(index), false),
      matrix: (index) => this.#matrix(require(index), true),
      known: (index) => {
        const held = inputs[index];
        if (held === undefined) return undefined;
        if (held.kind === "value") throw new GraphError("unknown-op", `input ${index} is computed, and must be known`);
        return knownOf(held);
      },
      isComputed: (index) => inputs[index]?.kind === "value",
      table: (constant) => this.#constant(constant),
      reshape: (id, list) => {
        const shape = targetShape(to.shapeOf(id), list, true);
        return this.#reshape(id, { shape, major: majorOf(this.#placed(id), shape) });
      },
      reshapeAsSaid: (id, list, allowZero) =>
        this.#reshape(id, reshapedTo(this.#placed(id), list, allowZero, this.#exported)),
      expand: (id, list) => {
        const shape = expandAttribute(to.shapeOf(id), list, this.#exported);
        const bound = shape.map((size) => (size === "N" ? TRACE_BATCH : size));
        return sameShape(to.shapeOf(id), bound) ? id : to.emit("Expand", [id], { shape });
      },
    };
  }

  #placed(id: ValueId): Placed {
    return { shape: this.#to.shapeOf(id), major: this.#majors.get(id) ?? 1 };
  }

  #reshape(id: ValueId, { shape, major }: Placed): ValueId {
    const from = this.#to.shapeOf(id);
    if (sameShape(from, shape)) return id;
    const reshaped = this.#to.emit("Reshape", [id], { shape: reshapeAttribute(from, shape) });
    this.#majors.set(reshaped, major);
    return reshaped;
  }

  /** A value made of others has the batch where they have it, if it has an axis like theirs. */
  #inheritMajor(id: ValueId, inputs: readonly (Held | undefined)[]): void {
    if (this.#majors.has(id)) return;
    const size = this.#to.shapeOf(id).find(isBatch);
    for (const held of inputs) {
      if (held?.kind !== "value" || this.#to.shapeOf(held.id).find(isBatch) !== size) continue;
      const major = this.#majors.get(held.id);
      if (major !== undefined) this.#majors.set(id, major);
    }
  }

  /** As float32. */
  #number(held: Held): ValueId {
    const id = this.#value(held);
    return this.#to.dtypeOf(id) === "int32" ? this.#to.emit("Cast", [id], { to: "float32" }) : id;
  }

  #value(held: Held, trainable = true): ValueId {
    const { id, isTransposed } = this.#matrix(held, trainable);
    return isTransposed ? this.#to.emit("Transpose", [id], { perm: [1, 0] }) : id;
  }

  #matrix(held: Held, trainable: boolean): Matrix {
    if (held.kind === "value") return { id: held.id, isTransposed: false };
    if (held.kind !== "weights") return { id: this.#constant(knownOf(held)), isTransposed: false };
    held.made ??= this.#parameter(held.name, held.constant, trainable);
    return held.made;
  }

  #parameter(own: string, { shape, data }: Constant, trainable: boolean): Matrix {
    if (shape.some((size) => size === 0)) throw new GraphError("shape", `${own} has no numbers`);
    const { name, shape: kept, isTransposed } = this.#names.give(own, { shape, values: data });
    const [rows, columns] = shape;
    const values = Float32Array.from(data, (value, at) =>
      isTransposed ? data[(at % rows) * columns + Math.floor(at / rows)] : value,
    );
    const frozen = this.#options.frozen?.some((start) => name.startsWith(start)) ?? false;
    const add = trainable && !frozen ? "parameter" : "buffer";
    const id = this.#to[add](name, kept, given(values));
    if (isTransposed || sameShape(kept, shape)) return { id, isTransposed };
    return { id: this.#to.emit("Reshape", [id], { shape }), isTransposed };
  }

  /** A known number, or a table of them that goes along with the weights and is not trained. */
  #constant({ shape, data: numbers }: Constant): ValueId {
    const to = this.#to;
    const data = numbers.map((value) => (value < LOWEST ? MASKED : value));
    const first = data[0];
    if (first === undefined) throw new GraphError("shape", "a constant has no numbers");
    if (!data.every((value) => Math.abs(value) <= 3.4e38)) {
      throw new GraphError("attribute", "a constant is not finite in float32");
    }
    const isUniform = data.every((value) => value === first);
    if (isUniform && shape.length <= 1 && data.length === 1) return to.constant(first);
    if (isUniform && shape.every((size) => !isBatch(size) || size === TRACE_BATCH)) {
      const sizes = shape.map((size) => (isBatch(size) ? ("N" as const) : size));
      return to.emit("Expand", [to.constant(first)], { shape: sizes });
    }
    if (shape.some(isBatch)) throw new GraphError("shape", "a constant would be as long as the batch");
    return this.#parameter("constant", { dtype: "float", shape, data }, false).id;
  }
}

/** Throws GraphError `structure`. */
function knownOf(held: Held): Constant {
  if (held.kind === "value" || held.kind === "unmade") throw new GraphError("structure", "it is computed");
  return held.constant;
}

function constantOf(attributes: OnnxNode["attributes"]): Constant {
  for (const [name, attribute] of attributes) {
    if (name === "value" && attribute.kind === "tensor") return attribute.value;
    if (name === "value_float" && attribute.kind === "float")
      return { dtype: "float", shape: [], data: Float64Array.of(attribute.value) };
    if (name === "value_int" && attribute.kind === "int") return scalar(attribute.value);
    if (name === "value_ints" && attribute.kind === "ints") return integerList(attribute.value);
    if (name === "value_floats" && attribute.kind === "floats")
      return { dtype: "float", shape: [attribute.value.length], data: Float64Array.from(attribute.value) };
  }
  throw new GraphError("attribute", "a constant of strings or of nothing is not read");
}

/**
 * Reads a model into a graph that is being built, and answers its outputs by name. Throws GraphError.
 * @param inputs a value of the graph for each of the model's inputs
 */
export function readOnnx(
  model: OnnxModel,
  options: OnnxOptions,
  to: GraphWriter,
  inputs: readonly ValueId[],
): ReadonlyMap<string, Imported> {
  requireKnown(model.nodes);
  return new Importer(model, options, to, inputs).run();
}

/** The output that is the prediction. Throws GraphError `structure` where it is not computed. */
function predictionOf(model: OnnxModel, { output }: OnnxOptions, made: ReadonlyMap<string, Imported>): ValueId {
  const wanted = output ?? model.outputs[0]?.name ?? "";
  const held = made.get(wanted);
  if (held?.kind === "value") return held.id;
  const there = model.outputs.map(({ name }) => name).join(", ");
  throw new GraphError("structure", `the ONNX model computes no output ${wanted}; its outputs are ${there}`);
}

/**
 * The module of an ONNX file as `torch.onnx.export` writes it: opset 13 to 21, weights inside. It is given its first input
 * [N, …]; further ones are the session's inputs of the same names.
 * @param bytes the file
 * Throws GraphError: `structure` and `budget` for a file that is malformed or too much, `unknown-op` naming every op that is
 * not supported and where it occurs; and where it is built, `shape` for an input that does not fit.
 */
export function onnxModule(bytes: Uint8Array, options: OnnxOptions = {}): Module & { readonly model: OnnxModel } {
  const model = parseModel(bytes);
  requireKnown(model.nodes);
  return {
    kind: "onnx",
    model,
    build(to, input) {
      if (model.inputs.length === 0) throw new GraphError("structure", "the ONNX model has no input");
      const inputs = model.inputs.map(({ name }, index) => (index === 0 ? input : to.input(name)));
      return predictionOf(model, options, readOnnx(model, options, to, inputs));
    },
  };
}
