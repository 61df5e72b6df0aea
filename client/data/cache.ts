/**
 * Chunks kept by the browser between visits, by hash, for all sessions of this origin. It holds no more than its share
 * of what the browser grants, and a browser without it only downloads again.
 */

import type { ByteCache } from "../core/platform.ts";

const CACHE = "commonweight-chunks-1";
/** Part of the origin's quota after which nothing more is kept. */
const SHARE = 0.5;

/** The name is no address: nothing is ever fetched from it. */
const requestOf = (hash: string): Request => new Request(`https://chunks.commonweight.invalid/${hash}`);

/** Null where the platform has no Cache API: insecure pages and opaque origins. */
export async function openChunkCache(
  caches: CacheStorage | undefined,
  storage: Pick<StorageManager, "estimate"> | undefined,
): Promise<ByteCache | null> {
  if (caches === undefined) return null;
  let cache: Cache;
  try {
    cache = await caches.open(CACHE);
  } catch {
    // Private windows and sandboxed frames have the API and refuse its use.
    return null;
  }
  return {
    async get(hash) {
      const response = await cache.match(requestOf(hash));
      return response === undefined ? null : new Uint8Array(await response.arrayBuffer());
    },
    async put(hash, bytes) {
      const { usage = 0, quota = 0 } = (await storage?.estimate()) ?? {};
      if (usage + bytes.byteLength > quota * SHARE) return;
      await cache.put(requestOf(hash), new Response(bytes));
    },
  };
}
