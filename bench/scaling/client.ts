/**
 * A client of which only the engine is made up: it takes leases and weights over a real socket and answers at once, with integers
 * that were there before. Of the weights it reads the header and counts the rest.
 */

import { HEADER_BYTES, MAX_PAYLOAD_BYTES, writeHeader } from "../../shared/protocol/frames.ts";
import { decodeCoordinatorMessage, encodeMessage, isFrame, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { type MadeWork, makeBody, makeHeader } from "../harness/contributions.ts";
import { maskBytes, RawSocket } from "../harness/raw-socket.ts";

/** Bodies by kind of work, cut and masked: all clients of a process send the same ones. */
export interface Answers {
  readonly definition: SessionDefinition;
  readonly bodies: Readonly<Record<MadeWork, { readonly total: number; readonly parts: readonly Buffer[] }>>;
}

export function prepareAnswers(definition: SessionDefinition): Answers {
  const cut = (work: MadeWork) => {
    const body = makeBody(definition, work);
    const parts: Buffer[] = [];
    for (let offset = 0; offset < body.byteLength; offset += MAX_PAYLOAD_BYTES) {
      parts.push(maskBytes(body.subarray(offset, offset + MAX_PAYLOAD_BYTES)));
    }
    return { total: body.byteLength, parts };
  };
  return { definition, bodies: { calibrate: cut("calibrate"), train: cut("train") } };
}

/** What a client did; bytes are of messages, without what sockets add. */
export interface ClientCounts {
  accepted: number;
  /** Accepted results of training steps. */
  trained: number;
  refused: number;
  /** Sockets that were closed before the session ended. */
  lost: number;
  bytesUp: number;
  bytesDown: number;
  /** What the coordinator complained of, the last time; empty if it never did. */
  problem: string;
}

export class MadeClient {
  readonly counts: ClientCounts = {
    accepted: 0,
    trained: 0,
    refused: 0,
    lost: 0,
    bytesUp: 0,
    bytesDown: 0,
    problem: "",
  };
  readonly #answers: Answers;
  readonly #welcomed = Promise.withResolvers<void>();
  #socket: RawSocket | null = null;
  #rests = false;
  /** The session has ended, and with it all sockets. */
  #over = false;
  #answered: MadeWork = "calibrate";

  constructor(answers: Answers) {
    this.#answers = answers;
  }

  /**
   * Resolves once the coordinator knows it.
   * @param address that it comes from
   * @param rests is there, and wants no work
   */
  async join(url: string, address: string, rests: boolean): Promise<void> {
    const handlers = {
      message: (head: Uint8Array<ArrayBuffer>, length: number) => this.#hear(head, length),
      closed: () => {
        if (!this.#over) this.counts.lost += 1;
        this.#welcomed.reject(new Error(`${url} closed: ${this.counts.problem}`));
      },
    };
    this.#rests = rests;
    this.#socket = await RawSocket.open(url, [SUBPROTOCOL], handlers, address);
    this.#say({ type: "hello", engine: "native", device: "made up" });
    await this.#welcomed.promise;
  }

  leave(): void {
    this.#socket?.close();
  }

  #say(message: Parameters<typeof encodeMessage>[0]): void {
    const bytes = encodeMessage(message);
    this.counts.bytesUp += bytes.byteLength;
    this.#socket?.send(bytes);
  }

  #hear(head: Uint8Array<ArrayBuffer>, length: number): void {
    this.counts.bytesDown += length;
    if (isFrame(head.buffer)) this.#takeFrame(new DataView(head.buffer), length);
    else this.#takeMessage(head.buffer);
  }

  /** The last frame of the weights sets them. */
  #takeFrame(header: DataView, length: number): void {
    const version = header.getUint32(8, true);
    const offset = header.getUint32(40, true);
    const total = header.getUint32(44, true);
    if (offset + length - HEADER_BYTES === total) this.#say({ type: "ready", version });
  }

  #takeMessage(bytes: ArrayBuffer): void {
    const message = decodeCoordinatorMessage(bytes);
    if (message.type === "welcome") {
      if (this.#rests) this.#say({ type: "capacity", microBatches: 0 });
      else this.#say({ type: "ready", version: message.version });
      this.#welcomed.resolve();
    } else if (message.type === "progress") this.#over ||= message.stage === "done";
    else if (message.type === "receipt") this.#count(message.accepted);
    else if (message.type === "error") this.counts.problem = `${message.code}: ${message.message}`;
    else if (message.type === "assign") this.#answer(message.work === "calibrate" ? "calibrate" : "train", message);
  }

  /** Receipts come in the order of the answers, and one lease is held at a time. */
  #count(accepted: boolean): void {
    this.counts[accepted ? "accepted" : "refused"] += 1;
    if (accepted && this.#answered === "train") this.counts.trained += 1;
  }

  #answer(work: MadeWork, lease: Parameters<typeof makeHeader>[2]): void {
    const { definition, bodies } = this.#answers;
    const { total, parts } = bodies[work];
    const header = makeHeader(definition, work, lease);
    this.#answered = work;
    for (const [index, part] of parts.entries()) {
      const head = new Uint8Array(HEADER_BYTES);
      writeHeader(new DataView(head.buffer), { ...header, offset: index * MAX_PAYLOAD_BYTES, total }, part.byteLength);
      this.#socket?.sendMasked(head, part);
      this.counts.bytesUp += HEADER_BYTES + part.byteLength;
    }
  }
}
