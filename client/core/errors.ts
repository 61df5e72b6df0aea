/**
 * The one error class of the SDK. `code` is stable: programs switch on it, people read `message`.
 */

import { shortened } from "../../shared/session/errors.ts";

/** What each code means, and whether the volunteer goes on by itself after reporting it as an `error` event. */
export const TRAINING_ERRORS = {
  /** The options contradict each other or the session: bad id, no server, own data missing or of the wrong shape. */
  "invalid-argument": { fatal: true },
  /** The server knows no session of this id, or it was deleted. */
  "unknown-session": { fatal: true },
  /** The session is by invitation, and there is none, or it has expired, was taken back or is for something else; or it takes no clients from this page. */
  "not-invited": { fatal: true },
  /** The server speaks another version of the protocol: update the package. */
  "protocol-version": { fatal: true },
  /** The session is malformed, or asks for more parameters, arithmetic or memory than this client's budget (I10). */
  "refused-session": { fatal: true },
  /** An https page cannot talk to an http server, and WebGPU needs a secure context. */
  insecure: { fatal: true },
  /** This platform lacks something the chosen options need: workers, WebSocket, the asked engine. */
  unsupported: { fatal: true },
  /** The server could not be reached while joining. Once joined, a lost connection is retried without end. */
  network: { fatal: true },
  /** The session is over: nothing is left to compute. */
  finished: { fatal: true },
  /** Another connection took over this client's identity. */
  replaced: { fatal: true },
  /** The resume key does not belong to the client id. */
  "wrong-resume-key": { fatal: true },
  /** Results of this identity were not those of others: the session takes no more of it. */
  banned: { fatal: true },
  /** The engine failed again and again, also after it was built anew. */
  engine: { fatal: true },
  /** The handle was used after it left. */
  left: { fatal: true },
  /** A chunk could not be fetched, or its bytes do not match their hash. The lease is handed back. */
  data: { fatal: false },
  /** The engine could not compute a lease. The lease is handed back. */
  compute: { fatal: false },
  /** The coordinator announced older weights than it had before. The connection is made anew. */
  "version-fell": { fatal: false },
  /** The coordinator sent or reported something that breaks the protocol. The connection is made anew. */
  protocol: { fatal: false },
} as const satisfies Record<string, { readonly fatal: boolean }>;

/** The keys of `TRAINING_ERRORS`. */
export type TrainingErrorCode = keyof typeof TRAINING_ERRORS;

/** What `joinTraining` and its handle reject with. */
export class TrainingError extends Error {
  readonly code: TrainingErrorCode;
  constructor(code: TrainingErrorCode, message: string, options?: ErrorOptions) {
    super(shortened(message), options);
    this.name = "TrainingError";
    this.code = code;
  }
}

/** For messages: what a caught value says. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Anything thrown, as a TrainingError: with `code` unless it is one already. */
export function asTrainingError(error: unknown, code: "engine" | "protocol" = "engine"): TrainingError {
  return error instanceof TrainingError ? error : new TrainingError(code, describeError(error), { cause: error });
}
