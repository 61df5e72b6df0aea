/**
 * The check before joining, for sessions that ask for one: a page without cross-origin isolation has Cloudflare Turnstile's widget, and
 * who passes is given a token to join. The token lets in one identity, which follows from the widget's response: one that came
 * twice, even if Cloudflare should take it twice, is the same identity twice.
 */

import type { Context } from "hono";
import * as v from "valibot";
import { sha256Hex } from "../coordinator/session/identity.ts";
import { doorsOf, isSessionId } from "../shared/session/access.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { adminSecret } from "./admin.ts";
import { readJson } from "./body.ts";
import type { AppTypes, Env } from "./env.ts";
import { HttpError } from "./errors.ts";
import { addressOf, limit } from "./rate.ts";
import { sessionStub } from "./stub.ts";
import { signToken } from "./tokens.ts";
import { requirePassed, turnstileKeys } from "./turnstile.ts";

/** Seconds that a token is good. It lets in one identity, so it need not be short: tabs that train for days come back with it. */
const EXPIRES_IN = 7 * 86_400;
/** Turnstile's own limit of a response. */
const MOST_CHARACTERS = 2_048;
const MAX_BYTES = 4_096;
/** Hex digits of an identity. */
const IDENTITY_DIGITS = 32;

const request = v.strictObject({ response: v.pipe(v.string(), v.minLength(1), v.maxLength(MOST_CHARACTERS)) });

type CheckContext = Context<AppTypes, "/:id/check">;

const unknown = (): HttpError => new HttpError(404, "unknown-session", "there is no such session");

/** The session's id. Throws HttpError 404 `unknown-session` or `no-check`. */
function checkedSession(context: CheckContext): string {
  const id = context.req.param("id");
  if (!isSessionId(id)) throw unknown();
  if (doorsOf(id).join !== "checked") throw new HttpError(404, "no-check", "this session asks for no check");
  return id;
}

/** Throws HttpError 503 `check-disabled` where a session asks for a check that this deployment does not have. */
export function requireCheckable(env: Env, { access }: Pick<SessionDefinition, "access">): void {
  if (access?.join === "checked") turnstileKeys(env);
}

/** What the page needs for the widget. Throws HttpError. */
export function describeCheck(context: CheckContext): Response {
  checkedSession(context);
  const { siteKey } = turnstileKeys(context.env);
  return context.json({ siteKey }, 200, { "Cache-Control": "no-store" });
}

/**
 * A token for who passed. Throws HttpError: 400 `bad-check`, 403 `check-failed`, 404 `unknown-session` or `no-check`, 429
 * `rate-limited`, 503 `check-disabled`, `check-unavailable` or `admin-disabled`.
 */
export async function passCheck(context: CheckContext): Promise<Response> {
  const { env } = context;
  const session = checkedSession(context);
  const { secret } = turnstileKeys(env);
  const signing = adminSecret(env);
  const address = addressOf(context);
  limit("joins", env, address);
  const given = v.safeParse(request, await readJson(context.req.raw, MAX_BYTES, "the check"));
  if (!given.success) {
    throw new HttpError(400, "bad-check", `the body is { "response": 1 to ${MOST_CHARACTERS} characters }`);
  }
  const { response } = given.output;
  // Cloudflare routes by host name: whoever asks reached this deployment by it.
  const { hostname } = new URL(context.req.url);
  await requirePassed(secret, { response, session, hostname, address });
  const generation = await sessionStub(env, session).generation();
  if (generation === null) throw unknown();
  const client = (await sha256Hex(`${session} ${response}`)).slice(0, IDENTITY_DIGITS);
  const expires = Math.floor(Date.now() / 1_000) + EXPIRES_IN;
  const token = await signToken(signing, { session, capability: "join", generation, expires, client });
  return context.json({ token, expires }, 201, { "Cache-Control": "no-store" });
}
