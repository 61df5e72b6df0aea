/**
 * Rows of a table by index, for embeddings, and the sums of rows by index that are its adjoint. Neither ever holds a
 * matrix of ones and zeros [indices, depth], which for a large vocabulary would be most of the memory.
 */

import * as v from "valibot";
import { sizeOf } from "../tensor.ts";
import { type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";

const MAX_RANK = 8;

const gather: OpDefinition<"Gather"> = {
  arity: [2, 2],
  attributes: v.strictObject({}),
  infer([table, indices]) {
    requireFloat([table]);
    if (table.shape.length === 0) throw shapeError("Gather takes rows of a table, got a scalar");
    if (indices.dtype !== "int32") throw shapeError(`Gather takes int32 indices, got ${indices.dtype}`);
    const shape = [...indices.shape, ...table.shape.slice(1)];
    if (shape.length > MAX_RANK) throw shapeError(`${show(shape)} has more than ${MAX_RANK} axes`);
    return { dtype: "float32", shape };
  },
  forward([table, indices]) {
    const width = sizeOf(table.shape.slice(1));
    const out = new Float64Array(indices.data.length * width);
    for (const [at, index] of indices.data.entries()) {
      if (index >= 0 && index < table.shape[0]) {
        out.set(table.data.subarray(index * width, (index + 1) * width), at * width);
      }
    }
    return out;
  },
  vjp({ to, inputs: [table, indices], output, gradient }) {
    const rows = to.expand(gradient, to.typeOf(output).shape);
    return [to.emit("GatherGrad", [indices, rows], { depth: to.typeOf(table).shape[0] }), null];
  },
};

const gatherGrad: OpDefinition<"GatherGrad"> = {
  arity: [2, 2],
  attributes: v.strictObject({ depth: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 31 - 1)) }),
  infer([indices, rows], { depth }) {
    requireFloat([rows]);
    if (indices.dtype !== "int32") throw shapeError(`GatherGrad takes int32 indices, got ${indices.dtype}`);
    const rank = indices.shape.length;
    if (indices.shape.some((size, axis) => rows.shape[axis] !== size)) {
      throw shapeError(`rows ${show(rows.shape)} do not begin with the indices' axes ${show(indices.shape)}`);
    }
    return { dtype: "float32", shape: [depth, ...rows.shape.slice(rank)] };
  },
  forward([indices, rows], { depth }, { shape }) {
    const width = sizeOf(shape.slice(1));
    const out = new Float64Array(depth * width);
    for (const [at, index] of indices.data.entries()) {
      if (index < 0 || index >= depth) continue;
      for (let column = 0; column < width; column++) out[index * width + column] += rows.data[at * width + column];
    }
    return out;
  },
  vjp: ({ to, inputs: [indices], output, gradient }) => [
    null,
    to.emit("Gather", [to.expand(gradient, to.typeOf(output).shape), indices], {}),
  ],
};

export const indexing = { Gather: gather, GatherGrad: gatherGrad } as const;
