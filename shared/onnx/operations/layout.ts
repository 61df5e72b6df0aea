/** Ops that give the same elements another shape or order, or repeat them. */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import {
  axisOf,
  intAttribute,
  intsAttribute,
  permutationOf,
  squeezed,
  stringAttribute,
  unsqueezed,
} from "../folding.ts";
import { type Operands, type Operation, requireWithinSample, tableOf, upTo } from "./definition.ts";

/** Axes as an input since opset 13. */
const axesOf = ({ known, attributes }: Operands): readonly number[] | undefined => {
  const listed = known(1);
  return listed === undefined ? intsAttribute(attributes, "axes") : Array.from(listed.data);
};

const flatten: Operation = ({ to, attributes, raw, reshape }) => {
  const shape = to.shapeOf(raw(0));
  const at = intAttribute(attributes, "axis", 1);
  const axis = at === shape.length ? at : axisOf(at, shape.length);
  const size = (part: readonly number[]): number => part.reduce((product, next) => product * next, 1);
  return reshape(raw(0), [size(shape.slice(0, axis)), size(shape.slice(axis))]);
};

/** Repeats by an axis of its own before each. */
const tile: Operation = ({ to, value, known, reshape, expand }) => {
  const shape = to.shapeOf(value(0));
  const repeats = Array.from(known(1)?.data ?? []);
  if (repeats.length !== shape.length)
    throw new GraphError("shape", `${repeats.length} repeats for ${shape.length} axes`);
  const axes = repeats.flatMap((times, axis) => (times === 1 ? [] : [axis]));
  requireWithinSample(shape, axes, "repeats");
  const apart = (size: (axis: number) => number): number[] =>
    shape.flatMap((length, axis) => (repeats[axis] === 1 ? [length] : [size(axis), length]));
  const repeated = expand(
    reshape(
      value(0),
      apart(() => 1),
    ),
    apart((axis) => repeats[axis]),
  );
  return reshape(
    repeated,
    shape.map((size, axis) => size * repeats[axis]),
  );
};

/** A triangle of the last two axes; one beside the diagonal is cut out by ones and zeros. */
const trilu: Operation = ({ to, attributes, value, known, table }) => {
  const upper = intAttribute(attributes, "upper", 1) !== 0;
  const shift = known(1)?.data[0] ?? 0;
  const x = value(0);
  const [rows, columns] = to.shapeOf(x).slice(-2);
  if (to.shapeOf(x).length >= 2) requireWithinSample(to.shapeOf(x).slice(-2), [0, 1], "cuts a triangle");
  if (shift === 0) return to.emit("Trilu", [x], { upper });
  if (rows === undefined || columns === undefined) throw new GraphError("shape", "Trilu takes matrices");
  const kept = upTo(rows * columns).map((index) => {
    const beyond = (index % columns) - Math.floor(index / columns) - shift;
    return (upper ? beyond >= 0 : beyond <= 0) ? 1 : 0;
  });
  return to.emit("Mul", [x, table(tableOf([rows, columns], kept))], {});
};

/** Channels [N, C, H, W] to blocks of the plane, or the other way. */
function blocks(operands: Operands): { value: ValueId; shape: readonly number[]; block: number } {
  const { to, attributes, value } = operands;
  const shape = to.shapeOf(value(0));
  const block = intAttribute(attributes, "blocksize", 0);
  if (shape.length !== 4 || block < 1) throw new GraphError("shape", "it takes [N, C, H, W] and blocks of 1 and more");
  return { value: value(0), shape, block };
}

const depthToSpace: Operation = (operands) => {
  const { to, attributes, reshape } = operands;
  const { value, shape, block } = blocks(operands);
  const [samples, channels, height, width] = shape;
  const inner = channels / block ** 2;
  const isColumnFirst = stringAttribute(attributes, "mode", "DCR") === "CRD";
  const split = reshape(
    value,
    isColumnFirst ? [samples, inner, block, block, height, width] : [samples, block, block, inner, height, width],
  );
  const turned = to.emit("Transpose", [split], { perm: isColumnFirst ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2] });
  return reshape(turned, [samples, inner, height * block, width * block]);
};

const spaceToDepth: Operation = (operands) => {
  const { to, reshape } = operands;
  const { value, shape, block } = blocks(operands);
  const [samples, channels, height, width] = shape;
  const split = reshape(value, [samples, channels, height / block, block, width / block, block]);
  const turned = to.emit("Transpose", [split], { perm: [0, 3, 5, 1, 2, 4] });
  return reshape(turned, [samples, channels * block ** 2, height / block, width / block]);
};

export const layouts: Readonly<Record<string, Operation>> = {
  DepthToSpace: depthToSpace,
  Expand: ({ value, known, expand }) => expand(value(0), Array.from(known(1)?.data ?? [])),
  Flatten: flatten,
  Reshape: ({ attributes, raw, known, reshapeAsSaid }) =>
    reshapeAsSaid(raw(0), Array.from(known(1)?.data ?? []), intAttribute(attributes, "allowzero", 0) !== 0),
  SpaceToDepth: spaceToDepth,
  Squeeze: (operands) => {
    const x = operands.raw(0);
    return operands.reshape(x, squeezed(operands.to.shapeOf(x), axesOf(operands)));
  },
  Tile: tile,
  Transpose({ to, attributes, value }) {
    const perm = permutationOf(intsAttribute(attributes, "perm"), to.shapeOf(value(0)).length);
    return to.emit("Transpose", [value(0)], { perm });
  },
  Trilu: trilu,
  Unsqueeze: (operands) => {
    const x = operands.raw(0);
    return operands.reshape(x, unsqueezed(operands.to.shapeOf(x), axesOf(operands) ?? []));
  },
};
