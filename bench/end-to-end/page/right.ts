/** How many samples get their highest score for their own class: scores [samples, classes], flat. */
export function countRight(scores: Float32Array, labels: Uint8Array): number {
  const width = scores.length / labels.length;
  let right = 0;
  for (const [sample, label] of labels.entries()) {
    const own = scores.subarray(sample * width, (sample + 1) * width);
    if (own.indexOf(Math.max(...own)) === label) right += 1;
  }
  return right;
}
