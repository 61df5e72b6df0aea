/**
 * Gradients of a ReLU network on MNIST, written out by hand: hundreds of trainings of 20 clients each are too many for an engine.
 * Four pixels of five are black, and cost nothing here. float32 where an engine has it: weights, activations and gradients.
 */

import { buildGraph, loss, nn } from "../../shared/nn/index.ts";

export const PIXELS = 784;
export const CLASSES = 10;

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  /** Places of W [outputs, inputs] and b [outputs] among the parameters. */
  readonly weight: number;
  readonly bias: number;
}

/** The graph whose parameters these are: 784, then the hidden widths, then 10. */
export function perceptron(hidden: readonly number[]) {
  const widths = [PIXELS, ...hidden, CLASSES];
  const layers = widths.slice(1).flatMap((width, at) => {
    const linear = nn.linear(widths[at], width);
    return at < widths.length - 2 ? [linear, nn.relu()] : [linear];
  });
  return buildGraph({ model: nn.sequential(...layers), loss: loss.crossEntropy(), input: [PIXELS] });
}

export class Network {
  readonly #layers: readonly Layer[];
  /** [outputs] of each layer, of one sample; after ReLU but for the last. */
  readonly #activations: readonly Float32Array[];
  readonly #deltas: readonly Float32Array[];
  readonly #lit = new Int32Array(PIXELS);
  readonly #values = new Float32Array(PIXELS);

  constructor(graph: ReturnType<typeof perceptron>) {
    const { parameters } = graph;
    this.#layers = parameters
      .filter(({ shape }) => shape.length === 2)
      .map(({ name, shape: [outputs, inputs], offset }) => {
        const bias = parameters.find((each) => each.name === name.replace("weight", "bias"));
        if (bias === undefined) throw new Error(`${name} has no bias`);
        return { outputs, inputs, weight: offset, bias: bias.offset };
      });
    this.#activations = this.#layers.map(({ outputs }) => new Float32Array(outputs));
    this.#deltas = this.#layers.map(({ outputs }) => new Float32Array(outputs));
  }

  /** Adds one sample's gradient; answers its loss. */
  addGradient(weights: Float32Array, pixels: Uint8Array, label: number, gradient: Float32Array): number {
    const logits = this.#forward(weights, pixels);
    const layers = this.#layers;
    const last = layers.length - 1;
    const lossValue = softmaxGradient(logits, label, this.#deltas[last]);
    for (let at = last; at > 0; at--) this.#backward(layers[at], at, weights, gradient);
    const [{ inputs, outputs, weight, bias }] = layers;
    const count = this.#light(pixels);
    for (let unit = 0; unit < outputs; unit++) {
      const delta = this.#deltas[0][unit];
      if (delta === 0) continue;
      gradient[bias + unit] += delta;
      const row = weight + unit * inputs;
      for (let at = 0; at < count; at++) gradient[row + this.#lit[at]] += delta * this.#values[at];
    }
    return lossValue;
  }

  /** Part of the samples whose largest output is their label's. */
  accuracy(weights: Float32Array, images: Uint8Array, labels: Uint8Array): number {
    let correct = 0;
    for (const [sample, label] of labels.entries()) {
      const logits = this.#forward(weights, images.subarray(sample * PIXELS, (sample + 1) * PIXELS));
      // A weight that is not a number makes no output the largest.
      if (logits.every((value, unit) => unit === label || value < logits[label])) correct += 1;
    }
    return correct / labels.length;
  }

  #forward(weights: Float32Array, pixels: Uint8Array): Float32Array {
    const count = this.#light(pixels);
    for (const [index, { inputs, outputs, weight, bias }] of this.#layers.entries()) {
      const activations = this.#activations[index];
      const isHidden = index < this.#layers.length - 1;
      for (let unit = 0; unit < outputs; unit++) {
        const row = weight + unit * inputs;
        let sum = weights[bias + unit];
        if (index === 0) for (let at = 0; at < count; at++) sum += weights[row + this.#lit[at]] * this.#values[at];
        else {
          const before = this.#activations[index - 1];
          for (let at = 0; at < inputs; at++) sum += weights[row + at] * before[at];
        }
        activations[unit] = isHidden && sum < 0 ? 0 : sum;
      }
    }
    return this.#activations[this.#layers.length - 1];
  }

  /** The layer's gradient from its deltas, and the deltas of the layer before. */
  #backward(
    { inputs, outputs, weight, bias }: Layer,
    index: number,
    weights: Float32Array,
    gradient: Float32Array,
  ): void {
    const before = this.#activations[index - 1];
    const deltas = this.#deltas[index];
    const lower = this.#deltas[index - 1].fill(0);
    for (let unit = 0; unit < outputs; unit++) {
      const delta = deltas[unit];
      if (delta === 0) continue;
      gradient[bias + unit] += delta;
      const row = weight + unit * inputs;
      for (let at = 0; at < inputs; at++) {
        gradient[row + at] += delta * before[at];
        lower[at] += delta * weights[row + at];
      }
    }
    for (let at = 0; at < inputs; at++) if (before[at] <= 0) lower[at] = 0;
  }

  /** Which pixels are not black, and their values in [0, 1]. */
  #light(pixels: Uint8Array): number {
    let count = 0;
    for (let at = 0; at < PIXELS; at++) {
      if (pixels[at] === 0) continue;
      this.#lit[count] = at;
      this.#values[count++] = pixels[at] / 255;
    }
    return count;
  }
}

/** softmax − one-hot into `deltas`; the cross-entropy. */
function softmaxGradient(logits: Float32Array, label: number, deltas: Float32Array): number {
  const largest = Math.max(...logits);
  let sum = 0;
  for (const [unit, logit] of logits.entries()) {
    deltas[unit] = Math.exp(logit - largest);
    sum += deltas[unit];
  }
  const chosen = deltas[label] / sum;
  for (let unit = 0; unit < deltas.length; unit++) deltas[unit] /= sum;
  deltas[label] -= 1;
  return -Math.log(Math.max(chosen, 1e-30));
}
