/** A process of made-up clients; ends with the one that started it. */

import { sessionOfSize } from "../harness/networks.ts";
import { MadeClient, prepareAnswers } from "./client.ts";
import type { Order, Report } from "./messages.ts";

const clients: MadeClient[] = [];
/** Sockets opened at a time. */
const TOGETHER = 16;

const report = (message: Report): void => {
  process.send?.(message);
};

/** Of loopback, in a block of 256 with no more than that many others. */
const addressOf = (index: number): string => `127.1.${index >> 8}.${index & 255}`;

async function join({ url, clients: count, others, rest, size }: Extract<Order, { type: "join" }>): Promise<void> {
  const answers = prepareAnswers(sessionOfSize(size));
  for (let from = 0; from < count; from += TOGETHER) {
    const more = Array.from({ length: Math.min(TOGETHER, count - from) }, () => new MadeClient(answers));
    await Promise.all(more.map((client, index) => client.join(url, addressOf(others + from + index), rest)));
    clients.push(...more);
  }
}

process.on("message", (order: Order) => {
  if (order.type === "count") report({ type: "counts", clients: clients.map(({ counts }) => counts) });
  else {
    join(order).then(
      () => report({ type: "joined" }),
      (error: unknown) => report({ type: "failed", problem: String(error) }),
    );
  }
});
process.on("disconnect", () => process.exit());
