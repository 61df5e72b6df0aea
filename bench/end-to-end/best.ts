/**
 * At which batch and learning rate each one reaches the accuracy soonest, found by `npm run bench -- end-to-end --search`, which
 * prints this table.
 */

export interface Setting {
  readonly batch: number;
  readonly lr: number;
}

export const BATCHES = [64, 128, 256, 512, 1024, 2048] as const;
export const LEARNING_RATES = [1e-3, 2e-3, 4e-3, 8e-3] as const;

export const BEST: Readonly<Record<string, Setting>> = {
  "two tabs": { batch: 512, lr: 4e-3 },
  "jax-js WASM": { batch: 128, lr: 2e-3 },
  "TensorFlow.js WASM": { batch: 128, lr: 2e-3 },
};
