/** Modules that only move elements: other shapes, other orders of axes, parts, and several modules side by side. */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter, Module } from "./module.ts";
import { requireCount } from "./spatial.ts";

/** Most inputs of one Concat node. */
const MOST = 8;

/** Values side by side along an axis. */
export function concatenate(to: GraphWriter, values: readonly ValueId[], axis: number): ValueId {
  if (values.length === 1) return values[0];
  if (values.length <= MOST) return to.emit("Concat", values, { axis });
  const groups = Array.from({ length: Math.ceil(values.length / MOST) }, (_, index) =>
    concatenate(to, values.slice(index * MOST, (index + 1) * MOST), axis),
  );
  return concatenate(to, groups, axis);
}

/** [N, …] → [N, ...shape], elements in row-major order; −1 at most once, for what is left. */
export function reshape(...shape: readonly number[]): Module {
  if (!shape.every((size) => Number.isInteger(size) && (size > 0 || size === -1))) {
    throw new GraphError(
      "attribute",
      `reshape's sizes are [${shape.join(", ")}], expected positive integers or one −1`,
    );
  }
  return { kind: "reshape", build: (to, input) => to.emit("Reshape", [input], { shape: [0, ...shape] }) };
}

/** The axes in another order, as in PyTorch: 0 is the sample's and comes first, so `permute(0, 2, 1)` swaps the other two. */
export function permute(...axes: readonly number[]): Module {
  if (axes[0] !== 0) {
    throw new GraphError("attribute", `permute's axes are [${axes.join(", ")}], expected 0, the sample's axis, first`);
  }
  return { kind: "permute", build: (to, input) => to.emit("Transpose", [input], { perm: axes }) };
}

/** Elements `start` to before `end` of an axis, every `step`-th: x[:, start:end:step] in PyTorch for axis 1. */
export function slice(axis: number, start: number, end: number, step = 1): Module {
  requireCount("slice's axis", axis);
  requireCount("slice's step", step);
  return {
    kind: "slice",
    build: (to, input) => to.emit("Slice", [input], { starts: [start], ends: [end], axes: [axis], steps: [step] }),
  };
}

/**
 * Gives the same input to every module and puts their outputs side by side along the channels, axis 1; in all other axes they
 * agree. Parameters are named by index, as in PyTorch's ModuleList.
 */
export function parallel(...modules: readonly Module[]): Module {
  requireCount("the number of parallel modules", modules.length);
  return {
    kind: "parallel",
    build(to, input) {
      const outputs = modules.map((module, index) => to.within(String(index), () => module.build(to, input)));
      return concatenate(to, outputs, 1);
    },
  };
}
