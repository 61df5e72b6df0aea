export { advance, createRound, isAlone, RoundError, type RoundErrorCode, wouldAccept } from "./round.ts";
export type { RoundStart, RoundState } from "./state.ts";
export { type ClientSummary, type RoundSummary, summarize } from "./summary.ts";
export type * from "./types.ts";
