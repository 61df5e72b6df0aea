/**
 * The invitation to a session: a token that goes with whatever is asked of that session, and with nothing else. Over HTTP
 * it is a bearer header, over sockets a subprotocol, for browsers can send no header with an upgrade. It is in a link's
 * fragment, `https://host/s/<id>#join=<token>`, which browsers send to nobody.
 */

import { BEARER_SUBPROTOCOL } from "../../shared/session/access.ts";
import type { SessionAddress } from "./address.ts";
import { sessionUrl } from "./address.ts";
import type { Platform } from "./platform.ts";

/** Headers of a request to the session itself. */
export const invitationHeaders = ({ token }: SessionAddress): Readonly<Record<string, string>> =>
  token === undefined ? {} : { Authorization: `Bearer ${token}` };

/** The same platform, showing the invitation wherever the session is asked for something. */
export function invited<Web extends Pick<Platform, "fetch">>(platform: Web, address: SessionAddress): Web {
  if (address.token === undefined) return platform;
  const own = sessionUrl(address);
  const isOwn = (url: string): boolean => url === own || url.startsWith(`${own}/`);
  return {
    ...platform,
    fetch: (url: string, init: RequestInit) =>
      platform.fetch(url, isOwn(url) ? { ...init, headers: { ...init.headers, ...invitationHeaders(address) } } : init),
  };
}

/** What a socket to the session offers beside its protocol. */
export const invitationProtocols = ({ token }: SessionAddress): readonly string[] =>
  token === undefined ? [] : [BEARER_SUBPROTOCOL + token];
