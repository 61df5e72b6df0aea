export {
  advance,
  type ClientSummary,
  createRound,
  type RoundStart,
  type RoundState,
  type RoundSummary,
  summarize,
} from "./round.ts";
export type * from "./types.ts";
