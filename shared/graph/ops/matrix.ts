/** Matrix products. */

import * as v from "valibot";
import { broadcast, broadcastStrides, sameShape, walk } from "../tensor.ts";
import { type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";

/** Y = A′·B′ (+ C), with A′ [rows, inner] and B′ [inner, columns]; ONNX Gemm with alpha = beta = 1. */
const gemm: OpDefinition<"Gemm"> = {
  arity: [2, 3],
  attributes: v.strictObject({ transA: v.boolean(), transB: v.boolean() }),

  infer(inputs, { transA, transB }) {
    requireFloat(inputs);
    const [a, b, c] = inputs;
    if (a.shape.length !== 2 || b.shape.length !== 2) {
      throw shapeError(`Gemm takes matrices, got ${show(a.shape)} and ${show(b.shape)}`);
    }
    const [rows, inner] = transA ? [a.shape[1], a.shape[0]] : a.shape;
    const [height, columns] = transB ? [b.shape[1], b.shape[0]] : b.shape;
    if (inner !== height)
      throw shapeError(`inner sizes differ: ${inner} of ${show(a.shape)}, ${height} of ${show(b.shape)}`);
    const shape = [rows, columns];
    if (c !== undefined && !sameShape(broadcast(c.shape, shape) ?? [], shape)) {
      throw shapeError(`C of shape ${show(c.shape)} does not broadcast to ${show(shape)}`);
    }
    return { dtype: "float32", shape };
  },

  forward([a, b, c], { transA, transB }, { shape: [rows, columns] }) {
    const inner = transA ? a.shape[0] : a.shape[1];
    const [aRow, aInner] = transA ? [1, rows] : [inner, 1];
    const [bInner, bColumn] = transB ? [1, inner] : [columns, 1];
    const out = new Float64Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          sum += a.data[row * aRow + k * aInner] * b.data[k * bInner + column * bColumn];
        }
        out[row * columns + column] = sum;
      }
    }
    if (c !== undefined) {
      walk([rows, columns], broadcastStrides(c.shape, [rows, columns]), (index, offset) => {
        out[index] += c.data[offset];
      });
    }
    return out;
  },

  // dA′ = dY·B′ᵀ and dB′ = A′ᵀ·dY, each written so that no transpose is ever materialised.
  vjp({ to, inputs: [a, b, c], output, gradient, attributes: { transA, transB } }) {
    const dy = to.expand(gradient, to.typeOf(output).shape);
    const da = transA
      ? to.emit("Gemm", [b, dy], { transA: transB, transB: true })
      : to.emit("Gemm", [dy, b], { transA: false, transB: !transB });
    const db = transB
      ? to.emit("Gemm", [dy, a], { transA: true, transB: transA })
      : to.emit("Gemm", [a, dy], { transA: !transA, transB: false });
    return c === undefined ? [da, db] : [da, db, to.reduceTo(dy, to.typeOf(c).shape)];
  },
};

export const matrix = { Gemm: gemm } as const;
