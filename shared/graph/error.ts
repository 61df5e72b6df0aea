/** Why a graph is refused. Messages name the node by number and op, what was expected and what came. */

export type GraphErrorCode =
  /** Not of the documented form, or a value is used before it exists. */
  | "structure"
  | "unknown-op"
  | "attribute"
  | "shape"
  /** Well formed, but more than the reader's budget; the message has the figure and the limit. */
  | "budget";

export class GraphError extends Error {
  readonly code: GraphErrorCode;
  constructor(code: GraphErrorCode, message: string) {
    super(message);
    this.name = "GraphError";
    this.code = code;
  }
}
