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

async function join(order: Extract<Order, { type: "join" }>): Promise<void> {
  const answers = prepareAnswers(sessionOfSize(order.size));
  for (let from = 0; from < order.clients; from += TOGETHER) {
    const more = Array.from({ length: Math.min(TOGETHER, order.clients - from) }, () => new MadeClient(answers));
    await Promise.all(more.map((client) => client.join(order.url)));
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
