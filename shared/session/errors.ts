/** Why a session's definition or a data set's manifest is refused: by the coordinator at creation, by a client before it computes. */

export type SessionErrorCode =
  /** Not of the documented form. */
  | "bad-definition"
  /** The graph is malformed, or its inputs do not fit the data. */
  | "bad-graph"
  /** Well formed, but more than is allowed; the message has the figure and the limit. */
  | "limit-exceeded"
  | "bad-manifest"
  /** The definition asks for columns, types or samples that the data set does not have. */
  | "dataset-mismatch";

/** Characters of a message at most: what is wrong with a session quotes it, and a session may have megabytes where a word is expected. */
const MOST_CHARACTERS = 500;

export const shortened = (message: string): string =>
  message.length <= MOST_CHARACTERS ? message : `${message.slice(0, MOST_CHARACTERS - 1)}…`;

export class SessionError extends Error {
  readonly code: SessionErrorCode;
  constructor(code: SessionErrorCode, message: string, options?: ErrorOptions) {
    super(shortened(message), options);
    this.name = "SessionError";
    this.code = code;
  }
}
