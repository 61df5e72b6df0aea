/** Admin routes: bearer header only, compared in constant time, off without a secret. */

import type { Context, MiddlewareHandler } from "hono";
import type { AppTypes } from "./env.ts";
import { HttpError } from "./errors.ts";

const encoder = new TextEncoder();

/** Compares digests, which have one length whatever was sent. */
async function sameSecret(given: string, expected: string): Promise<boolean> {
  const [a, b] = await Promise.all(
    [given, expected].map((text) => crypto.subtle.digest("SHA-256", encoder.encode(text))),
  );
  return a !== undefined && b !== undefined && crypto.subtle.timingSafeEqual(a, b);
}

/** Throws HttpError 503 `admin-disabled` or 401 `unauthorized`. */
export async function checkAdmin(context: Context<AppTypes>): Promise<void> {
  const secret = context.env.ADMIN_SECRET;
  if (secret === undefined || secret === "") {
    throw new HttpError(503, "admin-disabled", "this coordinator has no ADMIN_SECRET: its admin routes are off");
  }
  const [scheme, token] = (context.req.header("Authorization") ?? "").split(" ", 2);
  if (scheme?.toLowerCase() !== "bearer" || token === undefined || !(await sameSecret(token, secret))) {
    throw new HttpError(401, "unauthorized", "this route needs Authorization: Bearer with the admin secret");
  }
}

export const requireAdmin: MiddlewareHandler<AppTypes> = async (context, next) => {
  await checkAdmin(context);
  await next();
};
