/**
 * A line to the coordinator that holds results back: a TCP proxy on loopback. Everything passes until a large message goes
 * up a socket; that one, and whatever follows it, waits until the test lets it go. Downlinks are never held.
 */

import { connect, createServer, type Socket } from "node:net";

export interface SlowLine {
  /** The coordinator, by this line. */
  readonly url: string;
  /** Resolves when the next result is being held. */
  held(): Promise<void>;
  /** Lets it go; the result after it is held again. */
  release(): void;
  /** From here on everything passes. */
  open(): void;
  stop(): Promise<void>;
}

/** Control messages are shorter, gradients longer. */
const LARGE = 8_192;

export async function startSlowLine(target: string): Promise<SlowLine> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let holding: PromiseWithResolvers<void> | null = null;
  let noticed = Promise.withResolvers<void>();
  let isOpen = false;

  const carry = (client: Socket): void => {
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {}); // the other end hears of it by its own close
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    upstream.pipe(client);
    let isUpgraded = false;
    let passed: Promise<void> = Promise.resolve();
    client.on("data", (data: Buffer) => {
      isUpgraded ||= /upgrade: websocket/i.test(data.toString("latin1"));
      if (isUpgraded && data.byteLength >= LARGE && holding === null && !isOpen) {
        holding = Promise.withResolvers<void>();
        const { promise } = holding;
        passed = passed.then(() => promise);
        noticed.resolve();
      }
      passed = passed.then(() => void upstream.write(data));
    });
  };

  const release = (): void => {
    noticed = Promise.withResolvers<void>();
    holding?.resolve();
    holding = null;
  };
  const server = createServer(carry);
  const address = await new Promise<string>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const bound = server.address();
      resolve(`http://127.0.0.1:${typeof bound === "object" ? bound?.port : ""}`);
    });
  });
  return {
    url: address,
    held: () => noticed.promise,
    release,
    open: () => {
      isOpen = true;
      release();
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
