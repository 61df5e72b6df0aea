/**
 * How often one address block may ask. A bucket each is kept by the isolate, so it is approximate where Cloudflare runs many isolates;
 * what comes over sockets is counted exactly by the session's object (coordinator/session/quotas.ts). A flood is answered here, before
 * a token is looked at, an object woken, or a socket opened.
 *
 * Where nobody says the address nothing is limited: Cloudflare always does, the local coordinator, which clients reach directly, does
 * not.
 */

import type { Context, Next } from "hono";
import { Buckets, type Rate, timesRate } from "../coordinator/session/bucket.ts";
import { quotaFactorOf } from "../coordinator/session/quotas.ts";
import { addressBlock } from "./address-block.ts";
import type { AppTypes, Env } from "./env.ts";
import { HttpError } from "./errors.ts";

/**
 * What a school of 512 volunteers behind one address needs: everyone's socket; a page's look at the session every two seconds; and
 * 64 chunks of a data set at once, two a second later.
 */
export const RATES = {
  joins: { burst: 512, perSecond: 32 },
  reads: { burst: 4_096, perSecond: 256 },
  chunks: { burst: 32_768, perSecond: 1_024 },
} as const satisfies Readonly<Record<string, Rate>>;

export type Asked = keyof typeof RATES;

/** Address blocks that an isolate remembers of each kind, at some 200 bytes. */
const MOST_BLOCKS = 10_000;

export class BlockRates {
  readonly #buckets: Readonly<Record<Asked, Buckets>>;

  constructor(factor: number) {
    const bucketsOf = (what: Asked): Buckets => new Buckets(timesRate(RATES[what], factor), MOST_BLOCKS);
    this.#buckets = { joins: bucketsOf("joins"), reads: bucketsOf("reads"), chunks: bucketsOf("chunks") };
  }

  /** Takes one of the block that an address is in; false if there is none left. `now` is in milliseconds. */
  take(what: Asked, address: string | undefined, now: number): boolean {
    const block = addressBlock(address, "quota");
    return block === "" || this.#buckets[what].take(block, 1, now);
  }
}

/** Seconds: by then there is room again for a few hundred. */
const RETRY_AFTER = 10;

/** An isolate has one deployment's variables. */
let rates: BlockRates | null = null;

/** Throws HttpError 429 `rate-limited`. */
export function limit(what: Asked, env: Env, address: string | undefined): void {
  rates ??= new BlockRates(quotaFactorOf(env.QUOTAS));
  if (rates.take(what, address, Date.now())) return;
  const { burst, perSecond } = timesRate(RATES[what], quotaFactorOf(env.QUOTAS));
  throw new HttpError(
    429,
    "rate-limited",
    `your network asks for more than ${burst} ${what} at once and ${perSecond} a second: come back in ${RETRY_AFTER} seconds`,
    RETRY_AFTER,
  );
}

export const addressOf = (context: Context<AppTypes>): string | undefined => context.req.header("CF-Connecting-IP");

/** Everything but sockets. */
export async function limitRequests(context: Context<AppTypes>, next: Next): Promise<void> {
  limit(/\/chunks\//.test(context.req.path) ? "chunks" : "reads", context.env, addressOf(context));
  await next();
}
