/** What `joinTraining` takes, everywhere. */

import type { LocalColumns } from "../data/local.ts";
import type { Identity, TrainingEvent } from "./events.ts";
import type { ClientBudget } from "./session.ts";

export interface JoinOptions {
  /** Address of the coordinator, needed with a bare session id. */
  readonly server?: string;
  /** Threads of the WASM engine. */
  readonly workers?: number;
  /** The caller's own arrays by column, [samples, ...shape] flat, for sessions with local data. They never leave this client. */
  readonly data?: LocalColumns;
  /** Leaves when it aborts. */
  readonly signal?: AbortSignal;
  /** Comes back as the client of an earlier `welcome`. */
  readonly identity?: Identity;
  /** Shown to other volunteers in front of the device. */
  readonly name?: string;
  /** The most that a session may ask of this client; anything above is refused before it is compiled. */
  readonly budget?: Partial<ClientBudget>;
  /** Hears every event, also those before the promise resolves. */
  readonly onEvent?: (event: TrainingEvent) => void;
}
