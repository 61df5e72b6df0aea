/** Ops without inputs: constants and dropout masks. */

import * as v from "valibot";
import { fillDropoutMask } from "../../random/index.ts";
import { sizeOf } from "../tensor.ts";
import type { OpDefinition } from "./definition.ts";

const constantValue = v.pipe(v.number(), v.finite(), v.minValue(-3.4e38), v.maxValue(3.4e38));

const constant: OpDefinition<"Constant"> = {
  arity: [0, 0],
  attributes: v.strictObject({ value: constantValue }),
  infer: () => ({ dtype: "float32", shape: [] }),
  forward: (_, { value }) => Float64Array.of(value),
  vjp: () => [],
};

/** Classes that a constant can have a number for: it is written out in generated shaders. */
const LONGEST_VECTOR = 1_024;

const constantVector: OpDefinition<"ConstantVector"> = {
  arity: [0, 0],
  attributes: v.strictObject({
    values: v.pipe(v.array(constantValue), v.minLength(1), v.maxLength(LONGEST_VECTOR)),
  }),
  infer: (_, { values }) => ({ dtype: "float32", shape: [values.length] }),
  forward: (_, { values }) => Float64Array.from(values),
  vjp: () => [],
};

const dropoutMask: OpDefinition<"DropoutMask"> = {
  arity: [0, 0],
  attributes: v.strictObject({
    probability: v.pipe(v.number(), v.minValue(0), v.maxValue(0.999)),
    layer: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff)),
    shape: v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(1))), v.maxLength(7)),
  }),
  infer: (_, { shape }, microBatch) => ({ dtype: "float32", shape: [microBatch, ...shape] }),
  forward(_, { probability, layer, shape }, type, { seed, step, position }) {
    const mask = new Float32Array(sizeOf(type.shape));
    fillDropoutMask(seed, step, layer, probability, position, type.shape[0], sizeOf(shape), mask);
    return Float64Array.from(mask);
  },
  vjp: () => [],
};

export const source = { Constant: constant, ConstantVector: constantVector, DropoutMask: dropoutMask } as const;
