/**
 * Weights over sockets, paced by acknowledgements: who is sent the newest ones, whole or as what changed, and whose turn it is where
 * there is not memory for everyone at a time.
 */

import type { Client } from "./client.ts";
import type { Ledger } from "./ledger.ts";
import type { Quotas } from "./quotas.ts";
import type { Run } from "./run.ts";
import { cutFrames, framedBytes } from "./sections.ts";
import type { Tally } from "./tally.ts";
import type { UploadMemory } from "./upload-memory.ts";

/** Who is sent weights: all of them, or what changed. */
interface Receivers {
  readonly whole: readonly Client[];
  readonly changed: readonly Client[];
}

const NOBODY: Receivers = { whole: [], changed: [] };

export interface SenderOptions {
  readonly run: Run;
  readonly ledger: Ledger;
  readonly uploads: UploadMemory;
  readonly quotas: Quotas;
  readonly tally: Tally;
  /** Bytes of one transfer of all weights, headers included. */
  readonly transferBytes: number;
  readonly post: (client: Client, bytes: Uint8Array<ArrayBuffer>) => void;
}

export class WeightsSender {
  readonly #options: SenderOptions;
  /** Clients that are behind and found no memory free for their weights. */
  readonly #unserved = new Set<Client>();
  /** Who is about to be sent the version that was committed. */
  #chosen: Receivers = NOBODY;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Somebody who was connected before a sleep: what was sent before is still under way to its socket. */
  rejoin(client: Client): void {
    const { ledger, quotas, transferBytes } = this.#options;
    if (client.sent === null) return;
    quotas.expectAnswer(client.allowance);
    if (ledger.take("downlinks", transferBytes)) client.sentBytes = transferBytes;
    else client.sent = null;
  }

  /**
   * Sends the newest weights to those of the clients that have older ones and nothing unacknowledged under way, as far as there is
   * memory: what changed to those that have the version before, all to others. Who pauses gets none: it would not acknowledge
   * them, and the memory would be missing. Whoever has not contributed for longest comes first: else, where there are more
   * clients than memory serves at a time, the same ones would go without step after step.
   */
  send(clients: Iterable<Client>): void {
    this.#transfer(this.#receivers(clients));
  }

  /** Somebody left or was served: those who found no memory may now. */
  sendToUnserved(): void {
    if (this.#unserved.size > 0) this.send([]);
  }

  /** The first half of `send`, for what is to happen before the second: takes the memory. */
  choose(clients: Iterable<Client>): void {
    this.#chosen = this.#receivers(clients);
  }

  /** Those chosen who can be given work with the weights: there is memory for their result as well, and for one more. */
  chosenAhead(): Client[] {
    const { ledger, uploads } = this.#options;
    // Where memory is short it is for weights first: they serve more clients.
    if (this.#unserved.size > 0) return [];
    const { whole, changed } = this.#chosen;
    return [...changed, ...whole].filter((client) => ledger.free >= 2 * uploads.largest && uploads.grant(client));
  }

  sendChosen(): void {
    const chosen = this.#chosen;
    this.#chosen = NOBODY;
    this.#transfer(chosen);
  }

  /** What was under way to a client has arrived, or never will. */
  settle(client: Client): void {
    if (client.sent === null) return;
    client.sent = null;
    this.#options.ledger.give("downlinks", client.sentBytes);
  }

  forget(client: Client): void {
    this.#unserved.delete(client);
    this.settle(client);
  }

  /** Those who are to be sent the newest weights, with the memory for it taken. */
  #receivers(clients: Iterable<Client>): Receivers {
    const { run, ledger, uploads, transferBytes } = this.#options;
    const { version, stage } = run.state;
    if (stage === "done") return NOBODY;
    const waiting = [...new Set([...this.#unserved, ...clients])].filter(
      (client) => client.version !== null && client.version < version && client.sent === null && client.capacity !== 0,
    );
    this.#unserved.clear();
    if (waiting.length === 0) return NOBODY;
    const whole: Client[] = [];
    const changed: Client[] = [];
    const change = run.change();
    const changeBytes = change === null ? 0 : framedBytes(change.total);
    // Room for one result stays free: who gets a lease without weights of its own before it needs memory, too.
    let room = ledger.free - uploads.largest;
    if (waiting.length * transferBytes > room) waiting.sort((a, b) => a.contributed - b.contributed);
    for (const client of waiting) {
      const hasBefore = change !== null && client.version === version - 1;
      const bytes = hasBefore ? changeBytes : transferBytes;
      if (bytes > room) {
        this.#unserved.add(client);
        continue;
      }
      room -= bytes;
      ledger.take("downlinks", bytes);
      client.sent = version;
      client.sentBytes = bytes;
      (hasBefore ? changed : whole).push(client);
    }
    return { whole, changed };
  }

  #transfer({ whole, changed }: Receivers): void {
    if (whole.length + changed.length === 0) return;
    const { run, tally } = this.#options;
    const since = performance.now();
    const { version, step } = run.state;
    const change = changed.length === 0 ? null : run.change();
    const header = { kind: "weights", version, step, lease: 0, clamped: 0, loss: 0n, weight: 0n } as const;
    if (change !== null) this.#broadcast(changed, cutFrames({ ...header, codec: "sparse" }, change));
    this.#broadcast(whole, cutFrames({ ...header, codec: "float32" }, run.weights()));
    tally.lap("broadcast", since);
  }

  /** Frame by frame and not client by client: each is made once, and there is one of them at a time. */
  #broadcast(receivers: readonly Client[], frames: Iterable<Uint8Array<ArrayBuffer>>): void {
    if (receivers.length === 0) return;
    const { post, quotas } = this.#options;
    for (const frame of frames) for (const client of receivers) post(client, frame);
    for (const client of receivers) {
      client.remember();
      quotas.expectAnswer(client.allowance);
    }
  }
}
