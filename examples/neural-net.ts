/** The first program of every course: 10 → 64 → 32 → 1, binary cross-entropy, Adam, 100 epochs. */

import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";

// Made on the spot: is a point of the ten-dimensional cube far from its centre?
const samples = 256;
const x = Float32Array.from({ length: samples * 10 }, (_, i) => Math.sin(i * i * 12.9898 + i * 78.233));
const y = Float32Array.from({ length: samples }, (_, i) =>
  x.subarray(i * 10, i * 10 + 10).reduce((sum, v) => sum + v * v, 0) > 5 ? 1 : 0,
);

const model = nn.sequential(nn.linear(10, 64), nn.relu(), nn.linear(64, 32), nn.relu(), nn.linear(32, 1), nn.sigmoid());

export default defineSession({
  title: "Neural network",
  model,
  input: [10],
  loss: loss.bce(),
  optimizer: optim.adam({ lr: 0.001 }),
  data: dataset("far-from-centre", { x: "x", y: "y", train: [0, samples] }),
  batchSize: samples,
  epochs: 100,
});

export const datasets = {
  "far-from-centre": { columns: { x: { values: x, shape: [10] }, y: { values: y, shape: [1] } } },
};

export function onEpoch({ epoch, loss }: { epoch: number; loss: number }): void {
  if (epoch % 10 === 0) console.log(`Epoch ${epoch}: Loss=${loss.toFixed(4)}`);
}
