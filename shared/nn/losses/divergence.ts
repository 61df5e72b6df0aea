/** How far a distribution is from the target's. */

import type { Loss } from "./loss.ts";
import { likePrediction, meanOfElements, mul, sub, sumAll, sumSamples, TINY } from "./sums.ts";

/** Options of `klDiv`. */
export interface KlDivOptions {
  /** `batchmean` divides by samples, which is the mathematical value; `mean`, PyTorch's default, by elements. */
  readonly reduction?: "mean" | "batchmean";
  /** Whether targets are log-probabilities; otherwise they are probabilities. */
  readonly logTarget?: boolean;
}

/**
 * Kullback–Leibler divergence t·(log t − x) of log-probabilities x [N, ...] from targets t of the same shape; 0 where t is 0.
 * https://pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html
 */
export function klDiv({ reduction = "mean", logTarget = false }: KlDivOptions = {}): Loss {
  return {
    kind: "klDiv",
    target: likePrediction,
    build(to, { prediction, target, weight }) {
      const probability = logTarget ? to.emit("Exp", [target], {}) : target;
      const logarithm = logTarget ? target : to.emit("Log", [to.emit("Max", [target, to.constant(TINY)], {})], {});
      const elements = mul(to, probability, sub(to, logarithm, prediction));
      const sums =
        reduction === "mean"
          ? meanOfElements(to, elements, weight)
          : { loss: sumSamples(to, elements, weight), weight: sumAll(to, weight) };
      return { ...sums, metrics: {} };
    },
  };
}
