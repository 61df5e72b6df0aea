/**
 * Reading from the session's server with every size bounded. Redirects are errors: a session's data comes from the
 * server that the caller named and from nowhere else.
 */

import { backoffDelay } from "./backoff.ts";
import { describeError } from "./errors.ts";
import type { Platform } from "./platform.ts";

export const REQUEST_TIMEOUT = 60_000;
const SMALLEST_BUFFER = 65_536;

/** No usable answer: `status` is 0 if there was none at all. `code` is the server's own error code, if it sent one. */
export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  /** Milliseconds for which the server asks to be left alone. */
  readonly retryAfter: number;
  constructor(status: number, code: string, message: string, retryAfter = 0) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export interface Reply {
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Reads a body of at most `limit` bytes without trusting its announced length. */
async function readBounded(response: Response, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const announced = Number(response.headers.get("content-length") ?? 0);
  const tooLarge = () => new HttpError(response.status, "too-large", `the answer is larger than ${limit} bytes`);
  if (announced > limit) {
    await response.body?.cancel();
    throw tooLarge();
  }
  if (response.body === null) return new Uint8Array(0);
  const reader = response.body.getReader();
  // One buffer that grows: a body may come byte by byte.
  let body = new Uint8Array(Math.min(limit, Math.max(announced, SMALLEST_BUFFER)));
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.byteLength > limit) {
      await reader.cancel();
      throw tooLarge();
    }
    if (length + value.byteLength > body.byteLength) {
      const larger = new Uint8Array(Math.min(limit, Math.max(2 * body.byteLength, length + value.byteLength)));
      larger.set(body.subarray(0, length));
      body = larger;
    }
    body.set(value, length);
    length += value.byteLength;
  }
  return length === body.byteLength ? body : body.slice(0, length);
}

const ERROR_BODY_LIMIT = 16_384;

function readErrorBody(body: Uint8Array): { code: string; message: string } {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    if (typeof value === "object" && value !== null && "error" in value) {
      const { error } = value;
      if (typeof error === "object" && error !== null && "code" in error && "message" in error) {
        return { code: String(error.code).slice(0, 100), message: String(error.message).slice(0, 500) };
      }
    }
  } catch {
    return { code: "", message: "" };
  }
  return { code: "", message: "" };
}

/** Longest time, in milliseconds, for which a server is believed that it wants to be left alone. */
const LONGEST_PAUSE = 60_000;

function retryAfterOf(headers: Headers): number {
  const seconds = Number(headers.get("retry-after") ?? 0);
  return seconds > 0 ? Math.min(seconds * 1_000, LONGEST_PAUSE) : 0;
}

/** Milliseconds before attempt number `attempt` after this error, counted from 0; `random` is uniform in [0, 1). */
export function pauseAfter(error: unknown, attempt: number, random: number): number {
  const asked = error instanceof HttpError ? error.retryAfter : 0;
  return asked + backoffDelay(attempt, random);
}

/** GET with a bounded body. Throws HttpError for everything but a 2xx answer that fits. */
export async function get(
  platform: Pick<Platform, "fetch" | "setTimer" | "clearTimer">,
  url: string,
  limit: number,
  signal?: AbortSignal,
): Promise<Reply> {
  const abort = new AbortController();
  const onAbort = () => abort.abort();
  if (signal?.aborted) abort.abort();
  signal?.addEventListener("abort", onAbort);
  const timer = platform.setTimer(() => abort.abort(), REQUEST_TIMEOUT);
  try {
    const response = await platform.fetch(url, {
      credentials: "omit",
      referrerPolicy: "no-referrer",
      redirect: "error",
      signal: abort.signal,
    });
    if (response.ok) return { headers: response.headers, body: await readBounded(response, limit) };
    const { code, message } = readErrorBody(await readBounded(response, ERROR_BODY_LIMIT));
    const { status, headers } = response;
    throw new HttpError(status, code, message || `${url} answered ${status}`, retryAfterOf(headers));
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(0, "network", `${url}: ${describeError(error)}`);
  } finally {
    platform.clearTimer(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Whether asking again may help: no answer, an overloaded server, or a restarting one. */
export function mayRetry(error: unknown): boolean {
  return error instanceof HttpError && (error.status === 0 || error.status === 429 || error.status >= 500);
}
