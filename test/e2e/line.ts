/**
 * A line to the coordinator that can go dead: a TCP proxy on loopback. While it is off nothing passes and nothing closes, as
 * behind a router that lost its link; connections of that time stay dead for good.
 */

import { connect, createServer, type Socket } from "node:net";

export interface Line {
  /** The coordinator, by this line. */
  readonly url: string;
  off(): void;
  on(): void;
  stop(): Promise<void>;
}

export async function startLine(target: string): Promise<Line> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let isOff = false;

  function keep(socket: Socket): void {
    sockets.add(socket);
    socket.on("error", () => {}); // the other end hears of it by its own close
    socket.on("close", () => sockets.delete(socket));
  }

  const server = createServer((client) => {
    keep(client);
    if (isOff) return;
    const upstream = connect(Number(port), hostname);
    keep(upstream);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      let isDead = false;
      from.on("data", (data) => {
        isDead ||= isOff;
        if (!isDead) to.write(data);
      });
      from.on("close", () => {
        if (!isDead && !isOff) to.destroy();
      });
    }
  });
  const url = await new Promise<string>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const bound = server.address();
      resolve(`http://127.0.0.1:${typeof bound === "object" ? bound?.port : ""}`);
    });
  });
  return {
    url,
    off: () => {
      isOff = true;
    },
    on: () => {
      isOff = false;
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
