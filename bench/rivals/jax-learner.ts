/**
 * jax-js trains: gradients and Adam compiled into one function, everything on its WASM device, which takes all cores where a page
 * is isolated.
 */

import {
  blockUntilReady,
  defaultDevice,
  init,
  type Array as JaxArray,
  jit,
  nn,
  numpy,
  valueAndGrad,
} from "@jax-js/jax";
import type { CreateLearner } from "../end-to-end/page/trainer.ts";
import { Refusal } from "../harness/race.ts";

/** PyTorch's defaults, and ours. */
const BETA_1 = 0.9;
const BETA_2 = 0.999;
const EPS = 1e-8;

const PIXELS = 784;
const CLASSES = 10;

type Arrays = readonly JaxArray[];

const predict = (parameters: Arrays, x: JaxArray): JaxArray => {
  let h = x;
  for (let at = 0; at < parameters.length; at += 2) {
    if (at > 0) h = nn.relu(h);
    h = numpy.matmul(h, parameters[at]).add(parameters[at + 1]);
  }
  return h;
};

const lossOf = (parameters: Arrays, x: JaxArray, y: JaxArray, scale: JaxArray): JaxArray =>
  nn.logSoftmax(predict(parameters, x), -1).mul(nn.oneHot(y, CLASSES)).sum().neg().mul(scale);

/** Parameters, first moments and second moments, one after another, and then again after the step. */
function stepOf(state: Arrays, x: JaxArray, y: JaxArray, scale: JaxArray, rate: JaxArray, root: JaxArray): Arrays {
  const count = state.length / 3;
  const parameters = state.slice(0, count);
  const [loss, gradients] = valueAndGrad(lossOf)(
    parameters.map((parameter) => parameter.ref),
    x,
    y,
    scale,
  );
  loss.dispose();
  const next = gradients.map((gradient, at) => {
    const mean = state[count + at].mul(BETA_1).add(gradient.ref.mul(1 - BETA_1));
    const square = state[2 * count + at].mul(BETA_2).add(gradient.ref.mul(gradient).mul(1 - BETA_2));
    const denominator = numpy.sqrt(square.ref).div(root.ref).add(EPS);
    const parameter = parameters[at].sub(mean.ref.div(denominator).mul(rate.ref));
    return { parameter, mean, square };
  });
  rate.dispose();
  root.dispose();
  return [
    ...next.map(({ parameter }) => parameter),
    ...next.map(({ mean }) => mean),
    ...next.map(({ square }) => square),
  ];
}

export const createJaxLearner: CreateLearner = async ({ parameters, lr }) => {
  const device = "wasm";
  if (!(await init(device)).includes(device)) throw new Refusal("unavailable", "jax-js offers no WASM here");
  defaultDevice(device);
  const float = (values: Float32Array, shape: readonly number[]): JaxArray =>
    numpy.array(values, { shape, dtype: numpy.float32, device });
  const scalar = (value: number): JaxArray => float(Float32Array.of(value), []);
  const zeros = parameters.map(({ values, shape }) => float(new Float32Array(values.length), shape));
  const more = parameters.map(({ values, shape }) => float(new Float32Array(values.length), shape));
  let state: Arrays = [...parameters.map(({ values, shape }) => float(values, shape)), ...zeros, ...more];
  let steps = 0;
  const advance = jit(stepOf, { device });
  const score = jit(predict, { device });
  return {
    async step(x, y) {
      steps += 1;
      const rate = lr / (1 - BETA_1 ** steps);
      const root = Math.sqrt(1 - BETA_2 ** steps);
      const labels = numpy.array(y, { shape: [y.length], dtype: numpy.int32, device });
      const samples = float(x, [y.length, PIXELS]);
      state = advance(state, samples, labels, scalar(1 / y.length), scalar(rate), scalar(root));
      // Its memory is free again once somebody waits: without that a training runs out of it, and takes longer until it does.
      await blockUntilReady(state);
    },
    async settle() {
      await blockUntilReady(state);
    },
    async predict(x, samples) {
      const held = state.slice(0, parameters.length).map((parameter) => parameter.ref);
      return score(held, float(x, [samples, PIXELS])).data();
    },
    dispose() {
      for (const array of state) array.dispose();
    },
  };
};
