/** Parts of tensors as gathered elements: nothing is copied unless it must be in memory. */

import type { OpAttributes } from "../../../shared/graph/ir.ts";
import { sameShape, type TensorType } from "../../../shared/graph/tensor.ts";
import { single } from "./coordinates.ts";
import type { Lowering, Shape, Value } from "./values.ts";

export function slice(
  to: Lowering,
  [x]: readonly Value[],
  attributes: OpAttributes["Slice"],
  { shape }: TensorType,
): Value {
  const { starts, axes, steps } = attributes;
  if (sameShape(x.shape, shape)) return x;
  return to.gather(`slice ${starts} ${axes} ${steps}`, x, shape, (coordinates) =>
    coordinates.map((coordinate, axis) => {
      const index = axes.indexOf(axis);
      if (index < 0 || shape[axis] === x.shape[axis]) return coordinate;
      return {
        text: `i32(${single(coordinate)}) * ${steps[index]} + ${starts[index]}`,
        divisor: 1,
        inside: true,
        ...(steps[index] === 1 && starts[index] >= 0 ? { moved: { at: coordinate, by: starts[index] } } : {}),
      };
    }),
  );
}

/** @param begins zeros before, by axis */
export function pad(to: Lowering, x: Value, shape: Shape, begins: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x;
  return to.gather(`pad ${begins.slice(0, shape.length)}`, x, shape, (coordinates) =>
    coordinates.map((coordinate, axis) =>
      shape[axis] === x.shape[axis]
        ? coordinate
        : { text: `i32(${single(coordinate)}) - ${begins[axis]}`, divisor: 1, inside: false },
    ),
  );
}
