/** What `joinTraining` takes, everywhere. */

import type { LocalColumns } from "../data/local.ts";
import { describeError, TrainingError } from "./errors.ts";
import type { Identity, TrainingEvent } from "./events.ts";
import type { Policies } from "./governor.ts";
import { checkShare } from "./governor.ts";
import type { ClientBudget } from "./session.ts";

export interface JoinOptions {
  /** Address of the coordinator, needed with a bare session id. */
  readonly server?: string;
  /** Of the invitation, for sessions that need one; by default the one in the link, `#join=<token>`. */
  readonly token?: string;
  /** Threads of the WASM engine. */
  readonly workers?: number;
  /** The caller's own arrays by column, [samples, ...shape] flat, for sessions with local data. They never leave this client. */
  readonly data?: LocalColumns;
  /** Leaves when it aborts. */
  readonly signal?: AbortSignal;
  /** Comes back as the client of an earlier `welcome`. */
  readonly identity?: Identity;
  /**
   * Public, for credit: shown to everyone and kept with the result. At most 40 characters, control
   * characters are dropped. Left out, a client that comes back keeps its name; an empty one takes it back.
   */
  readonly name?: string;
  /**
   * Part of this machine's time to give, above 0 and at most 1 (default): 1 is what the engine takes by default, for WASM
   * one thread for every second core. Kept by resting between micro-batches.
   */
  readonly share?: number;
  /** What to do in which circumstances, where not as in `DEFAULT_POLICIES`. */
  readonly policies?: Partial<Policies>;
  /** Hex SHA-256 of the one graph to compute, see `session.graphHash`: any other is refused before it is compiled. */
  readonly graphHash?: string;
  /**
   * Fewest samples of one's own that a result may be a sum over, for sessions with local data: smaller shards are not
   * answered. Shards may be as small as one micro-batch, so a session with smaller ones is refused.
   */
  readonly minimumSamples?: number;
  /** The most that a session may ask of this client; anything above is refused before it is compiled. */
  readonly budget?: Partial<ClientBudget>;
  /** Hears every event, also those before the promise resolves. */
  readonly onEvent?: (event: TrainingEvent) => void;
}

/** What a volunteer takes of the options. Throws TrainingError `invalid-argument` naming the one that makes no sense. */
export function readOptions({ workers, data, budget, name, share, policies, graphHash, minimumSamples }: JoinOptions) {
  try {
    if (share !== undefined) checkShare(share);
  } catch (error) {
    throw new TrainingError("invalid-argument", describeError(error));
  }
  if (graphHash !== undefined && !/^[0-9a-f]{64}$/.test(graphHash)) {
    throw new TrainingError("invalid-argument", "graphHash must be a SHA-256 of 64 hex characters, in small letters");
  }
  if (minimumSamples !== undefined && !(Number.isInteger(minimumSamples) && minimumSamples > 0)) {
    throw new TrainingError("invalid-argument", `minimumSamples must be a whole number above 0, not ${minimumSamples}`);
  }
  return { workers, data, budget, name, share, policies, graphHash, minimumSamples };
}
