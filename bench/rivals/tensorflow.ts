/**
 * TensorFlow.js with `variableGrads`, in its own layouts: channels last, linear weights [in, out]. Weights stay on its
 * device; the batch goes there with every step, and a step ends when a gradient has been read back. The WASM backend
 * registers no kernel for the gradient of a convolution's filter, so it cannot train the CNN.
 */

import "@tensorflow/tfjs-backend-webgpu";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import wasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url";
import wasmSimd from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url";
import * as tf from "@tensorflow/tfjs-core";
// Bundlers drop it: the package does not say that it has effects.
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { flatGradient, linearTransposed, parametersFor, type RivalLayouts } from "../engine/contestants/parameters.ts";
import type { CreateStepper } from "../engine/trial.ts";
import type { Network, Problem } from "../engine/workloads.ts";
import { Refusal } from "../harness/race.ts";

type Predict = (parameters: readonly tf.Tensor[], x: tf.Tensor) => tf.Tensor;

setWasmPaths({
  "tfjs-backend-wasm.wasm": wasm,
  "tfjs-backend-wasm-simd.wasm": wasmSimd,
  // Asked for, though never loaded.
  "tfjs-backend-wasm-threaded-simd.wasm": wasmSimd,
});
// One core, and its threaded build does not start from a bundle: its worker is made of a function's minified text.
tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);

const linear = (x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor): tf.Tensor => tf.add(tf.matMul(x, weight), bias);

const perceptron: Predict = (parameters, x) => {
  let h = x;
  for (let at = 0; at < parameters.length; at += 2) {
    if (at > 0) h = tf.relu(h);
    h = linear(h, parameters[at], parameters[at + 1]);
  }
  return h;
};

const convolutional: Predict = ([kernel1, bias1, kernel2, bias2, ...rest], x) => {
  const pool = (of: tf.Tensor): tf.Tensor => tf.maxPool(tf.relu(of), 2, 2, "valid");
  const first = pool(tf.add(tf.conv2d(x, kernel1, 1, "same"), bias1)); // [N, 14, 14, 6]
  const second = pool(tf.add(tf.conv2d(first, kernel2, 1, "valid"), bias2)); // [N, 5, 5, 16]
  return perceptron(rest, tf.reshape(second, [-1, 400]));
};

const EPSILON = 1e-5;
const MASKED = -1e9;
const BLOCK_PARAMETERS = 12;

function normalize(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  const { mean, variance } = tf.moments(x, -1, true);
  const scaled = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, tf.scalar(EPSILON))));
  return tf.add(tf.mul(scaled, weight), bias);
}

/** x·Φ(x) */
const gelu = (x: tf.Tensor): tf.Tensor =>
  tf.mul(tf.mul(x, tf.scalar(0.5)), tf.add(tf.erf(tf.mul(x, tf.scalar(Math.SQRT1_2))), tf.scalar(1)));

function transformer({ width, heads, context, vocabulary }: Extract<Network, { kind: "gpt" }>): Predict {
  const size = width / heads;
  const hidden = Float32Array.from({ length: context ** 2 }, (_, at) =>
    at % context > Math.floor(at / context) ? MASKED : 0,
  );
  const mask = tf.keep(tf.tensor(hidden, [context, context], "float32"));
  /** Of matrices [N·T, in]: batched products with a broadcast operand are slower. */
  return ([tokens, positions, ...rest], x) => {
    const rows = tf.matMul(tf.reshape(tf.oneHot(x, vocabulary), [-1, vocabulary]), tokens);
    let h = tf.reshape(tf.add(tf.reshape(rows, [-1, context, width]), positions), [-1, width]);
    const last = rest.slice(-4);
    for (let at = 0; at + BLOCK_PARAMETERS <= rest.length - last.length; at += BLOCK_PARAMETERS) {
      const [norm1, shift1, inWeight, inBias, outWeight, outBias, norm2, shift2, up, upBias, down, downBias] =
        rest.slice(at, at + BLOCK_PARAMETERS);
      const projected = linear(normalize(h, norm1, shift1), inWeight, inBias);
      const [query, key, value] = tf
        .split(projected, 3, 1)
        .map((part) => tf.transpose(tf.reshape(part, [-1, context, heads, size]), [0, 2, 1, 3])); // [N, H, T, d]
      const scores = tf.add(tf.mul(tf.matMul(query, key, false, true), tf.scalar(1 / Math.sqrt(size))), mask);
      const mixed = tf.transpose(tf.matMul(tf.softmax(scores), value), [0, 2, 1, 3]);
      h = tf.add(h, linear(tf.reshape(mixed, [-1, width]), outWeight, outBias));
      h = tf.add(h, linear(gelu(linear(normalize(h, norm2, shift2), up, upBias)), down, downBias));
    }
    const [norm, shift, weight, bias] = last;
    return linear(normalize(h, norm, shift), weight, bias); // [N·T, V]
  };
}

interface Model {
  readonly predict: Predict;
  readonly classes: number;
  /** Of an input as it is given to the model. */
  readonly shape: readonly number[];
}

function modelOf({ network, batch }: Problem): Model {
  switch (network.kind) {
    case "mlp": {
      const { sizes } = network;
      return { predict: perceptron, classes: sizes[sizes.length - 1], shape: [batch, sizes[0]] };
    }
    case "cnn":
      return { predict: convolutional, classes: 10, shape: [batch, 28, 28, 1] };
    case "gpt":
      return { predict: transformer(network), classes: network.vocabulary, shape: [batch, network.context] };
    default:
      return network satisfies never;
  }
}

function layoutsOf(problem: Problem): RivalLayouts {
  const rest = linearTransposed(problem);
  return (name, shape) => {
    if (shape.length === 4) return { shape, perm: [2, 3, 1, 0] };
    // Behind the convolutions channels come last.
    if (problem.network.kind === "cnn" && shape[1] === 400) {
      return { shape: [shape[0], 16, 5, 5], perm: [2, 3, 1, 0], theirs: [400, shape[0]] };
    }
    return rest(name, shape);
  };
}

let variables = 0;

export const createTensorFlowStepper =
  (backend: "webgpu" | "wasm"): CreateStepper =>
  async (problem) => {
    if (!(await tf.setBackend(backend))) {
      throw new Refusal("unavailable", `TensorFlow.js offers no ${backend} here`);
    }
    await tf.ready();
    const { predict, classes, shape } = modelOf(problem);
    const layouts = layoutsOf(problem);
    const parameters = parametersFor(problem, layouts).map(({ values, shape }) =>
      tf.variable(tf.tensor(values, shape, "float32"), true, `parameter-${variables++}`),
    );
    const { x, y } = problem.inputs;
    const typeOf = (values: Float32Array | Int32Array) => (values instanceof Int32Array ? "int32" : "float32");
    let gradients: readonly tf.Tensor[] = [];
    return {
      async step() {
        await tf.setBackend(backend);
        for (const held of gradients) held.dispose();
        const { value, grads } = tf.tidy(() => {
          const samples = tf.tensor(x, shape, typeOf(x));
          const labels = tf.oneHot(tf.tensor(y, [y.length], "int32"), classes);
          return tf.variableGrads(
            () => tf.losses.softmaxCrossEntropy(labels, predict(parameters, samples), undefined, 0, tf.Reduction.SUM),
            parameters,
          );
        });
        gradients = parameters.map(({ name }) => grads[name]);
        // The last one computed and a small one: the first layer's bias.
        await gradients[1].data();
        value.dispose();
      },
      async gradient() {
        return flatGradient(problem, layouts, await Promise.all(gradients.map((gradient) => gradient.data())));
      },
    };
  };
