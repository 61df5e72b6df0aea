/** A client as the object knows it while it is awake; the attachment of its socket is what survives a sleep. */

import type { Lease } from "../round/types.ts";
import { type EngineName, type MemberAttachment, writeAttachment } from "./attachment.ts";
import type { Allowance } from "./quotas.ts";
import type { Upload } from "./upload.ts";

export class Client {
  readonly id: string;
  readonly socket: WebSocket;
  readonly keyHash: string;
  readonly block: string;
  readonly quotaBlock: string;
  readonly allowance: Allowance;
  readonly engine: EngineName;
  readonly device: string;
  readonly name: string;
  /** Weights that it acknowledged; null until it has any. */
  version: number | null;
  /** Weights sent and not acknowledged; at most one transfer is under way. */
  sent: number | null;
  /** Bytes of that transfer. */
  sentBytes = 0;
  capacity: number | null;
  /** Leases it may still answer, by number: the current one, and expired ones whose late result would still count. */
  readonly leases = new Map<number, Lease>();
  /** Latest lease that it answered. */
  answered: number | null = null;
  upload: Upload | null = null;
  /** Bytes of memory that are kept for its result. */
  granted = 0;
  /** Version of the weights that its last result which counted was computed at; 0 if none did since this awakening. */
  contributed = 0;
  /** Samples it added that are durable. */
  samples: number;
  /** It asked to be forgotten: what it added counts in totals alone. */
  isForgotten = false;

  constructor(socket: WebSocket, from: MemberAttachment, allowance: Allowance) {
    this.socket = socket;
    this.allowance = allowance;
    this.id = from.id;
    this.keyHash = from.keyHash;
    // Sockets that an older deployment accepted have none, and no name.
    this.block = from.block ?? "";
    this.quotaBlock = from.quotaBlock ?? "";
    this.engine = from.engine;
    this.device = from.device;
    this.name = from.name ?? "";
    this.version = from.version;
    this.sent = from.sent;
    this.capacity = from.capacity;
    this.samples = from.samples;
    if (from.lease !== null) this.leases.set(from.lease.id, from.lease);
  }

  /** The lease that it was given last, if it has not answered it. */
  get lease(): Lease | null {
    let last: Lease | null = null;
    for (const lease of this.leases.values()) last = lease;
    return last;
  }

  /** Writes down what must survive a sleep. */
  remember(): void {
    writeAttachment(this.socket, {
      phase: "member",
      id: this.id,
      keyHash: this.keyHash,
      block: this.block,
      quotaBlock: this.quotaBlock,
      engine: this.engine,
      device: this.device,
      name: this.name,
      version: this.version,
      sent: this.sent,
      capacity: this.capacity,
      lease: this.lease,
      samples: this.samples,
    });
  }
}
