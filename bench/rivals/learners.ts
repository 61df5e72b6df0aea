/** The rivals that train MNIST in a page of `bench/end-to-end`. */

import { createJaxLearner } from "./jax-learner.ts";
import { createTensorFlowLearner } from "./tensorflow-learner.ts";

globalThis.trainer.add("jax-js WASM", createJaxLearner);
globalThis.trainer.add("TensorFlow.js WASM", createTensorFlowLearner);
