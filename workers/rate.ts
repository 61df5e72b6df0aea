/**
 * How often one address block may knock: a bucket of joins each, that fills again. It is kept by the isolate, so it is
 * approximate where Cloudflare runs many isolates; how many sockets a block may hold is counted exactly by the
 * session's object. A flood is answered here, without waking an object and without opening a socket.
 */

import { blockOf } from "../coordinator/session/addresses.ts";
import { HttpError } from "./errors.ts";

/** Joins at once, and how many more each second: a school of volunteers behind one address gets in, a flood does not. */
export const JOIN_BURST = 512;
export const JOINS_PER_SECOND = 32;
const MOST_BLOCKS = 10_000;

interface Bucket {
  left: number;
  /** Milliseconds since 1970. */
  at: number;
}

export class JoinRate {
  readonly #buckets = new Map<string, Bucket>();

  /** Takes one join of the block that an address is in; false if there is none left. `now` is in milliseconds. */
  take(address: string, now: number): boolean {
    const block = blockOf(address);
    const before = this.#buckets.get(block) ?? { left: JOIN_BURST, at: now };
    const left = Math.min(JOIN_BURST, before.left + ((now - before.at) / 1_000) * JOINS_PER_SECOND);
    const isAllowed = left >= 1;
    // Last in the map is who came last: who is dropped where there are too many came long ago.
    this.#buckets.delete(block);
    this.#buckets.set(block, { left: isAllowed ? left - 1 : left, at: now });
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > MOST_BLOCKS && oldest !== undefined) this.#buckets.delete(oldest);
    return isAllowed;
  }
}

const joins = new JoinRate();

/**
 * Throws HttpError 429 `rate-limited`. Where nobody says the address nothing is limited: Cloudflare always does, the local
 * coordinator, which clients reach directly, does not.
 */
export function limitJoins(address: string | undefined): void {
  if (address === undefined || joins.take(address, Date.now())) return;
  throw new HttpError(429, "rate-limited", "too many connections from your network: try again in a minute");
}
