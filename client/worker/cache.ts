/** Chunks of data sets kept between visits, in the browser's Cache storage, by their hash. */

import type { ByteCache } from "../core/platform.ts";

const NAME = "commonweight-chunks";

/** A cache address that no request is ever made to. */
const addressOf = (hash: string): string => `https://chunk.invalid/${hash}`;

/** Null where there is no such storage, as on insecure pages. What fails is only not cached. */
export function openChunkCache(): ByteCache | null {
  if (globalThis.caches === undefined) return null;
  return {
    async get(hash) {
      try {
        const held = await (await caches.open(NAME)).match(addressOf(hash));
        return held === undefined ? null : new Uint8Array(await held.arrayBuffer());
      } catch {
        return null;
      }
    },
    async put(hash, bytes) {
      try {
        await (await caches.open(NAME)).put(addressOf(hash), new Response(bytes));
      } catch {
        // A full disk costs a download at the next visit.
      }
    },
  };
}
