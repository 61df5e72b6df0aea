/** Made-up clients in processes of their own, so that they can keep the coordinator busy. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { NetworkSize } from "../harness/networks.ts";
import { Refusal } from "../harness/race.ts";
import type { ClientCounts } from "./client.ts";
import type { Order, Report } from "./messages.ts";

const FILE = new URL("./process.ts", import.meta.url);
/** Clients of one process at most. */
const PER_PROCESS = 128;

async function ask<Type extends Report["type"]>(
  child: ChildProcess,
  order: Order,
  type: Type,
): Promise<Extract<Report, { type: Type }>> {
  const answer = once(child, "message");
  child.send(order);
  const [report] = (await answer) as [Report];
  if (report.type !== type) throw new Refusal("failed", report.type === "failed" ? report.problem : report.type);
  return report as Extract<Report, { type: Type }>;
}

export class Fleet {
  readonly #processes: readonly ChildProcess[];

  /** Resolves once the coordinator knows all of them. */
  static async join(url: string, clients: number, size: NetworkSize): Promise<Fleet> {
    const processes = Array.from({ length: Math.ceil(clients / PER_PROCESS) }, () => fork(FILE));
    const fleet = new Fleet(processes);
    try {
      await Promise.all(
        processes.map((child, index) => {
          const own = Math.min(PER_PROCESS, clients - index * PER_PROCESS);
          return ask(child, { type: "join", url, clients: own, size }, "joined");
        }),
      );
    } catch (error) {
      fleet.end();
      throw error;
    }
    return fleet;
  }

  private constructor(processes: readonly ChildProcess[]) {
    this.#processes = processes;
  }

  async counts(): Promise<ClientCounts[]> {
    const reports = await Promise.all(this.#processes.map((child) => ask(child, { type: "count" }, "counts")));
    return reports.flatMap(({ clients }) => clients);
  }

  end(): void {
    for (const child of this.#processes) child.disconnect();
  }
}
