/**
 * TensorFlow.js trains, on its WASM backend with two threads and its own Adam. The backend is loaded as its own file rather than
 * bundled: its threaded build makes a worker of a function's text, which no bundler may touch.
 */

import * as core from "@tensorflow/tfjs-core";
// Bundlers drop it: the package does not say that it has effects.
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import type { CreateLearner } from "../end-to-end/page/trainer.ts";
import { Refusal } from "../harness/race.ts";

/** Where the page has them. */
const FOLDER = "/tensorflow/";
const BACKEND = "tf-backend-wasm.es2017.min.js";
const THREADS = 2;
const PIXELS = 784;
const CLASSES = 10;

interface Threaded {
  readonly wasm: {
    setWasmPaths(folder: string): void;
    setThreadsCount(count: number): void;
    getThreadsCount(): number;
  };
}

let loading: Promise<typeof core> | null = null;

async function load(): Promise<typeof core> {
  // It takes half of what a machine says it has, whatever is set.
  Object.defineProperty(navigator, "hardwareConcurrency", { value: 2 * THREADS });
  // What the file adds itself to.
  const tf = { ...core } as typeof core & Threaded;
  Object.assign(globalThis, { tf });
  await new Promise<void>((resolve, reject) => {
    const script = document.createElement("script");
    script.src = FOLDER + BACKEND;
    script.onload = () => resolve();
    script.onerror = () => reject(new Refusal("unavailable", `${script.src} did not load`));
    document.head.append(script);
  });
  tf.wasm.setWasmPaths(FOLDER);
  tf.wasm.setThreadsCount(THREADS);
  if (!(await tf.setBackend("wasm"))) throw new Refusal("unavailable", "TensorFlow.js offers no WASM here");
  await tf.ready();
  const threads = tf.wasm.getThreadsCount();
  if (threads !== THREADS)
    throw new Refusal("unavailable", `TensorFlow.js has ${threads} threads, expected ${THREADS}`);
  return tf;
}

export const createTensorFlowLearner: CreateLearner = async ({ parameters, lr }) => {
  loading ??= load();
  const tf = await loading;
  const variables = parameters.map(({ values, shape }) => tf.variable(tf.tensor(values, shape, "float32"), true));
  const adam = tf.train.adam(lr, 0.9, 0.999, 1e-8);
  const scores = (x: core.Tensor): core.Tensor => {
    let h = x;
    for (let at = 0; at < variables.length; at += 2) {
      if (at > 0) h = tf.relu(h);
      h = tf.add(tf.matMul(h, variables[at]), variables[at + 1]);
    }
    return h;
  };
  return {
    step(x, y) {
      tf.tidy(() => {
        const samples = tf.tensor(x, [y.length, PIXELS], "float32");
        const labels = tf.oneHot(tf.tensor(y, [y.length], "int32"), CLASSES);
        adam.minimize(() => tf.losses.softmaxCrossEntropy(labels, scores(samples)), false, variables);
      });
    },
    async settle() {
      await variables[variables.length - 1].data();
    },
    async predict(x, samples) {
      const found = tf.tidy(() => scores(tf.tensor(x, [samples, PIXELS], "float32")));
      const values = await found.data();
      found.dispose();
      return values;
    },
    dispose() {
      for (const variable of variables) variable.dispose();
      adam.dispose();
    },
  };
};
