/** What was measured of a GPU adapter, kept between visits in the browser's Cache storage. */

import { createVariantMemory, type VariantMemory } from "../engine/webgpu/probe.ts";

const NAME = "commonweight-variants";

/** A cache address that no request is ever made to. */
const addressOf = (adapter: string): string => `https://variants.invalid/${encodeURIComponent(adapter)}`;

/** Where there is no such storage, as on insecure pages, until the worker ends. What fails is measured again. */
export function openVariantMemory(): VariantMemory {
  if (globalThis.caches === undefined) return createVariantMemory();
  return {
    async read(adapter) {
      try {
        return await (await (await caches.open(NAME)).match(addressOf(adapter)))?.json();
      } catch {
        return undefined;
      }
    },
    async write(adapter, choices) {
      try {
        await (await caches.open(NAME)).put(addressOf(adapter), Response.json(choices));
      } catch {
        // A full disk costs another measurement at the next visit.
      }
    },
  };
}
