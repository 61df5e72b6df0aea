export { type Contribution, StepAggregate, weightBound } from "./aggregate.ts";
