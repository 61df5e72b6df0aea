/** Matrix products. */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import { floatAttribute, intAttribute } from "../folding.ts";
import { type Operands, type Operation, writing } from "./definition.ts";

/** Stacks of rows times one matrix: one product of all rows, whose weight may lie as PyTorch has it. */
function rowsTimesMatrix({ to, value, matrix, reshape }: Operands): ValueId {
  const shape = to.shapeOf(value(0));
  const { id, isTransposed } = matrix(1);
  const right = to.shapeOf(id);
  const rows = shape.length === 2 ? value(0) : reshape(value(0), [-1, shape[shape.length - 1]]);
  const y = to.emit("Gemm", [rows, id], { transA: false, transB: isTransposed });
  if (shape.length === 2) return y;
  return reshape(y, [...shape.slice(0, -1), isTransposed ? right[0] : right[1]]);
}

/** As NumPy's matmul: a list is a row on the left and a column on the right, and what it became is taken out again. */
const matMul: Operation = (operands) => {
  const { to, value, matrix, reshape } = operands;
  const [left, right] = [to.shapeOf(value(0)), to.shapeOf(matrix(1).id)];
  if (left.length === 0 || right.length === 0)
    throw new GraphError("shape", "a product takes lists and matrices, got a number");
  if (right.length === 2 && left.length >= 2) return rowsTimesMatrix(operands);
  const a = left.length === 1 ? reshape(value(0), [1, left[0]]) : value(0);
  const b = right.length === 1 ? reshape(value(1), [right[0], 1]) : value(1);
  const y = to.emit("MatMul", [a, b], {});
  if (left.length > 1 && right.length > 1) return y;
  const shape = to.shapeOf(y);
  const lead = shape.slice(0, -2);
  const [rows, columns] = shape.slice(-2);
  return reshape(y, [...lead, ...(left.length === 1 ? [] : [rows]), ...(right.length === 1 ? [] : [columns])]);
};

/** alpha·A′·B′ + beta·C */
const gemm: Operation = ({ to, attributes, value, matrix, has }) => {
  const { add, mul, number } = writing(to);
  const [alpha, beta] = ["alpha", "beta"].map((name) => floatAttribute(attributes, name, 1));
  const { id, isTransposed } = matrix(1);
  const flags = {
    transA: intAttribute(attributes, "transA", 0) !== 0,
    transB: (intAttribute(attributes, "transB", 0) !== 0) !== isTransposed,
  };
  if (alpha === 1 && beta === 1) return to.emit("Gemm", has(2) ? [value(0), id, value(2)] : [value(0), id], flags);
  const scaled = mul(to.emit("Gemm", [value(0), id], flags), number(alpha));
  return has(2) ? add(scaled, mul(value(2), number(beta))) : scaled;
};

export const products: Readonly<Record<string, Operation>> = { Gemm: gemm, MatMul: matMul };
