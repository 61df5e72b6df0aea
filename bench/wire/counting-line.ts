/** A line to a coordinator that counts: a TCP proxy on loopback, which knows sockets' bytes from those of ordinary requests. */

import { connect, createServer, type Socket } from "node:net";

export interface CountingLine {
  readonly url: string;
  /** Bytes over connections that became WebSockets, their handshakes included. */
  readonly counted: { up: number; down: number };
  stop(): Promise<void>;
}

const UPGRADE = /^upgrade: *websocket/im;

export async function startCountingLine(target: string): Promise<CountingLine> {
  const { hostname, port } = new URL(target);
  const counted = { up: 0, down: 0 };
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    let upgraded = false;
    const pass = (from: Socket, to: Socket, direction: "up" | "down"): void => {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on("data", (data) => {
        upgraded ||= direction === "up" && UPGRADE.test(data.toString("latin1", 0, 2_048));
        if (upgraded) counted[direction] += data.byteLength;
        to.write(data);
      });
    };
    pass(client, upstream, "up");
    pass(upstream, client, "down");
  });
  const bound = await new Promise<string>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(`http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`);
    });
  });
  return {
    url: bound,
    counted,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
