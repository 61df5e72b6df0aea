/**
 * Reading from the session's server with every size bounded. Redirects are errors: a session's data comes from the
 * server that the caller named and from nowhere else.
 */

import { describeError } from "./errors.ts";
import type { Platform } from "./platform.ts";

export const REQUEST_TIMEOUT = 60_000;

/** No usable answer: `status` is 0 if there was none at all. `code` is the server's own error code, if it sent one. */
export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
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
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.byteLength;
    if (length > limit) {
      await reader.cancel();
      throw tooLarge();
    }
    parts.push(value);
  }
  const body = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    body.set(part, offset);
    offset += part.byteLength;
  }
  return body;
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
    throw new HttpError(response.status, code, message || `${url} answered ${response.status}`);
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
