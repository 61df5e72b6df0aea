/**
 * Who may do what: the admin secret may do everything, a capability token what it says in its own session. Both come as a bearer
 * header, never in an address; the secret is compared in constant time, and without one nothing guarded can be reached.
 */

import type { Context, MiddlewareHandler } from "hono";
import { hasPassed } from "../shared/clock.ts";
import { type Access, type Capability, doorsOf } from "../shared/session/access.ts";
import type { AppTypes, Env } from "./env.ts";
import { HttpError } from "./errors.ts";
import { sessionStub } from "./stub.ts";
import { type Grant, readToken } from "./tokens.ts";

const encoder = new TextEncoder();

/** Compares digests, which have one length whatever was sent. */
async function sameSecret(given: string, expected: string): Promise<boolean> {
  const [a, b] = await Promise.all(
    [given, expected].map((text) => crypto.subtle.digest("SHA-256", encoder.encode(text))),
  );
  return a !== undefined && b !== undefined && crypto.subtle.timingSafeEqual(a, b);
}

/** Throws HttpError 503 `admin-disabled`. */
export function adminSecret({ ADMIN_SECRET: secret }: Env): string {
  if (secret !== undefined && secret !== "") return secret;
  throw new HttpError(503, "admin-disabled", "this coordinator has no ADMIN_SECRET: its guarded routes are off");
}

function bearerOf(context: Context<AppTypes>): string | undefined {
  const [scheme, token] = (context.req.header("Authorization") ?? "").split(" ", 2);
  return scheme?.toLowerCase() === "bearer" && token !== "" ? token : undefined;
}

/** Throws HttpError 503 `admin-disabled` or 401 `unauthorized`. */
export async function checkAdmin(context: Context<AppTypes>): Promise<void> {
  const secret = adminSecret(context.env);
  const token = bearerOf(context);
  if (token === undefined || !(await sameSecret(token, secret))) {
    throw new HttpError(401, "unauthorized", "this route needs Authorization: Bearer with the admin secret");
  }
}

export const requireAdmin: MiddlewareHandler<AppTypes> = async (context, next) => {
  await checkAdmin(context);
  await next();
};

const BY_INVITATION = "this session is by invitation: open the whole link that you were given";

/** To who comes without a token, by how the session is joined. */
const MISSING: Readonly<Record<Access["join"], string>> = {
  open: BY_INVITATION,
  checked:
    "joining takes a check that this session's own page has: open its link in a browser. " +
    "Programs and other pages need an invitation by whoever runs the session",
  invited: BY_INVITATION,
};

/**
 * What `token` allows in a session, as far as it can be known without waking the session. Throws HttpError: 503
 * `admin-disabled`, 401 `token-missing`, and those of `readToken`.
 */
export async function checkToken(env: Env, id: string, token: string | undefined, wanted: Capability): Promise<Grant> {
  const secret = adminSecret(env);
  if (token === undefined) throw new HttpError(401, "token-missing", MISSING[doorsOf(id).join]);
  if (await sameSecret(token, secret)) return { capability: "admin", generation: null, client: null };
  return readToken(secret, token, id, wanted);
}

/** Generations that sessions were seen to have: of many reads one wakes the session's object. */
const generations = new Map<string, { readonly generation: number; readonly since: number }>();
/** Milliseconds; for so long another isolate may still serve reads to who holds a token that was taken back. */
const SEEN_FOR = 5_000;
const SEEN_SESSIONS = 64;

/** Its invitations were taken back, or it is gone. */
export const forgetGeneration = (id: string): boolean => generations.delete(id);

async function requireCapability(context: Context<AppTypes>, id: string, wanted: Capability): Promise<void> {
  const { generation } = await checkToken(context.env, id, bearerOf(context), wanted);
  if (generation === null) return;
  const seen = generations.get(id);
  if (seen?.generation === generation && !hasPassed(seen.since, SEEN_FOR, Date.now())) return;
  const current = await sessionStub(context.env, id).generation();
  if (current === null) {
    throw new HttpError(404, "unknown-session", "there is no such session; it may have been deleted");
  }
  generations.delete(id);
  if (generation !== current) {
    throw new HttpError(401, "token-revoked", "this invitation was taken back: ask for a new one");
  }
  if (generations.size >= SEEN_SESSIONS) generations.clear();
  generations.set(id, { generation, since: Date.now() });
}

/** For routes of one session: the secret, or an admin token of that session. */
export const requireSessionAdmin: MiddlewareHandler<AppTypes> = async (context, next) => {
  const { env } = context;
  const token = bearerOf(context);
  // Three parts with dots between: anything else is a secret, right or wrong.
  if (token?.split(".").length === 3 && !(await sameSecret(token, adminSecret(env)))) {
    await requireCapability(context, context.req.param("id") ?? "", "admin");
  } else await checkAdmin(context);
  await next();
};

/** What only the invited may read: it is asked for a token, and nothing in between keeps the answer. */
export const requireReader: MiddlewareHandler<AppTypes> = async (context, next) => {
  const id = context.req.param("id") ?? "";
  if (doorsOf(id).read === "open") return next();
  await requireCapability(context, id, "observe");
  await next();
  context.res.headers.set("Cache-Control", "private, no-store");
};
