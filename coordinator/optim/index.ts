export { KERNELS_BUILD } from "./build.ts";
export type { Change, EncodedChange } from "./client-weights.ts";
export { createKernels, type Kernels } from "./kernels.ts";
export {
  AVERAGE,
  clipScale,
  DOWNLINK,
  initialStates,
  type Kept,
  keptSizes,
  ruleBytes,
  type UpdateRule,
  updateRule,
} from "./rule.ts";
export type { Squares } from "./second-moments.ts";
export {
  LocalParameterShard,
  type LocalShardOptions,
  type ParameterShard,
  type StepLog,
  type StepRecord,
  type Update,
} from "./shard.ts";
