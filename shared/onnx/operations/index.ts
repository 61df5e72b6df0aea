/**
 * ONNX's ops as nodes of the IR: one entry an op. What the IR has under the same name is one word; the others are written
 * out in ops that it has. https://onnx.ai/onnx/operators/
 */

import type { Operation } from "./definition.ts";
import { elementwise } from "./elementwise.ts";
import { layouts } from "./layout.ts";
import { normalizations } from "./normalization.ts";
import { parts } from "./parts.ts";
import { products } from "./product.ts";
import { globalPools, reductions } from "./reduction.ts";
import { windowOperations } from "./windows.ts";

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...elementwise,
  ...reductions,
  ...globalPools,
  ...products,
  ...normalizations,
  ...windowOperations,
  ...layouts,
  ...parts,
};

export type { Matrix, Operands, Operation } from "./definition.ts";
