/** Makes a capability token for one session, for whoever administers it to pass on. */

import type { Context } from "hono";
import * as v from "valibot";
import { CAPABILITIES, MOST_DAYS } from "../shared/session/access.ts";
import { adminSecret } from "./admin.ts";
import { readJson } from "./body.ts";
import type { AppTypes } from "./env.ts";
import { HttpError } from "./errors.ts";
import { sessionStub } from "./stub.ts";
import { signToken } from "./tokens.ts";

const MAX_BYTES = 1_000;
const DAY = 86_400;

const request = v.strictObject({
  capability: v.picklist(CAPABILITIES),
  /** Seconds from now. */
  expiresIn: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MOST_DAYS * DAY)),
});

/** Throws HttpError 400 `bad-invitation` or 404 `unknown-session`. */
export async function invite(context: Context<AppTypes, "/:id/invitations">): Promise<Response> {
  const wanted = v.safeParse(request, await readJson(context.req.raw, MAX_BYTES, "the invitation"));
  if (!wanted.success) {
    const expected = `{ "capability": "${CAPABILITIES.join('" | "')}", "expiresIn": seconds up to ${MOST_DAYS} days }`;
    throw new HttpError(400, "bad-invitation", `the body is ${expected}`);
  }
  const session = context.req.param("id");
  const generation = await sessionStub(context.env, session).generation();
  if (generation === null) throw new HttpError(404, "unknown-session", "there is no such session");
  const { capability, expiresIn } = wanted.output;
  const expires = Math.floor(Date.now() / 1000) + expiresIn;
  const token = await signToken(adminSecret(context.env), { session, capability, generation, expires });
  return context.json({ token, capability, expires }, 201, { "Cache-Control": "no-store" });
}
