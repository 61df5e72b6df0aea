/**
 * Modules as in PyTorch: values that know their parameters and how to add their nodes to a graph. A module is only a
 * description; the same one may be built into several graphs.
 */

import { GraphError } from "../graph/error.ts";
import type { DType, Node, OpAttributes, OpName, Parameter, ValueId } from "../graph/ir.ts";
import { alignUp } from "../graph/parameters.ts";
import { inferNode } from "../graph/shapes.ts";
import { sameShape, sizeOf, type TensorType } from "../graph/tensor.ts";

/** What a module writes into while a graph is built. */
export interface GraphWriter {
  emit<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId;
  constant(value: number): ValueId;
  /** A trainable parameter, named after the module's path. */
  parameter(name: string, shape: readonly number[], init: Parameter["init"]): ValueId;
  /** A parameter that training leaves as it is, such as a frozen statistic. */
  buffer(name: string, shape: readonly number[], init: Parameter["init"]): ValueId;
  /** Notes that a weight is the module's, so that others may be tied to it; returns the weight. */
  own(module: Module, weight: ValueId): ValueId;
  /** The weight that a module built before owns, under a further name. Throws GraphError where there is none of this shape. */
  alias(owner: Module, name: string, shape: readonly number[]): ValueId;
  /** One of the model's inputs by its name. Throws GraphError where there is none. */
  input(name: string): ValueId;
  dtypeOf(id: ValueId): DType;
  /** Shape with the micro-batch size bound to `TRACE_BATCH`. */
  shapeOf(id: ValueId): readonly number[];
  /** A number of its own for each dropout layer. */
  nextLayer(): number;
  /** Runs `build` with a name appended to the module path, as PyTorch's Sequential does with its indices. */
  within<T>(name: string, build: () => T): T;
  /** Where the writer is, for error messages: `0.1 (linear)`. */
  readonly path: string;
}

/** A layer, or layers in a row. The functions of `nn` return the ones there are. */
export interface Module {
  readonly kind: string;
  /** Adds the module's nodes; returns its output. Throws GraphError `shape` naming the layer. */
  build(to: GraphWriter, input: ValueId): ValueId;
}

/** Builds a module that is part of another one, under its name there. */
export const buildChild = (to: GraphWriter, module: Module, name: string, input: ValueId): ValueId =>
  to.within(name, () => module.build(to, input));

/** Micro-batch size while shapes are traced: a prime that no sensible layer has, so that mistakes with N show. */
export const TRACE_BATCH = 7919;

/** Collects inputs, parameters and nodes; values are numbered once all are known. */
export class Tracer implements GraphWriter {
  readonly parameters: Parameter[] = [];
  readonly nodes: Node[] = [];
  /** By provisional id. */
  readonly #types = new Map<ValueId, TensorType>();
  /** Names of the inputs that modules may read. */
  readonly #names: readonly string[];
  readonly #inputs: number;
  /** Number of the parameter that a module owns. */
  readonly #owned = new Map<Module, number>();
  readonly #constants = new Map<number, ValueId>();
  readonly #path: string[] = [];
  #layers = 0;
  #end = 0;

  /** @param names of the first inputs, the model's own; targets and weights come after them */
  constructor(inputs: readonly TensorType[], names: readonly string[] = []) {
    this.#names = names;
    this.#inputs = inputs.length;
    for (const [index, type] of inputs.entries()) this.#types.set(index, type);
  }

  get path(): string {
    return this.#path.join(".");
  }

  emit<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId {
    const node = { op, inputs, attributes } as unknown as Node;
    const types = inputs.map((id) => this.#typeOf(id));
    let type: TensorType;
    try {
      type = inferNode(node, this.nodes.length, types, TRACE_BATCH);
    } catch (error) {
      if (!(error instanceof GraphError)) throw error;
      const where = this.path === "" ? "the loss" : `layer ${this.path}`;
      throw new GraphError(error.code, `${where}: ${error.message.replaceAll(String(TRACE_BATCH), "N")}`);
    }
    this.nodes.push(node);
    const id = NODE + this.nodes.length - 1;
    this.#types.set(id, type);
    return id;
  }

  constant(value: number): ValueId {
    const held = this.#constants.get(value) ?? this.emit("Constant", [], { value });
    this.#constants.set(value, held);
    return held;
  }

  parameter(name: string, shape: readonly number[], init: Parameter["init"]): ValueId {
    return this.#store(name, shape, init, true);
  }

  buffer(name: string, shape: readonly number[], init: Parameter["init"]): ValueId {
    return this.#store(name, shape, init, false);
  }

  own(module: Module, weight: ValueId): ValueId {
    if (!this.#owned.has(module)) this.#owned.set(module, weight - PARAMETER);
    return weight;
  }

  alias(owner: Module, name: string, shape: readonly number[]): ValueId {
    const index = this.#owned.get(owner);
    const full = this.#named(name);
    if (index === undefined) {
      throw new GraphError(
        "structure",
        `${full} is tied to the weight of a ${owner.kind} that does not come before it`,
      );
    }
    const held = this.parameters[index];
    if (!sameShape(held.shape, shape)) {
      throw new GraphError("shape", `${full} is [${shape}], and ${held.name}, which it is tied to, [${held.shape}]`);
    }
    this.parameters[index] = { ...held, aliases: [...(held.aliases ?? []), full] };
    return PARAMETER + index;
  }

  input(name: string): ValueId {
    const index = this.#names.indexOf(name);
    if (index < 0) {
      throw new GraphError(
        "structure",
        `layer ${this.path}: the model has no input ${name}; there are ${this.#names.join(", ")}`,
      );
    }
    return index;
  }

  dtypeOf(id: ValueId): DType {
    return this.#typeOf(id).dtype;
  }

  #named(name: string): string {
    return [...this.#path, name].join(".");
  }

  #store(name: string, shape: readonly number[], init: Parameter["init"], trainable: boolean): ValueId {
    this.parameters.push({ name: this.#named(name), shape, offset: this.#end, trainable, init });
    this.#end = alignUp(this.#end + sizeOf(shape));
    const id = PARAMETER + this.parameters.length - 1;
    this.#types.set(id, { dtype: "float32", shape });
    return id;
  }

  shapeOf(id: ValueId): readonly number[] {
    return this.#typeOf(id).shape;
  }

  nextLayer(): number {
    return this.#layers++;
  }

  within<T>(name: string, build: () => T): T {
    this.#path.push(name);
    try {
      return build();
    } finally {
      this.#path.pop();
    }
  }

  /** The number that a provisional id has in the finished graph. */
  number(id: ValueId): ValueId {
    if (id >= NODE) return this.#inputs + this.parameters.length + id - NODE;
    return id >= PARAMETER ? this.#inputs + id - PARAMETER : id;
  }

  #typeOf(id: ValueId): TensorType {
    const type = this.#types.get(id);
    if (type === undefined) throw new GraphError("structure", `value ${id} belongs to another graph`);
    return type;
  }
}

/** Provisional ids: inputs from 0, parameters and nodes from here, because their numbers are not known while tracing. */
const PARAMETER = 2 ** 20;
const NODE = 2 ** 30;
