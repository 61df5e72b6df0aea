/**
 * A bad line to a coordinator: a TCP proxy on loopback that delays what passes, keeps it to so many bytes a second, stalls, and
 * cuts every connection. One line for each client, each with faults of its own.
 */

import { connect, createServer, type Socket } from "node:net";

export interface Faults {
  /** Milliseconds that everything takes longer, each way. */
  readonly delay: number;
  /** Bytes a second, each way; unbounded if absent. */
  readonly bandwidth?: number;
  /** Nothing passes for `lasts` milliseconds, `every` so many of them on average. */
  readonly stall?: { readonly every: number; readonly lasts: number };
  /** All connections are reset every so many milliseconds on average. */
  readonly cutEvery?: number;
}

export interface FaultyLine {
  /** The coordinator, by this line. */
  readonly url: string;
  readonly counted: { stalls: number; cuts: number };
  stop(): Promise<void>;
}

/** Bytes under way in one direction from which on no more is read: what is sent then waits at its sender. */
const MOST_UNDER_WAY = 1 << 22;

/** @param random of the times of stalls and cuts, in [0, 1) */
export async function startFaultyLine(target: string, faults: Faults, random: () => number): Promise<FaultyLine> {
  const { hostname, port } = new URL(target);
  const { delay, bandwidth = Number.POSITIVE_INFINITY, stall, cutEvery } = faults;
  const counted = { stalls: 0, cuts: 0 };
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  let stalledUntil = 0;

  const later = (milliseconds: number, act: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, milliseconds);
    timers.add(timer);
  };

  /** Calls `act` again and again: after half to one and a half times the mean. */
  const again = (mean: number, act: () => void): void =>
    later(mean * (0.5 + random()), () => {
      act();
      again(mean, act);
    });

  function pass(from: Socket, to: Socket): void {
    /** When the line is free for the next bytes, and what is under way: it leaves in the order in which it came, as timers may not. */
    let freeAt = 0;
    let underWay = 0;
    let isOver = false;
    const queue: { readonly due: number; readonly data: Buffer }[] = [];
    const forward = (): void => {
      for (let next = queue[0]; next !== undefined; next = queue[0]) {
        const wait = Math.max(next.due, stalledUntil) - performance.now();
        if (wait > 0) {
          later(Math.ceil(wait), forward);
          return;
        }
        queue.shift();
        underWay -= next.data.byteLength;
        if (to.writable) to.write(next.data);
      }
      if (underWay < MOST_UNDER_WAY) from.resume();
      if (isOver) to.destroy();
    };
    from.on("data", (data: Buffer) => {
      const now = performance.now();
      freeAt = Math.max(freeAt, now) + (data.byteLength / bandwidth) * 1000;
      underWay += data.byteLength;
      if (underWay >= MOST_UNDER_WAY) from.pause();
      queue.push({ due: freeAt + delay, data });
      // Whatever came before it has a timer already.
      if (queue.length === 1) forward();
    });
    from.on("error", () => {}); // its close follows
    from.on("close", () => {
      sockets.delete(from);
      // What was sent before the end arrives before it.
      isOver = true;
      if (queue.length === 0) later(delay, () => to.destroy());
    });
    sockets.add(from);
  }

  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    pass(client, upstream);
    pass(upstream, client);
  });
  if (stall !== undefined) {
    again(stall.every, () => {
      counted.stalls += 1;
      stalledUntil = performance.now() + stall.lasts;
    });
  }
  if (cutEvery !== undefined) {
    again(cutEvery, () => {
      counted.cuts += 1;
      for (const socket of sockets) socket.resetAndDestroy();
    });
  }
  const url = await new Promise<string>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(`http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`);
    });
  });
  return {
    url,
    counted,
    stop: async () => {
      for (const timer of timers) clearTimeout(timer);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
