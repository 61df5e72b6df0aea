/** Normalizations: over a sample's own axes, or with frozen statistics. */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import { axisOf, floatAttribute, intAttribute } from "../folding.ts";
import { type Operands, type Operation, requireWithinSample, writing } from "./definition.ts";

const epsilonOf = ({ attributes }: Operands): number => floatAttribute(attributes, "epsilon", 1e-5);

/** (x − mean) / √(variance + epsilon) over axes, with the mean and the inverse deviation. */
function standardized(operands: Operands, x: ValueId, axes: readonly number[]) {
  const { add, div, mean, mul, number, sqrt, sub } = writing(operands.to);
  requireWithinSample(operands.to.shapeOf(x), axes, "normalises");
  const average = mean(x, axes);
  const centred = sub(x, average);
  const variance = mean(mul(centred, centred), axes);
  const inverse = div(number(1), sqrt(add(variance, number(epsilonOf(operands)))));
  return { normal: mul(centred, inverse), average, inverse };
}

/** [C] → [C, 1, …], so that it broadcasts over the axes behind the channels of a value of `rank`. */
function perChannel({ to, reshape }: Operands, id: ValueId, rank: number): ValueId {
  if (rank <= 2) return id;
  return reshape(id, [to.shapeOf(id)[0], ...new Array<number>(rank - 2).fill(1)]);
}

/** With the statistics that were measured while it was trained: a scale and a shift. */
const batchNormalization: Operation = (operands) => {
  const { to, attributes, value, buffer } = operands;
  if (intAttribute(attributes, "training_mode", 0) !== 0) {
    throw new GraphError("attribute", "it takes its statistics from the batch: export the model after model.eval()");
  }
  const { add, div, mul, number, sqrt, sub } = writing(to);
  const { length: rank } = to.shapeOf(value(0));
  const shaped = (id: ValueId): ValueId => perChannel(operands, id, rank);
  const deviation = sqrt(add(buffer(4), number(epsilonOf(operands))));
  const centred = sub(value(0), shaped(buffer(3)));
  return add(mul(centred, shaped(div(value(1), deviation))), shaped(value(2)));
};

/** Over the axes from `axis` on; its further outputs are the mean and the inverse deviation. */
const layerNormalization: Operation = (operands) => {
  const { to, attributes, value, has } = operands;
  const { add, mul } = writing(to);
  const { length: rank } = to.shapeOf(value(0));
  const first = axisOf(intAttribute(attributes, "axis", -1), rank);
  const axes = Array.from({ length: rank - first }, (_, index) => first + index);
  const { normal, average, inverse } = standardized(operands, value(0), axes);
  const scaled = mul(normal, value(1));
  return [has(2) ? add(scaled, value(2)) : scaled, average, inverse];
};

const instanceNormalization: Operation = (operands) => {
  const { to, value } = operands;
  const { add, mul } = writing(to);
  const { length: rank } = to.shapeOf(value(0));
  if (rank < 3) throw new GraphError("shape", "it normalises over spatial axes, and there are none");
  const axes = Array.from({ length: rank - 2 }, (_, index) => index + 2);
  const { normal } = standardized(operands, value(0), axes);
  return add(mul(normal, perChannel(operands, value(1), rank)), perChannel(operands, value(2), rank));
};

/** Until opset 20 scale and shift are one number a group, and one a channel after it. */
const groupNormalization: Operation = (operands) => {
  const { to, attributes, value, reshape } = operands;
  const { add, mul } = writing(to);
  const shape = to.shapeOf(value(0));
  const [samples, channels] = shape;
  const groups = intAttribute(attributes, "num_groups", 0);
  if (!(groups > 0 && channels % groups === 0)) {
    throw new GraphError("attribute", `${channels} channels are not divisible into ${groups} groups`);
  }
  const grouped = reshape(value(0), [samples, groups, -1]);
  const { normal } = standardized(operands, grouped, [2]);
  const [scale] = to.shapeOf(value(1));
  if (scale === channels) {
    const whole = reshape(normal, shape);
    const shaped = (index: number): ValueId => perChannel(operands, value(index), shape.length);
    return add(mul(whole, shaped(1)), shaped(2));
  }
  return reshape(add(mul(normal, reshape(value(1), [groups, 1])), reshape(value(2), [groups, 1])), shape);
};

export const normalizations: Readonly<Record<string, Operation>> = {
  BatchNormalization: batchNormalization,
  GroupNormalization: groupNormalization,
  InstanceNormalization: instanceNormalization,
  LayerNormalization: layerNormalization,
};
