/**
 * The bytes that one session keeps in memory, counted by the code itself (invariant I4): the platform's limit is 128 MB an
 * isolate, and nothing in it says how much one object holds. Whoever is to keep a large buffer takes its bytes here first
 * and gives them back when it lets go; who gets none is served later or refused.
 */

/** What a Durable Object may hold; the rest of the isolate's 128 MB is the runtime's and the code's. */
export const MEMORY_LIMIT = 96_000_000;

export type Account =
  /** The optimizer's linear memory. */
  | "kernels"
  /** What each client added to the open step, where they are compared before they are added. */
  | "rows"
  /** Evidence of results that are computed twice. */
  | "audits"
  /** Contributions of several frames, from the lease until they are added. */
  | "uploads"
  /** Weights sent and not yet acknowledged. */
  | "downlinks"
  /** Weights being read over HTTP. */
  | "downloads";

export class Ledger {
  readonly limit: number;
  readonly #accounts = new Map<Account, number>();
  #used = 0;
  #peak = 0;

  constructor(limit: number = MEMORY_LIMIT) {
    this.limit = limit;
  }

  get free(): number {
    return this.limit - this.#used;
  }

  /** Takes bytes if there is room. */
  take(account: Account, bytes: number): boolean {
    if (bytes > this.free) return false;
    this.#enter(account, bytes);
    return true;
  }

  give(account: Account, bytes: number): void {
    this.#enter(account, -bytes);
  }

  report(): { limit: number; used: number; peak: number; accounts: Record<string, number> } {
    return {
      limit: this.limit,
      used: this.#used,
      peak: this.#peak,
      accounts: Object.fromEntries(this.#accounts),
    };
  }

  #enter(account: Account, bytes: number): void {
    const held = (this.#accounts.get(account) ?? 0) + bytes;
    if (held < 0) throw new Error(`the ledger's account ${account} would hold ${held} bytes`);
    this.#accounts.set(account, held);
    this.#used += bytes;
    this.#peak = Math.max(this.#peak, this.#used);
  }
}
