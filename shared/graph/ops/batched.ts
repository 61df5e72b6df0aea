/** Many matrices at once: products of stacks of matrices, as attention has them, and triangles. */

import * as v from "valibot";
import type { ValueId } from "../ir.ts";
import { broadcast, broadcastStrides, sizeOf, walk } from "../tensor.ts";
import { type Emitter, type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";

/** The axes before a matrix's own two. */
const leading = (shape: readonly number[]): readonly number[] => shape.slice(0, -2);

function requireMatrices(op: string, shapes: readonly (readonly number[])[]): void {
  for (const shape of shapes) {
    if (shape.length < 2) throw shapeError(`${op} takes matrices or stacks of them, got ${show(shape)}`);
  }
}

/** The transpose of each matrix of a stack. */
function transposed(to: Emitter, id: ValueId): ValueId {
  const rank = to.typeOf(id).shape.length;
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  return to.emit("Transpose", [id], { perm: [...perm.slice(0, -2), rank - 1, rank - 2] });
}

const matMul: OpDefinition<"MatMul"> = {
  arity: [2, 2],
  attributes: v.strictObject({}),

  infer(inputs) {
    requireFloat(inputs);
    const [a, b] = inputs.map(({ shape }) => shape);
    requireMatrices("MatMul", [a, b]);
    const [rows, inner] = a.slice(-2);
    const [height, columns] = b.slice(-2);
    if (inner !== height) throw shapeError(`inner sizes differ: ${inner} of ${show(a)}, ${height} of ${show(b)}`);
    const lead = broadcast(leading(a), leading(b));
    if (lead === null) throw shapeError(`the leading axes of ${show(a)} and ${show(b)} do not broadcast`);
    if (lead.length > 6) throw shapeError(`${show(a)} and ${show(b)} have more than 6 leading axes`);
    return { dtype: "float32", shape: [...lead, rows, columns] };
  },

  forward([a, b], _, { shape }) {
    const lead = leading(shape);
    const [rows, columns] = shape.slice(-2);
    const inner = a.shape[a.shape.length - 1];
    const out = new Float64Array(sizeOf(shape));
    const first = new Float64Array(sizeOf(lead));
    walk(lead, broadcastStrides(leading(a.shape), lead), (stack, matrix) => {
      first[stack] = matrix;
    });
    walk(lead, broadcastStrides(leading(b.shape), lead), (stack, matrix) => {
      const aStart = first[stack] * rows * inner;
      const bStart = matrix * inner * columns;
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          let sum = 0;
          for (let k = 0; k < inner; k++) {
            sum += a.data[aStart + row * inner + k] * b.data[bStart + k * columns + column];
          }
          out[(stack * rows + row) * columns + column] = sum;
        }
      }
    });
    return out;
  },

  // dA = dY·Bᵀ and dB = Aᵀ·dY, summed over the axes that were repeated.
  vjp({ to, inputs: [a, b], output, gradient }) {
    const dy = to.expand(gradient, to.typeOf(output).shape);
    const da = to.emit("MatMul", [dy, transposed(to, b)], {});
    const db = to.emit("MatMul", [transposed(to, a), dy], {});
    return [to.reduceTo(da, to.typeOf(a).shape), to.reduceTo(db, to.typeOf(b).shape)];
  },
};

const trilu: OpDefinition<"Trilu"> = {
  arity: [1, 1],
  attributes: v.strictObject({ upper: v.boolean() }),
  infer([x]) {
    requireFloat([x]);
    requireMatrices("Trilu", [x.shape]);
    return x;
  },
  forward([x], { upper }) {
    const [rows, columns] = x.shape.slice(-2);
    return x.data.map((value, index) => {
      const [row, column] = [Math.floor(index / columns) % rows, index % columns];
      return (upper ? column >= row : column <= row) ? value : 0;
    });
  },
  vjp: ({ to, output, gradient, attributes }) => [
    to.emit("Trilu", [to.expand(gradient, to.typeOf(output).shape)], attributes),
  ],
};

export const batched = { MatMul: matMul, Trilu: trilu } as const;
