/**
 * A WebSocket client without a runtime's own costs: frames are masked once and written again and again. It speaks as much of
 * RFC 6455 as a measurement needs: binary messages of one frame each, from and to a server that we know.
 */

import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";

const KEY = Buffer.from([0x6b, 0x27, 0xd1, 0x84]);
const BINARY = 0x82;
const CLOSE = 0x88;
const MASKED = 0x80;

/** The payload as it goes over the line: clients mask. */
export function maskBytes(bytes: Uint8Array): Buffer {
  const masked = Buffer.alloc(bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at++) masked[at] = bytes[at] ^ KEY[at & 3];
  return masked;
}

/** What goes before the masked payload of a binary message. */
function prefixOf(length: number): Buffer {
  const size = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const prefix = Buffer.alloc(size + KEY.byteLength);
  prefix[0] = BINARY;
  prefix[1] = MASKED | (size === 2 ? length : size === 4 ? 126 : 127);
  if (size === 4) prefix.writeUInt16BE(length, 2);
  if (size === 10) prefix.writeUInt32BE(length, 6);
  KEY.copy(prefix, size);
  return prefix;
}

interface Header {
  readonly kind: number;
  /** Bytes before the payload, and of it. */
  readonly size: number;
  readonly length: number;
}

/** The header of an unmasked frame at the beginning of `bytes`; null while it is not all there. */
function readHeader(bytes: Buffer): Header | null {
  if (bytes.byteLength < 2) return null;
  const short = bytes[1] & 127;
  const size = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.byteLength < size) return null;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : bytes.readUInt32BE(6);
  return { kind: bytes[0], size, length };
}

export interface RawHandlers {
  /** The first bytes of a message, at most `HEAD` of them, and its length; the rest is counted and thrown away. */
  message(head: Uint8Array<ArrayBuffer>, length: number): void;
  closed(): void;
}

/** Bytes of a message that its receiver is shown: control messages are shorter, tensors need only their header. */
export const HEAD = 4096;

export class RawSocket {
  readonly #socket: Socket;
  readonly #handlers: RawHandlers;
  /** Of a header that is not all there. */
  #early: Buffer = Buffer.alloc(0);
  #header: Header | null = null;
  /** Bytes of the present message that are still to come, and what is shown of it. */
  #left = 0;
  #shown = 0;
  readonly #head = Buffer.alloc(HEAD);

  /** Resolves once the server has agreed. @param localAddress to connect from, one of this machine's */
  static open(
    url: string,
    protocols: readonly string[],
    handlers: RawHandlers,
    localAddress?: string,
  ): Promise<RawSocket> {
    const { hostname, port, pathname, search, host } = new URL(url);
    const socket = connect({
      port: Number(port),
      host: hostname,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    socket.setNoDelay(true);
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("close", () => reject(new Error(`${url} closed before it was open`)));
      const lines = [
        `GET ${pathname}${search} HTTP/1.1`,
        `Host: ${host}`,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
        ...(protocols.length === 0 ? [] : [`Sec-WebSocket-Protocol: ${protocols.join(", ")}`]),
      ];
      socket.write(`${lines.join("\r\n")}\r\n\r\n`);
      let answer = Buffer.alloc(0);
      const listen = (bytes: Buffer): void => {
        answer = Buffer.concat([answer, bytes]);
        const end = answer.indexOf("\r\n\r\n");
        if (end < 0) return;
        socket.off("data", listen);
        const status = answer.toString("latin1", 0, answer.indexOf("\r\n"));
        if (!status.includes(" 101 ")) reject(new Error(`${url} answered ${status}`));
        else resolve(new RawSocket(socket, handlers, answer.subarray(end + 4)));
      };
      socket.on("data", listen);
    });
  }

  private constructor(socket: Socket, handlers: RawHandlers, first: Buffer) {
    this.#socket = socket;
    this.#handlers = handlers;
    socket.removeAllListeners("close");
    socket.on("error", () => {}); // its close follows
    socket.on("close", () => handlers.closed());
    socket.on("data", (bytes) => this.#take(bytes));
    this.#take(first);
  }

  send(message: Uint8Array): void {
    this.sendMasked(new Uint8Array(0), maskBytes(message));
  }

  /** A message of a head, whose length is a multiple of 4, and a rest that `maskBytes` has masked already. */
  sendMasked(head: Uint8Array, rest: Uint8Array): void {
    this.#socket.cork();
    this.#socket.write(prefixOf(head.byteLength + rest.byteLength));
    if (head.byteLength > 0) this.#socket.write(maskBytes(head));
    this.#socket.write(rest);
    this.#socket.uncork();
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    let rest = this.#early.byteLength === 0 ? bytes : Buffer.concat([this.#early, bytes]);
    this.#early = Buffer.alloc(0);
    while (rest.byteLength > 0) {
      if (this.#header === null) {
        this.#header = readHeader(rest);
        if (this.#header === null) {
          this.#early = rest;
          return;
        }
        rest = rest.subarray(this.#header.size);
        this.#left = this.#header.length;
        this.#shown = 0;
      }
      const part = rest.subarray(0, this.#left);
      this.#shown += part.copy(this.#head, this.#shown);
      this.#left -= part.byteLength;
      rest = rest.subarray(part.byteLength);
      if (this.#left === 0) this.#end(this.#header);
    }
  }

  #end({ kind, length }: Header): void {
    this.#header = null;
    if (kind === BINARY) this.#handlers.message(new Uint8Array(this.#head.subarray(0, this.#shown)), length);
    if (kind === CLOSE) this.#socket.destroy();
  }
}
