/** What a session file imports: `import { dataset, defineSession, loss, nn, optim } from "commonweight/nn"`. */

export { buildGraph, type InputShape, type ModelDescription } from "./build.ts";
export type { Loss } from "./losses/index.ts";
export * as loss from "./losses/index.ts";
export type { Module } from "./module.ts";
export * as nn from "./modules.ts";
export * as optim from "./optimizers.ts";
export * as schedule from "./schedules.ts";
export {
  type AugmentOptions,
  dataset,
  defineSession,
  type InputSource,
  localData,
  type SessionOptions,
  type Sources,
} from "./session.ts";
export type { NamedTensor, NamedTensors } from "./weights.ts";
