/**
 * The end of an object whose memory may be ahead of what is stored, or behind it: it starts again from storage at its next event, its
 * sockets close, and clients come back by themselves.
 */

import { errorFields, type LogFields, log } from "./log.ts";

export function startAgain(ctx: DurableObjectState, error: unknown, fields: LogFields): void {
  log("error", "aborted", { ...fields, ...errorFields(error) });
  ctx.abort("an error after a write");
}
