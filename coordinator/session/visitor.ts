/** Who stands at the door of a session: what the edge found out of an upgrade, and how it is refused. */

import { encodeMessage, PROTOCOL_ERRORS, type ProtocolErrorCode, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { BLOCK_HEADER } from "./env.ts";

export interface Visitor {
  /** Of the page that asks; null for programs outside browsers. */
  readonly origin: string | null;
  /** Of its token; null without one. */
  readonly generation: number | null;
  /** It holds the admin secret. */
  readonly isAdmin: boolean;
  /** The block of its address; null where nobody says it. */
  readonly block: string | null;
}

/** The upgrade as the edge passes it on: nothing of what the client sent but these. */
export function visitorRequest({
  auditBlock,
  origin,
  generation,
  isAdmin,
  block,
}: Visitor & { readonly auditBlock: string }): Request {
  const headers = new Headers({ Upgrade: "websocket", [BLOCK_HEADER]: auditBlock });
  if (origin !== null) headers.set("Origin", origin);
  if (generation !== null) headers.set("X-Generation", String(generation));
  if (isAdmin) headers.set("X-Admin", "true");
  if (block !== null) headers.set("X-Block", block);
  return new Request("https://session/socket", { headers });
}

export function readVisitor({ headers }: Request): Visitor {
  const generation = headers.get("X-Generation");
  return {
    origin: headers.get("Origin"),
    generation: generation === null ? null : Number(generation),
    isAdmin: headers.has("X-Admin"),
    block: headers.get("X-Block"),
  };
}

/** A socket that opens, says why, and closes: of an upgrade that is refused a browser shows a page nothing. */
export function closedSocket(code: ProtocolErrorCode, message: string, protocol: string = SUBPROTOCOL): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.send(encodeMessage({ type: "error", code, message }));
  server.close(PROTOCOL_ERRORS[code].close, code);
  return new Response(null, { status: 101, webSocket: client, headers: { "Sec-WebSocket-Protocol": protocol } });
}
