export { agree, difference, GROSS, gradientDistance, TOLERANCES } from "./compare.ts";
export { type Auditable, AuditDesk, type DeskOptions, type Double, type StandingChange } from "./desk.ts";
export { BUCKETS, type Evidence, evidenceBytes, evidenceOf, type Grid, type Testimony } from "./evidence.ts";
export { type AuditOptions, isProven, NEWCOMER, STRIKES, type Standing } from "./standing.ts";
export { type Verdict, verdictOf, type Witness } from "./verdict.ts";
