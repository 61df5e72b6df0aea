/** A process that knocks at a session's door as fast as it is told to, from one address, and hangs up on whoever opens. */

import { connect } from "node:net";
import { constants, setPriority } from "node:os";
import { SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import type { Failure } from "../harness/child.ts";

export interface FloodOrder {
  readonly type: "flood";
  /** Of the session's sockets. */
  readonly url: string;
  readonly localAddress: string;
  readonly joins: number;
  readonly seconds: number;
}

export interface FloodCounts {
  readonly type: "flooded";
  /** Answers by HTTP status; 0 for a connection that was not answered. */
  readonly statuses: Readonly<Record<string, number>>;
  /** From the first knock to the last one, and to the last answer. */
  readonly knocking: number;
  readonly seconds: number;
}

export type FloodReport = FloodCounts | Failure;

/** Milliseconds between two volleys. */
const INTERVAL = 10;
const SECOND = 1000;

/** Resolves with the status that one join was answered by. */
function knock({ url, localAddress }: FloodOrder): Promise<number> {
  const { hostname, port, pathname, host } = new URL(url);
  const lines = [
    `GET ${pathname} HTTP/1.1`,
    `Host: ${host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
  ];
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port), localAddress });
    socket.on("error", () => {}); // its close follows
    socket.once("close", () => resolve(0));
    socket.once("data", (answer) => {
      resolve(Number(answer.toString("latin1", 9, 12)));
      // Closed in order each would keep its port for a minute, and finding a free one would take longer than knocking.
      socket.resetAndDestroy();
    });
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  });
}

/** Whoever floods has a computer of its own, and here two cores for everybody: it goes first where that is allowed. */
function goFirst(): void {
  try {
    setPriority(constants.priority.PRIORITY_HIGH);
  } catch {
    // Not with this user's rights; the knocks then take longer than they should, and the report says how long.
  }
}

async function flood(order: FloodOrder): Promise<FloodCounts> {
  goFirst();
  const { joins, seconds } = order;
  const statuses: Record<string, number> = {};
  const answers: Promise<void>[] = [];
  const begun = performance.now();
  while (answers.length < joins) {
    const due = Math.min(joins, Math.ceil(((performance.now() - begun) / (seconds * SECOND)) * joins));
    while (answers.length < due) {
      answers.push(
        knock(order).then((status) => {
          statuses[status] = (statuses[status] ?? 0) + 1;
        }),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
  const knocking = (performance.now() - begun) / SECOND;
  await Promise.all(answers);
  return { type: "flooded", statuses, knocking, seconds: (performance.now() - begun) / SECOND };
}

process.on("message", (order: FloodOrder) => {
  flood(order).then(
    (report) => process.send?.(report),
    (error: unknown) => process.send?.({ type: "failed", problem: String(error) }),
  );
});
process.on("disconnect", () => process.exit());
