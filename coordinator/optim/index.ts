export { KERNELS_BUILD } from "./build.ts";
export { createKernels, type Kernels } from "./kernels.ts";
export {
  AVERAGE,
  clipScale,
  initialStates,
  type Kept,
  keptSizes,
  ruleBytes,
  SHARED,
  type UpdateRule,
  updateRule,
} from "./rule.ts";
export {
  LocalParameterShard,
  type LocalShardOptions,
  type ParameterShard,
  type StepLog,
  type StepRecord,
  type Update,
} from "./shard.ts";
export type { Change } from "./shared.ts";
