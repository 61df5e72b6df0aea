/** Public identities and secret resume keys: 128 random bits each in hex; only the key's hash is kept. */

import type { Key } from "../../shared/random/index.ts";

const encoder = new TextEncoder();

export const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const randomHex = (bytes: number): string => hex(crypto.getRandomValues(new Uint8Array(bytes)));

export async function sha256Hex(data: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

/** A key for the counter-based generator, of 64 random bits. */
export function randomKey(): Key {
  const [first, second] = new Uint32Array(crypto.getRandomValues(new Uint8Array(8)).buffer);
  return [first, second];
}

/** Compares two hex digests in constant time. */
export function sameHash(a: string, b: string): boolean {
  const [left, right] = [encoder.encode(a), encoder.encode(b)];
  return left.byteLength === right.byteLength && crypto.subtle.timingSafeEqual(left, right);
}
