/** Who stands at the door of a session: what the edge found out of an upgrade, and how it is refused. */

import { encodeMessage, PROTOCOL_ERRORS, type ProtocolErrorCode, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { doorsOf } from "../../shared/session/access.ts";

export interface Visitor {
  /** Of the page that asks; null for programs outside browsers. */
  readonly origin: string | null;
  /** Of its token; null without one. */
  readonly generation: number | null;
  /** The one identity that its token lets in; null where that is anybody's. */
  readonly client: string | null;
  /** It holds the admin secret. */
  readonly isAdmin: boolean;
  /** The block of its address that quotas are counted by; empty where nobody says it. */
  readonly block: string;
  /** And the one that audits go by. */
  readonly auditBlock: string;
}

/** Headers of the internal request, which nothing of the client's own reaches. */
export const HEADERS = {
  generation: "X-Generation",
  client: "X-Client",
  isAdmin: "X-Admin",
  block: "X-Block",
  auditBlock: "X-Audit-Block",
} as const;

/** The upgrade as the edge passes it on: nothing of what the client sent but these. */
export function visitorRequest({ origin, generation, client, isAdmin, block, auditBlock }: Visitor): Request {
  const headers = new Headers({ Upgrade: "websocket", [HEADERS.block]: block, [HEADERS.auditBlock]: auditBlock });
  if (origin !== null) headers.set("Origin", origin);
  if (generation !== null) headers.set(HEADERS.generation, String(generation));
  if (client !== null) headers.set(HEADERS.client, client);
  if (isAdmin) headers.set(HEADERS.isAdmin, "true");
  return new Request("https://session/socket", { headers });
}

export function readVisitor({ headers }: Request): Visitor {
  const generation = headers.get(HEADERS.generation);
  return {
    origin: headers.get("Origin"),
    generation: generation === null ? null : Number(generation),
    client: headers.get(HEADERS.client),
    isAdmin: headers.has(HEADERS.isAdmin),
    block: headers.get(HEADERS.block) ?? "",
    auditBlock: headers.get(HEADERS.auditBlock) ?? "",
  };
}

/** How somebody comes to another token of a session. */
export const askAgain = (session: string): string =>
  doorsOf(session).join === "checked"
    ? "pass the check of the session's own page again, or ask for an invitation"
    : "ask for a new invitation";

/** A socket that opens, says why, and closes: of an upgrade that is refused a browser shows a page nothing. */
export function closedSocket(code: ProtocolErrorCode, message: string, protocol: string = SUBPROTOCOL): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.send(encodeMessage({ type: "error", code, message }));
  server.close(PROTOCOL_ERRORS[code].close, code);
  return new Response(null, { status: 101, webSocket: client, headers: { "Sec-WebSocket-Protocol": protocol } });
}
