/**
 * jax-js, as its documentation writes a training step: `jit(valueAndGrad(loss))`. Weights stay on its device; the batch
 * goes there with every step, and a step ends when loss and gradients are ready.
 */

import {
  blockUntilReady,
  type Device,
  defaultDevice,
  init,
  type Array as JaxArray,
  jit,
  lax,
  nn,
  numpy,
  valueAndGrad,
} from "@jax-js/jax";
import { flatGradient, linearTransposed, parametersFor } from "../engine/contestants/parameters.ts";
import type { CreateStepper } from "../engine/trial.ts";
import type { Network, Problem } from "../engine/workloads.ts";
import { Refusal } from "../harness/race.ts";

type Predict = (parameters: readonly JaxArray[], x: JaxArray) => JaxArray;

/** [rows, in] · [in, out] + [out] */
const linear = (x: JaxArray, weight: JaxArray, bias: JaxArray): JaxArray => numpy.matmul(x, weight).add(bias);

const perceptron: Predict = (parameters, x) => {
  let h = x;
  for (let at = 0; at < parameters.length; at += 2) {
    if (at > 0) h = nn.relu(h);
    h = linear(h, parameters[at], parameters[at + 1]);
  }
  return h;
};

const pool = (x: JaxArray): JaxArray => lax.reduceWindow(x, (window) => window.max(), [2, 2], [2, 2]);

const convolve = (x: JaxArray, kernel: JaxArray, bias: JaxArray, channels: number, padding: number): JaxArray => {
  const pads = [padding, padding] as const;
  return lax.convGeneralDilated(x, kernel, [1, 1], [pads, pads]).add(bias.reshape([channels, 1, 1]));
};

const convolutional: Predict = ([kernel1, bias1, kernel2, bias2, ...rest], x) => {
  const first = pool(nn.relu(convolve(x, kernel1, bias1, 6, 2)));
  const second = pool(nn.relu(convolve(first, kernel2, bias2, 16, 0))); // [N, 16, 5, 5]
  return perceptron(rest, second.reshape([-1, 400]));
};

const EPSILON = 1e-5;
const BLOCK_PARAMETERS = 12;

const normalize = (x: JaxArray, weight: JaxArray, bias: JaxArray): JaxArray =>
  nn.standardize(x, -1, { epsilon: EPSILON }).mul(weight).add(bias);

const transformer =
  ({ width, heads, context, vocabulary }: Extract<Network, { kind: "gpt" }>): Predict =>
  ([tokens, positions, ...rest], x) => {
    let h = numpy.matmul(nn.oneHot(x, vocabulary), tokens).add(positions); // [N, T, E]
    const last = rest.slice(-4);
    for (let at = 0; at + BLOCK_PARAMETERS <= rest.length - last.length; at += BLOCK_PARAMETERS) {
      const [norm1, shift1, inWeight, inBias, outWeight, outBias, norm2, shift2, up, upBias, down, downBias] =
        rest.slice(at, at + BLOCK_PARAMETERS);
      const projected = linear(normalize(h.ref, norm1, shift1), inWeight, inBias); // [N, T, 3·E]
      const [query, key, value] = numpy
        .split(projected, 3, 2)
        .map((part) => part.reshape([-1, context, heads, width / heads]));
      const mixed = nn.dotProductAttention(query, key, value, { isCausal: true }).reshape([-1, context, width]);
      h = h.add(linear(mixed, outWeight, outBias));
      const inner = nn.gelu(linear(normalize(h.ref, norm2, shift2), up, upBias), { approximate: false });
      h = h.add(linear(inner, down, downBias));
    }
    const [norm, shift, weight, bias] = last;
    return linear(normalize(h, norm, shift), weight, bias); // [N, T, V]
  };

function predictorOf({ network }: Problem): { predict: Predict; classes: number } {
  switch (network.kind) {
    case "mlp":
      return { predict: perceptron, classes: network.sizes[network.sizes.length - 1] };
    case "cnn":
      return { predict: convolutional, classes: 10 };
    case "gpt":
      return { predict: transformer(network), classes: network.vocabulary };
    default:
      return network satisfies never;
  }
}

export const createJaxStepper =
  (device: Device): CreateStepper =>
  async (problem) => {
    const found = await init(device);
    if (!found.includes(device)) throw new Refusal("unavailable", `jax-js offers no ${device} here`);
    defaultDevice(device);
    const { predict, classes } = predictorOf(problem);
    const layouts = linearTransposed(problem);
    const place = (name: string): JaxArray => {
      const { dtype, shape } = problem.graph.inputs.find((input) => input.name === name) ?? { dtype: "", shape: [] };
      const sizes = shape.map((size) => (size === "N" ? problem.batch : size));
      return numpy.array(problem.inputs[name] as Float32Array, {
        shape: sizes,
        dtype: numpy[dtype === "int32" ? "int32" : "float32"],
        device,
      });
    };
    const compute = jit(
      valueAndGrad((parameters, x: JaxArray, y: JaxArray) =>
        nn.logSoftmax(predict(parameters, x), -1).mul(nn.oneHot(y, classes)).sum().neg(),
      ),
      { device },
    );
    const parameters = parametersFor(problem, layouts).map(({ values, shape }) =>
      numpy.array(values, { shape, dtype: numpy.float32, device }),
    );
    let gradients: readonly JaxArray[] = [];
    return {
      async step() {
        defaultDevice(device);
        for (const held of gradients) held.dispose();
        const [loss, found] = compute(
          parameters.map((parameter) => parameter.ref),
          place("x"),
          place("y"),
        );
        gradients = found;
        await blockUntilReady([loss, found]);
        loss.dispose();
      },
      async gradient() {
        const values = await Promise.all(gradients.map((gradient) => gradient.ref.data()));
        return flatGradient(problem, layouts, values);
      },
    };
  };
