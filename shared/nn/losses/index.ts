/**
 * Losses by PyTorch's names, each as a pair of sums: Σ weight × loss and Σ weight. The coordinator divides once, which
 * gives PyTorch's `mean` exactly, however a batch was cut; padding has weight 0.
 * https://pytorch.org/docs/stable/nn.html#loss-functions
 */

export { type BceOptions, type BceWithLogitsOptions, type BinaryMetric, bce, bceWithLogits } from "./binary.ts";
export { type ClassMetric, type ClassOptions, type CrossEntropyOptions, crossEntropy, nll } from "./classes.ts";
export { type KlDivOptions, klDiv } from "./divergence.ts";
export type { Loss, LossOperands, LossValues } from "./loss.ts";
export { huber, l1, mse, type RegressionMetric, type RegressionOptions, smoothL1 } from "./regression.ts";
