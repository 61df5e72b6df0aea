/** Counts what goes over the wire at the platform's seam, so that nothing above it has to. */

import type { Platform, Socket } from "./platform.ts";

export interface Traffic {
  readonly bytesDown: number;
  readonly bytesUp: number;
}

function sizeOf(data: unknown): number {
  if (typeof data === "string") return data.length;
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) ? data.byteLength : 0;
}

/** The same platform, counted: bodies of answers, and messages of sockets both ways. Headers are not seen from here. */
export function countTraffic(platform: Platform): { readonly platform: Platform; readonly traffic: Traffic } {
  const traffic = { bytesDown: 0, bytesUp: 0 };

  async function countedFetch(url: string, init: RequestInit): Promise<Response> {
    const response = await platform.fetch(url, init);
    if (response.body === null) return response;
    const counter = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(chunk, controller) {
        traffic.bytesDown += chunk.byteLength;
        controller.enqueue(chunk);
      },
    });
    return new Response(response.body.pipeThrough(counter), response);
  }

  function countedSocket(url: string, protocols: readonly string[]): Socket {
    const socket = platform.openSocket(url, protocols);
    socket.addEventListener("message", ({ data }) => {
      traffic.bytesDown += sizeOf(data);
    });
    return {
      get binaryType() {
        return socket.binaryType;
      },
      set binaryType(type) {
        socket.binaryType = type;
      },
      get protocol() {
        return socket.protocol;
      },
      get readyState() {
        return socket.readyState;
      },
      send(data) {
        traffic.bytesUp += sizeOf(data);
        socket.send(data);
      },
      close: (code, reason) => socket.close(code, reason),
      addEventListener: socket.addEventListener.bind(socket),
    };
  }

  return { platform: { ...platform, fetch: countedFetch, openSocket: countedSocket }, traffic };
}
