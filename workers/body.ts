/** Request bodies, read with a bound that does not trust the announced length. */

import { HttpError } from "./errors.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

/** Throws HttpError 413 `limit-exceeded` as soon as more than `limit` bytes have come. */
export async function readBytes(request: Request, limit: number, what: string): Promise<Uint8Array<ArrayBuffer>> {
  const announced = Number(request.headers.get("Content-Length") ?? 0);
  if (announced > limit) throw tooLarge(what, announced, limit);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of request.body ?? []) {
    const bytes = part as Uint8Array;
    length += bytes.byteLength;
    if (length > limit) throw tooLarge(what, length, limit);
    parts.push(bytes);
  }
  const body = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    body.set(part, offset);
    offset += part.byteLength;
  }
  return body;
}

/** Throws HttpError 413 `limit-exceeded` or 400 `bad-json`. */
export async function readJson(request: Request, limit: number, what: string): Promise<unknown> {
  const bytes = await readBytes(request, limit, what);
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch {
    throw new HttpError(400, "bad-json", `${what} is not JSON in UTF-8`);
  }
}

function tooLarge(what: string, bytes: number, limit: number): HttpError {
  return new HttpError(413, "limit-exceeded", `${what} has ${bytes} bytes or more, the limit is ${limit}`);
}
