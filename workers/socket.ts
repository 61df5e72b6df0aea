/**
 * The socket upgrade. The protocol's version is checked here, before any object wakes; a session that does not exist is
 * reported through a socket that opens and closes, since a browser shows a page nothing of a refused upgrade.
 */

import type { Context } from "hono";
import { BLOCK_HEADER } from "../coordinator/session/env.ts";
import { encodeMessage, PROTOCOL_ERRORS, SUBPROTOCOL } from "../shared/protocol/messages.ts";
import { addressBlock } from "./address-block.ts";
import type { AppTypes } from "./env.ts";
import { HttpError } from "./errors.ts";
import { isSessionId, sessionStub } from "./stub.ts";

/** A version of this protocol that this is not. */
const OTHER_VERSION = /^commonweight\.\d{1,6}$/;

function closedSocket(code: keyof typeof PROTOCOL_ERRORS, message: string, protocol: string = SUBPROTOCOL): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.send(encodeMessage({ type: "error", code, message }));
  server.close(PROTOCOL_ERRORS[code].close, code);
  return new Response(null, { status: 101, webSocket: client, headers: { "Sec-WebSocket-Protocol": protocol } });
}

/** Throws HttpError 426 `upgrade-required` or `protocol-version`. */
export async function openSocket(context: Context<AppTypes, "/api/sessions/:id/socket">): Promise<Response> {
  if (context.req.header("Upgrade")?.toLowerCase() !== "websocket") {
    throw new HttpError(426, "upgrade-required", "this address is a WebSocket");
  }
  const offered = (context.req.header("Sec-WebSocket-Protocol") ?? "").split(",").map((name) => name.trim());
  const other = offered.find((name) => OTHER_VERSION.test(name));
  // A browser shows a page nothing of a refused upgrade: who speaks another version is told so over a socket of its own choosing.
  if (!offered.includes(SUBPROTOCOL) && other !== undefined) {
    return closedSocket(
      "protocol-version",
      `this coordinator speaks ${SUBPROTOCOL}, not ${other}: load the newer client`,
      other,
    );
  }
  if (!offered.includes(SUBPROTOCOL)) {
    throw new HttpError(426, "protocol-version", `the upgrade must offer the subprotocol ${SUBPROTOCOL}`);
  }
  const id = context.req.param("id");
  const response = isSessionId(id)
    ? await sessionStub(context.env, id).fetch(
        new Request("https://session/socket", {
          headers: { Upgrade: "websocket", [BLOCK_HEADER]: addressBlock(context.req.header("CF-Connecting-IP")) },
        }),
      )
    : null;
  if (response === null || response.status === 404) {
    return closedSocket("unknown-session", "there is no such session; it may have been deleted");
  }
  return response;
}
