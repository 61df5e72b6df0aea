/**
 * What a socket remembers while its object sleeps: who is at the other end, which weights it has, and the lease it works
 * on. The platform keeps at most 16 KiB a socket; the labels' limits keep this far below.
 */

import type { ClientMessage } from "../../shared/protocol/messages.ts";
import type { Lease } from "../round/types.ts";

export type EngineName = Extract<ClientMessage, { type: "hello" }>["engine"];

export interface MemberAttachment {
  readonly phase: "member";
  readonly id: string;
  /** Hex SHA-256 of the resume key. */
  readonly keyHash: string;
  /** Addresses that may be one person's (workers/address-block.ts), for audits; empty where it is not known. */
  readonly block?: string;
  /** And for quotas. */
  readonly quotaBlock?: string;
  readonly engine: EngineName;
  readonly device: string;
  /** Public name; empty for none. */
  readonly name: string;
  /** Weights that the client acknowledged. */
  readonly version: number | null;
  /** Weights sent to it and not yet acknowledged. */
  readonly sent: number | null;
  /** Most micro-batches it wants at a time; null until it says so. */
  readonly capacity: number | null;
  readonly lease: Lease | null;
  /** Samples it added that are durable. */
  readonly samples: number;
}

/** `new` has not said hello, and `checked` is who it is if nobody that is known; `closed` is on its way out, and whatever it still sends is ignored. */
export type Attachment =
  | { readonly phase: "new"; readonly block?: string; readonly quotaBlock?: string; readonly checked?: string }
  | { readonly phase: "closed" }
  | MemberAttachment;

export function writeAttachment(socket: WebSocket, attachment: Attachment): void {
  socket.serializeAttachment(attachment);
}

export function readAttachment(socket: WebSocket): Attachment {
  return (socket.deserializeAttachment() as Attachment | null) ?? { phase: "new" };
}
