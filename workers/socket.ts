/**
 * The socket upgrade. The protocol's version and the token are checked here, before any object wakes. A refusal is told
 * through a socket that opens and closes, since a browser shows a page nothing of a refused upgrade.
 */

import type { Context } from "hono";
import { closedSocket, visitorRequest } from "../coordinator/session/visitor.ts";
import { SUBPROTOCOL } from "../shared/protocol/messages.ts";
import { BEARER_SUBPROTOCOL, doorsOf, isSessionId } from "../shared/session/access.ts";
import { addressBlock } from "./address-block.ts";
import { checkToken } from "./admin.ts";
import type { AppTypes } from "./env.ts";
import { HttpError } from "./errors.ts";
import { addressOf, limit } from "./rate.ts";
import { sessionStub } from "./stub.ts";
import type { Grant } from "./tokens.ts";

/** A version of this protocol that this is not. */
const OTHER_VERSION = /^commonweight\.\d{1,6}$/;

const nobody = (): Response => closedSocket("unknown-session", "there is no such session; it may have been deleted");

/** Throws HttpError 426 `upgrade-required` or `protocol-version`, or 429 `rate-limited`. */
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
  const address = addressOf(context);
  limit("joins", context.env, address);
  const id = context.req.param("id");
  if (!isSessionId(id)) return nobody();
  const token = offered.find((name) => name.startsWith(BEARER_SUBPROTOCOL))?.slice(BEARER_SUBPROTOCOL.length);
  let grant: Grant | null = null;
  try {
    // A token that is not needed is still looked at: it may be the one that an absent origin needs.
    if (token !== undefined || doorsOf(id).join !== "open") grant = await checkToken(context.env, id, token, "join");
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    return closedSocket("not-invited", `${error.code}: ${error.message}`);
  }
  const response = await sessionStub(context.env, id).fetch(
    visitorRequest({
      block: addressBlock(address, "quota"),
      auditBlock: addressBlock(address, "audit"),
      origin: context.req.header("Origin") ?? null,
      generation: grant?.generation ?? null,
      client: grant?.client ?? null,
      isAdmin: grant !== null && grant.generation === null,
    }),
  );
  return response.status === 404 ? nobody() : response;
}
