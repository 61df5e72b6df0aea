/** What goes wrong in the use of `commonweight/local` itself. */

import { CliError } from "./errors.ts";

/** Of `LocalError`; they stay as they are. */
export type LocalErrorCode =
  /** The options make no sense, or do not fit the session. */
  | "invalid-argument"
  /** It was used after `close`. */
  | "closed";

/** Its `code` is stable. What a coordinator or a volunteer refuses has codes of its own. */
export class LocalError extends CliError {
  readonly code: LocalErrorCode;

  constructor(code: LocalErrorCode, message: string) {
    super(message);
    this.name = "LocalError";
    this.code = code;
  }
}
