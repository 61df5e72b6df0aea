/**
 * At which batch and learning rate each one reaches the accuracy soonest, of those listed here. `npm run bench -- end-to-end
 * --search` finds it anew: how many samples a setting needs, and how fast everybody computes with a batch.
 */

export interface Setting {
  readonly batch: number;
  readonly lr: number;
}

export const BATCHES = [64, 128, 256, 512, 1024, 2048] as const;
export const LEARNING_RATES = [1e-3, 2e-3, 4e-3, 8e-3, 1.2e-2, 1.6e-2] as const;

/** Of jax-js it is a matter of the machine which of two is its best: it takes part with both. */
export const BEST = {
  "two tabs": [{ batch: 1024, lr: 1.2e-2 }],
  "one tab": [{ batch: 1024, lr: 1.2e-2 }],
  "jax-js WASM": [
    { batch: 512, lr: 8e-3 },
    { batch: 1024, lr: 1.2e-2 },
  ],
  "TensorFlow.js WASM": [{ batch: 128, lr: 4e-3 }],
} as const satisfies Readonly<Record<string, readonly Setting[]>>;

export type Learning = keyof typeof BEST;

/** What a learner is called in a race. */
export const nameIn = (learner: Learning, { batch }: Setting): string =>
  BEST[learner].length === 1 ? learner : `${learner}, batch ${batch}`;
