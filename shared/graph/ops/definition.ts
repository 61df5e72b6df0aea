/**
 * What an op is: one entry with its attributes, shape rule, float64 forward and vector–Jacobian product. Its WGSL and ONNX
 * lowerings are registered beside the backends, keyed by the same names.
 */

import type * as v from "valibot";
import { GraphError } from "../error.ts";
import type { OpAttributes, OpName, ValueId } from "../ir.ts";
import type { Tensor, TensorType } from "../tensor.ts";

/** What dropout masks depend on besides the session's seed. */
export interface RunContext {
  readonly seed: number;
  readonly step: number;
  /** Position in the step's global batch of the micro-batch's first sample. */
  readonly position: number;
}

/** Where a VJP writes the backward pass: nodes appended to the graph being differentiated. */
export interface Emitter {
  emit<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId;
  constant(value: number): ValueId;
  typeOf(id: ValueId): TensorType;
  /**
   * Cotangents may be smaller than their value and stand for its broadcast (a sum's cotangent is one number for all its
   * terms). Ops that need every element ask for the whole shape.
   */
  expand(id: ValueId, shape: readonly number[]): ValueId;
  /** The cotangent of a value of `shape` that was broadcast to the cotangent's shape: sums over the repeated axes. */
  reduceTo(id: ValueId, shape: readonly number[]): ValueId;
}

export interface VjpArguments<Op extends OpName> {
  readonly to: Emitter;
  readonly inputs: readonly ValueId[];
  readonly output: ValueId;
  /** Cotangent of the output; may be smaller than the output and then stands for its broadcast. */
  readonly gradient: ValueId;
  readonly attributes: OpAttributes[Op];
}

export interface OpDefinition<Op extends OpName> {
  /** Fewest and most inputs. */
  readonly arity: readonly [number, number];
  readonly attributes: v.GenericSchema<unknown, OpAttributes[Op]>;
  /** Throws GraphError `shape`. */
  infer(inputs: readonly TensorType[], attributes: OpAttributes[Op], microBatch: number): TensorType;
  /** `type` is the inferred output. */
  forward(inputs: readonly Tensor[], attributes: OpAttributes[Op], type: TensorType, context: RunContext): Float64Array;
  /** One cotangent per input; null where there is none (integers, masks, piecewise constants). */
  vjp(args: VjpArguments<Op>): readonly (ValueId | null)[];
  /** What it costs, if that is not one operation an element; `scratch` is the elements an engine may hold meanwhile. */
  cost?(inputs: readonly TensorType[], attributes: OpAttributes[Op], type: TensorType): OpCost;
}

export interface OpCost {
  /** A multiply-add counts as two. */
  readonly flops: number;
  readonly scratch: number;
}

export const shapeError = (message: string): GraphError => new GraphError("shape", message);

export const show = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

export function requireFloat(inputs: readonly TensorType[]): void {
  for (const [index, { dtype }] of inputs.entries()) {
    if (dtype !== "float32") throw shapeError(`input ${index} is ${dtype}, expected float32`);
  }
}
