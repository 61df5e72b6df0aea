/** A Durable Object that takes in frames as a session's does, and does nothing with them. */

import { DurableObject } from "cloudflare:workers";
import { decodeFrame } from "../../../shared/protocol/frames.ts";

export class Ingest extends DurableObject {
  #bytes = 0;
  #expected = 0;

  /** Opens a socket; once `expected` bytes are here, over all sockets, the last sender is told by a byte. */
  override async fetch(request: Request): Promise<Response> {
    this.#expected = Number(new URL(request.url).searchParams.get("expected"));
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    if (typeof message === "string") return;
    decodeFrame(message);
    this.#bytes += message.byteLength;
    if (this.#bytes < this.#expected) return;
    this.#bytes = 0;
    socket.send(new Uint8Array(1));
  }
}
