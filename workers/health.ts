/**
 * For load balancers and watchdogs. `/healthz`: this Worker runs; nothing else is asked. `/readyz`: what it needs answers, too: the bucket,
 * and a secret without which nobody can create a session.
 */

import type { Context } from "hono";
import { errorFields, log } from "../coordinator/session/log.ts";
import { PROTOCOL_VERSION } from "../shared/protocol/frames.ts";
import type { AppTypes } from "./env.ts";

const UNCACHED = { "Cache-Control": "no-store" } as const;

export const health = (context: Context<AppTypes>): Response =>
  context.json({ ok: true, protocol: PROTOCOL_VERSION }, 200, UNCACHED);

/** 200, or 503 with which of the checks failed. */
export async function readiness(context: Context<AppTypes>): Promise<Response> {
  const { BUCKET, ADMIN_SECRET } = context.env;
  const checks = { bucket: true, secret: ADMIN_SECRET !== undefined && ADMIN_SECRET !== "" };
  try {
    await BUCKET.head("datasets/");
  } catch (error) {
    checks.bucket = false;
    log("error", "bucket-failed", errorFields(error));
  }
  const ok = checks.bucket && checks.secret;
  return context.json({ ok, checks }, ok ? 200 : 503, UNCACHED);
}
