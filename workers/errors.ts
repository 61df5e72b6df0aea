/** Every refusal of the HTTP API is `{ error: { code, message } }`; what went wrong inside stays inside. */

import type { ErrorHandler, NotFoundHandler } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { errorFields, log } from "../coordinator/session/log.ts";
import { SessionError, type SessionErrorCode } from "../shared/session/errors.ts";
import type { AppTypes } from "./env.ts";

export class HttpError extends Error {
  readonly status: ContentfulStatusCode;
  readonly code: string;
  /** Seconds after which to ask again; null where that is of no use. */
  readonly retryAfter: number | null;
  constructor(status: ContentfulStatusCode, code: string, message: string, retryAfter: number | null = null) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const SESSION_ERROR_STATUS = {
  "bad-definition": 400,
  "bad-graph": 400,
  "bad-manifest": 400,
  "limit-exceeded": 422,
  "dataset-mismatch": 422,
} as const satisfies Record<SessionErrorCode, ContentfulStatusCode>;

export function errorResponse(
  status: ContentfulStatusCode,
  code: string,
  message: string,
  retryAfter: number | null = null,
): Response {
  const headers = new Headers({ "Cache-Control": "no-store" });
  if (retryAfter !== null) headers.set("Retry-After", String(retryAfter));
  return Response.json({ error: { code, message } }, { status, headers });
}

export const onError: ErrorHandler<AppTypes> = (error, context) => {
  if (error instanceof HttpError) return errorResponse(error.status, error.code, error.message, error.retryAfter);
  if (error instanceof SessionError) return errorResponse(SESSION_ERROR_STATUS[error.code], error.code, error.message);
  log("error", "request-failed", { method: context.req.method, path: context.req.path, ...errorFields(error) });
  return errorResponse(500, "internal", "the coordinator failed to answer; its log says why");
};

export const notFound: NotFoundHandler<AppTypes> = (context) =>
  errorResponse(404, "not-found", `no route ${context.req.method} ${context.req.path}`);
