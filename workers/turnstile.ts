/**
 * Cloudflare Turnstile's word on a visitor: its widget gives a page a response, and its `siteverify` endpoint says, once, whether that
 * is good, and for what page, occasion and session it was given. Whatever is not a clear yes is a no.
 */

import * as v from "valibot";
import { errorFields, type LogFields, log } from "../coordinator/session/log.ts";
import { CHECK_ACTION } from "../shared/session/access.ts";
import type { Env } from "./env.ts";
import { HttpError } from "./errors.ts";

const SITEVERIFY = "https://challenges.cloudflare.com/turnstile/v0/siteverify";
/** Milliseconds. */
const TIME_LIMIT = 5_000;
/** Seconds. */
const RETRY_AFTER = 10;

const verdict = v.object({
  success: v.boolean(),
  "error-codes": v.optional(v.array(v.string()), []),
  hostname: v.nullish(v.string()),
  action: v.nullish(v.string()),
  cdata: v.nullish(v.string()),
});

/** Of a response that was no good; every other code is a fault on this side or on Cloudflare's. */
const VISITORS_FAULT: ReadonlySet<string> = new Set([
  "missing-input-response",
  "invalid-input-response",
  "timeout-or-duplicate",
]);

export interface Keys {
  /** Public: the widget's. */
  readonly siteKey: string;
  readonly secret: string;
}

/** Throws HttpError 503 `check-disabled`. */
export function turnstileKeys({ TURNSTILE_SITE_KEY: siteKey = "", TURNSTILE_SECRET: secret = "" }: Env): Keys {
  if (siteKey !== "" && secret !== "") return { siteKey, secret };
  throw new HttpError(
    503,
    "check-disabled",
    "this coordinator has no check: it needs TURNSTILE_SITE_KEY and TURNSTILE_SECRET, see docs/deployment.md. " +
      'Sessions with access: { join: "invited" } need neither',
  );
}

export interface Asked {
  /** What the widget gave. */
  readonly response: string;
  readonly session: string;
  /** Of the page that the widget is to have been on. */
  readonly hostname: string;
  /** Of the visitor; undefined where nobody says it. */
  readonly address: string | undefined;
}

/** Throws HttpError 403 `check-failed` or 503 `check-unavailable`. */
export async function requirePassed(secret: string, { response, session, hostname, address }: Asked): Promise<void> {
  const said = await askSiteverify(
    new URLSearchParams({ secret, response, ...(address === undefined ? {} : { remoteip: address }) }),
    session,
  );
  const faults = said["error-codes"];
  if (!said.success && !faults.some((code) => VISITORS_FAULT.has(code))) {
    throw unavailable(session, { codes: faults.join(" ") });
  }
  if (!said.success) {
    throw new HttpError(403, "check-failed", "the check was not passed, or is older than five minutes: try once more");
  }
  if (said.hostname !== hostname || said.action !== CHECK_ACTION || said.cdata !== session) {
    throw new HttpError(
      403,
      "check-failed",
      "this check was passed for something else: pass it on this session's page",
    );
  }
}

async function askSiteverify(body: URLSearchParams, session: string): Promise<v.InferOutput<typeof verdict>> {
  try {
    const signal = AbortSignal.timeout(TIME_LIMIT);
    const answer = await fetch(SITEVERIFY, { method: "POST", body, signal, redirect: "manual" });
    return v.parse(verdict, await answer.json());
  } catch (error) {
    throw unavailable(session, errorFields(error));
  }
}

function unavailable(session: string, why: LogFields): HttpError {
  log("error", "check-unavailable", { session, ...why });
  return new HttpError(
    503,
    "check-unavailable",
    `nobody could be let in: Cloudflare's word on the check could not be had. Try again in ${RETRY_AFTER} seconds`,
    RETRY_AFTER,
  );
}
