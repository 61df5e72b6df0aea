/**
 * How much may be sent that nobody asked for: by one client, by one address block, and by all together. What a client is asked for
 * counts for nothing: a result for each lease, `ready` for each transfer of weights. So training takes nothing from these at any
 * speed, and what is left of an honest client is a greeting, a change of its capacity now and then, and a late result after a sleep.
 *
 * Where nobody says addresses, as with a local coordinator, all clients are likely to be one operator's: then each is held to its own
 * limit, and all together to none.
 */

import { HEADER_BYTES } from "../../shared/protocol/frames.ts";
import { ProtocolError, RATE_LIMIT_PAUSE } from "../../shared/protocol/messages.ts";
import { Bucket, Buckets, type Rate, timesRate } from "./bucket.ts";
import { LEAST_PART_BYTES } from "./upload.ts";

interface Pair<T> {
  readonly messages: T;
  readonly bytes: T;
}

type Level = "client" | "block" | "session";

/**
 * Messages. A block may be a school of 512 clients, of whom every other one changes its capacity each second; all together stay below
 * the thousand messages a second that an object takes.
 */
export const MESSAGES: Readonly<Record<Level, Rate>> = {
  client: { burst: 128, perSecond: 8 },
  block: { burst: 4_096, perSecond: 256 },
  session: { burst: 16_384, perSecond: 512 },
};

/** Bytes: at once some results, which is what may come late, and later on what such messages have at most. */
export const BYTES: Readonly<Record<Level, { readonly results: number; readonly perSecond: number }>> = {
  client: { results: 2, perSecond: 32_768 },
  block: { results: 16, perSecond: 1_048_576 },
  session: { results: 64, perSecond: 2_097_152 },
};

/** What a result counts as at least: a small session has room for other messages, too. */
const LEAST_RESULT = 1_048_576;
/** A client that leaves leases without an answer does not save them up for ever. */
const MOST_RESULTS = 4;
const MOST_ANSWERS = 64;
/** Bytes of a `ready`, and more. */
const ANSWER_BYTES = 64;
/** Address blocks that are remembered, at some 300 bytes. */
const MOST_BLOCKS = 4_096;
/** Of a deployment without limits. */
const OFF = 1e9;

const WHOSE: Readonly<Record<Level, string>> = {
  client: "this client",
  block: "your network",
  session: "everyone here together",
};

/** By what limits are multiplied: `QUOTAS` of the deployment, a positive number or `off`; 1 for whatever else it is. */
export function quotaFactorOf(text: string | undefined): number {
  if (text === "off") return OFF;
  const factor = Number(text ?? "");
  return Number.isFinite(factor) && factor > 0 ? factor : 1;
}

/** When to come back. Clients do so by themselves. */
export const comeBack = `come back in ${RATE_LIMIT_PAUSE / 1_000} seconds`;

/** What one client was asked for and has not sent yet, and what it has left besides. */
export class Allowance {
  messages = 0;
  bytes = 0;
  readonly own: Pair<Bucket>;

  constructor(own: Pair<Bucket>) {
    this.own = own;
  }
}

export class Quotas {
  readonly #rates: Readonly<Record<Level, Pair<Rate>>>;
  /** Messages and bytes of the largest result. */
  readonly #result: Pair<number>;
  readonly #blocks: Pair<Buckets>;
  readonly #all: Pair<Bucket>;

  /** @param largestBody bytes of the session's largest result */
  constructor(factor: number, largestBody: number, now: number) {
    const frames = Math.max(1, Math.ceil(largestBody / LEAST_PART_BYTES));
    this.#result = { messages: frames, bytes: largestBody + frames * HEADER_BYTES };
    const unit = Math.max(LEAST_RESULT, this.#result.bytes);
    const ratesOf = (level: Level): Pair<Rate> => ({
      messages: timesRate(MESSAGES[level], factor),
      bytes: timesRate({ burst: BYTES[level].results * unit, perSecond: BYTES[level].perSecond }, factor),
    });
    this.#rates = { client: ratesOf("client"), block: ratesOf("block"), session: ratesOf("session") };
    const { block, session } = this.#rates;
    this.#blocks = { messages: new Buckets(block.messages, MOST_BLOCKS), bytes: new Buckets(block.bytes, MOST_BLOCKS) };
    this.#all = { messages: new Bucket(session.messages, now), bytes: new Bucket(session.bytes, now) };
  }

  allowance(now: number): Allowance {
    const { messages, bytes } = this.#rates.client;
    return new Allowance({ messages: new Bucket(messages, now), bytes: new Bucket(bytes, now) });
  }

  /** A client was given a lease. */
  expectResult(allowance: Allowance): void {
    const { messages, bytes } = this.#result;
    this.#expect(allowance, messages, bytes);
  }

  /** A client was sent something that it acknowledges. */
  expectAnswer(allowance: Allowance): void {
    this.#expect(allowance, 1, ANSWER_BYTES);
  }

  #expect(allowance: Allowance, messages: number, bytes: number): void {
    const { messages: frames, bytes: size } = this.#result;
    allowance.messages = Math.min(allowance.messages + messages, MOST_RESULTS * frames + MOST_ANSWERS);
    allowance.bytes = Math.min(allowance.bytes + bytes, MOST_RESULTS * size + MOST_ANSWERS * ANSWER_BYTES);
  }

  /**
   * Counts a message: of a client if its sender is one, and of an address block if that is known. Throws ProtocolError
   * `rate-limited`. For what was asked for it allocates nothing.
   */
  take(allowance: Allowance | null, block: string, bytes: number, now: number): void {
    if (allowance !== null) {
      if (allowance.messages > 0 && allowance.bytes >= bytes) {
        allowance.messages -= 1;
        allowance.bytes -= bytes;
        return;
      }
      const { own } = allowance;
      if (!own.messages.take(1, now)) throw this.#refusal("client", "messages");
      if (!own.bytes.take(bytes, now)) throw this.#refusal("client", "bytes");
    }
    if (block === "") return;
    if (!this.#blocks.messages.take(block, 1, now)) throw this.#refusal("block", "messages");
    if (!this.#blocks.bytes.take(block, bytes, now)) throw this.#refusal("block", "bytes");
    if (!this.#all.messages.take(1, now)) throw this.#refusal("session", "messages");
    if (!this.#all.bytes.take(bytes, now)) throw this.#refusal("session", "bytes");
  }

  #refusal(level: Level, what: keyof Pair<Rate>): ProtocolError {
    const { burst, perSecond } = this.#rates[level][what];
    return new ProtocolError(
      "rate-limited",
      `${WHOSE[level]} sent more than was asked for: at most ${burst} ${what} at once and ${perSecond} a second are taken; ${comeBack}`,
    );
  }
}
