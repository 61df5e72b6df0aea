/**
 * What `commonweight init` writes: a table small enough to look at, made on the spot and the same on every machine, and a
 * session file that trains on it as it is.
 */

import { deriveKey, threefry2x32, uniformFloat } from "../shared/random/index.ts";

const POINTS = 400;
/** Deviation of a point from its half-circle, whose radius is 1. */
const NOISE = 0.2;
const SEED = 1;

/** Two independent normal deviates of counter `index`, by Box and Muller. */
function normalPair(index: number): [number, number] {
  const words = new Uint32Array(2);
  const [k0, k1] = deriveKey(SEED, "augmentation");
  threefry2x32(k0, k1, index, 0, words);
  const radius = Math.sqrt(-2 * Math.log(1 - uniformFloat(words[0])));
  const angle = 2 * Math.PI * uniformFloat(words[1]);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

/**
 * Two half-circles that reach into each other, which no straight line parts: scikit-learn's `make_moons`
 * (https://scikit-learn.org/stable/modules/generated/sklearn.datasets.make_moons.html).
 */
export function moonsCsv(): string {
  const half = POINTS / 2;
  const rows = Array.from({ length: POINTS }, (_, index) => {
    const isUpper = index < half;
    const angle = (Math.PI * (index % half)) / (half - 1);
    const [x, y] = isUpper ? [Math.cos(angle), Math.sin(angle)] : [1 - Math.cos(angle), 0.5 - Math.sin(angle)];
    const [dx, dy] = normalPair(index);
    return `${(x + NOISE * dx).toFixed(3)},${(y + NOISE * dy).toFixed(3)},${isUpper ? "upper" : "lower"}`;
  });
  return `x,y,moon\n${rows.join("\n")}\n`;
}

export const SESSION_SOURCE = `/**
 * A session file: what is trained, on what, and how. Its default export is defineSession({...}).
 *
 * It trains as it is:   npx commonweight train session.ts
 */

import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";

export default defineSession({
  // What volunteers read before they take part.
  title: "Two moons",
  description: "A small network learns to tell two half-circles apart that reach into each other.",
  contact: "", // who you are and how to reach you
  dataLicence: "CC0: moons.csv was made by commonweight init",
  modelLicence: "CC0",
  visibility: "public", // "private" keeps it out of the coordinator's list

  // Layers by PyTorch's names. Two numbers go in, and one score a class comes out.
  model: nn.sequential(nn.linear(2, 16), nn.relu(), nn.linear(16, 16), nn.relu(), nn.linear(16, 2)),
  input: [2],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 0.01 }),

  // Columns and parts of the data set "moons": commonweight dataset push prints these lines for your own data.
  data: dataset("moons", { x: "features", y: "moon", train: [0, 320], validation: [320, 360], test: [360, 400] }),

  batchSize: 64, // samples of one step, shared out among everyone who takes part
  epochs: 40, // times that every sample is seen
  seed: 0, // another seed, other initial weights and another order; the same one, the same model
});

/**
 * Data that "train" pushes if the coordinator lacks them; paths are relative to this file. Made by commonweight init:
 * 400 points, two columns of numbers x and y, and the column "moon" that says which half-circle a point is of.
 */
export const datasets = {
  moons: { csv: { file: "moons.csv", target: "moon" } },
};
`;

/** Files of a new project, by name. */
export const STARTER: Readonly<Record<string, () => string>> = {
  "session.ts": () => SESSION_SOURCE,
  "moons.csv": moonsCsv,
};
