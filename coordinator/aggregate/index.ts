export { type Contribution, StepAggregate, weightBound } from "./aggregate.ts";
export { type RowPart, rowsBytes, StepRows, valueBytes } from "./step-rows.ts";
