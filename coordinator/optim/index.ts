export { KERNELS_BUILD } from "./build.ts";
export { createKernels, type Kernels } from "./kernels.ts";
export {
  LocalParameterShard,
  type LocalShardOptions,
  type ParameterShard,
  type StepLog,
  type StepRecord,
} from "./shard.ts";
