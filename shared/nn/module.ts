/**
 * Modules as in PyTorch: values that know their parameters and how to add their nodes to a graph. A module is only a
 * description; the same one may be built into several graphs.
 */

import { GraphError } from "../graph/error.ts";
import type { Node, OpAttributes, OpName, Parameter, ValueId } from "../graph/ir.ts";
import { alignUp } from "../graph/parameters.ts";
import { inferNode } from "../graph/shapes.ts";
import { sizeOf, type TensorType } from "../graph/tensor.ts";

/** What a module writes into while a graph is built. */
export interface GraphWriter {
  emit<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId;
  constant(value: number): ValueId;
  /** A trainable parameter, named after the module's path. */
  parameter(name: string, shape: readonly number[], init: Parameter["init"]): ValueId;
  /** A value that goes along with the parameters and is not trained, such as a running mean. */
  buffer(name: string, shape: readonly number[], init: Parameter["init"]): ValueId;
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

/** Micro-batch size while shapes are traced: a prime that no sensible layer has, so that mistakes with N show. */
export const TRACE_BATCH = 7919;

/** Collects inputs, parameters and nodes; values are numbered once all are known. */
export class Tracer implements GraphWriter {
  readonly parameters: Parameter[] = [];
  readonly nodes: Node[] = [];
  /** By provisional id. */
  readonly #types = new Map<ValueId, TensorType>();
  readonly #inputs: number;
  readonly #constants = new Map<number, ValueId>();
  readonly #path: string[] = [];
  #layers = 0;
  #end = 0;

  constructor(inputs: readonly TensorType[]) {
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
    return this.#hold(name, shape, init, true);
  }

  buffer(name: string, shape: readonly number[], init: Parameter["init"]): ValueId {
    return this.#hold(name, shape, init, false);
  }

  #hold(name: string, shape: readonly number[], init: Parameter["init"], trainable: boolean): ValueId {
    const full = [...this.#path, name].join(".");
    this.parameters.push({ name: full, shape, offset: this.#end, trainable, init });
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
