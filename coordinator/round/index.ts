export { advance, createRound, RoundError, type RoundErrorCode } from "./round.ts";
export type { RoundStart, RoundState } from "./state.ts";
export { type ClientSummary, type RoundSummary, summarize } from "./summary.ts";
export type * from "./types.ts";
