/**
 * Response headers by kind of route. Static files have theirs from the `_headers` file of the page build; the Worker
 * sets the same on what it answers itself.
 */

import type { MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import type { AppTypes } from "./env.ts";

/** Sockets of the page's own host: not every browser reads `'self'` as including them. */
const socketsOfThisHost = (context: { readonly req: { readonly url: string } }): string =>
  `ws://${new URL(context.req.url).host} wss://${new URL(context.req.url).host}`;

const headers = (resources: "same-origin" | "cross-origin"): MiddlewareHandler<AppTypes> =>
  secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'", "'wasm-unsafe-eval'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'", "data:"],
      fontSrc: ["'self'"],
      connectSrc: ["'self'", socketsOfThisHost],
      workerSrc: ["'self'", "blob:"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
    crossOriginEmbedderPolicy: "require-corp",
    crossOriginOpenerPolicy: "same-origin",
    crossOriginResourcePolicy: resources,
    referrerPolicy: "no-referrer",
    xContentTypeOptions: "nosniff",
    xFrameOptions: "DENY",
  });

/** Pages: for this origin only. */
export const pageHeaders = headers("same-origin");

/** Where Turnstile's script and its frame come from. */
const TURNSTILE = "https://challenges.cloudflare.com";

/** The page of the check: its frame would not load in an isolated page, so that this one is none, and computes nothing. */
export const doorHeaders: MiddlewareHandler<AppTypes> = secureHeaders({
  contentSecurityPolicy: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'", TURNSTILE],
    frameSrc: [TURNSTILE],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", "data:"],
    connectSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'none'"],
    frameAncestors: ["'none'"],
  },
  crossOriginEmbedderPolicy: false,
  crossOriginOpenerPolicy: false,
  crossOriginResourcePolicy: "same-origin",
  referrerPolicy: "no-referrer",
  xContentTypeOptions: "nosniff",
  xFrameOptions: "DENY",
});

/** Data for the SDK, which runs on any origin. */
export const dataHeaders = headers("cross-origin");

/** Any origin may read. Nothing here goes by cookies, and no other method is allowed across origins. */
export const readableAnywhere: MiddlewareHandler<AppTypes> = cors({
  origin: "*",
  allowMethods: ["GET", "HEAD"],
  // A token of the session, for those by invitation.
  allowHeaders: ["Authorization"],
  exposeHeaders: ["X-Commonweight-Version", "X-Commonweight-Step", "Retry-After"],
  maxAge: 86_400,
});
