/**
 * Where a session lives. The id and the server come from the caller alone: nothing that a session says is ever used
 * as an address (invariant I10).
 */

import { TrainingError } from "./errors.ts";
import { checkToken, tokenOf } from "./token.ts";

/** A session id is 128 random bits in hex; longer ones leave room for placement. */
const SESSION_ID = /^[0-9a-f]{32,128}$/;
const SESSION_PATH = /^(.*)\/s\/([0-9a-f]{32,128})\/?$/;

export interface SessionAddress {
  readonly id: string;
  /** Origin and optional path prefix, without a trailing slash. */
  readonly server: string;
  /** Of the invitation, for sessions that need one. */
  readonly token?: string;
}

function parseUrl(text: string, what: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TrainingError("invalid-argument", `${what} is not a URL: ${text.slice(0, 200)}`);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new TrainingError("invalid-argument", `${what} must be http or https, not ${url.protocol}`);
  }
  return url;
}

/**
 * Reads a session id (then `server` is needed) or a session's link `https://host/s/<id>`, with the invitation that may be
 * in its fragment; `token` comes before that one.
 * Throws TrainingError `invalid-argument`.
 */
export function parseAddress(session: string, server: string | undefined, token?: string): SessionAddress {
  const invitation = token === undefined ? {} : { token: checkToken(token) };
  if (SESSION_ID.test(session)) {
    if (server === undefined) {
      throw new TrainingError("invalid-argument", "a session id needs the `server` option, or pass the session's link");
    }
    const url = parseUrl(server, "server");
    return { id: session, server: url.origin + url.pathname.replace(/\/+$/, ""), ...invitation };
  }
  const url = parseUrl(session, "session");
  const match = SESSION_PATH.exec(url.pathname);
  const [, prefix, id] = match ?? [];
  if (prefix === undefined || id === undefined) {
    throw new TrainingError("invalid-argument", "expected a session id of 32 hex characters or a link .../s/<id>");
  }
  return parseAddress(id, server ?? url.origin + prefix, token ?? tokenOf(url.hash));
}

/** URL of a session's resource, such as `weights/latest`; the session itself if empty. */
export function sessionUrl(address: SessionAddress, resource = ""): string {
  return `${address.server}/api/sessions/${address.id}${resource === "" ? "" : `/${resource}`}`;
}

/** URL of the session's socket. */
export function socketUrl(address: SessionAddress): string {
  return sessionUrl(address, "socket").replace(/^http/, "ws");
}
