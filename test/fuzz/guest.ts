/** A client over a socket of Node's that says what a test tells it to. */

import { HEADER_BYTES } from "../../shared/protocol/frames.ts";
import {
  type ClientMessage,
  type CoordinatorMessage,
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
  SUBPROTOCOL,
} from "../../shared/protocol/messages.ts";

export type Heard =
  | CoordinatorMessage
  | { readonly type: "weights"; readonly version: number }
  | { readonly type: "closed" };

/** What it hears waits in order. */
export class Guest {
  readonly #url: string;
  readonly #heard: Heard[] = [];
  #wake: () => void = () => {};
  #socket: WebSocket | null = null;

  constructor(url: string) {
    this.#url = url;
  }

  get isOpen(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Bytes that the socket has not taken yet. */
  get backlog(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  async open(): Promise<void> {
    this.#heard.length = 0;
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error("a socket was not opened")));
      socket.addEventListener("message", ({ data }) => this.#take(data as ArrayBuffer));
      socket.addEventListener("close", () => this.#hear({ type: "closed" }));
    });
  }

  close(): void {
    this.#socket?.close();
  }

  send(message: ClientMessage): void {
    this.sendBytes(encodeMessage(message));
  }

  sendBytes(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.isOpen) this.#socket?.send(bytes);
  }

  async next(): Promise<Heard> {
    for (;;) {
      const first = this.#heard.shift();
      if (first !== undefined) return first;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next of a kind; null once the socket is closed. What comes before it is forgotten. */
  async of<Type extends Heard["type"]>(type: Type): Promise<Extract<Heard, { type: Type }> | null> {
    for (;;) {
      const heard = await this.next();
      if (heard.type === type) return heard as Extract<Heard, { type: Type }>;
      if (heard.type === "closed") return null;
    }
  }

  #take(data: ArrayBuffer): void {
    if (!isFrame(data)) this.#hear(decodeCoordinatorMessage(data));
    else {
      const view = new DataView(data);
      if (view.getUint32(40, true) + data.byteLength - HEADER_BYTES === view.getUint32(44, true)) {
        this.#hear({ type: "weights", version: view.getUint32(8, true) });
      }
    }
  }

  #hear(heard: Heard): void {
    this.#heard.push(heard);
    this.#wake();
  }
}
