/** Made-up clients in processes of their own, so that they can keep the coordinator busy. */

import { Child } from "../harness/child.ts";
import type { NetworkSize } from "../harness/networks.ts";
import type { ClientCounts } from "./client.ts";
import type { Order, Report } from "./messages.ts";

const FILE = new URL("./process.ts", import.meta.url);
/** Clients of one process at most. */
const PER_PROCESS = 128;

export class Fleet {
  readonly #processes: readonly Child<Order, Report>[];

  /** Resolves once the coordinator knows all of them. */
  static async join(url: string, clients: number, size: NetworkSize): Promise<Fleet> {
    const processes = Array.from({ length: Math.ceil(clients / PER_PROCESS) }, () => new Child<Order, Report>(FILE));
    const fleet = new Fleet(processes);
    try {
      await Promise.all(
        processes.map((child, index) => {
          const own = Math.min(PER_PROCESS, clients - index * PER_PROCESS);
          return child.ask({ type: "join", url, clients: own, size }, "joined");
        }),
      );
    } catch (error) {
      fleet.end();
      throw error;
    }
    return fleet;
  }

  private constructor(processes: readonly Child<Order, Report>[]) {
    this.#processes = processes;
  }

  async counts(): Promise<ClientCounts[]> {
    const reports = await Promise.all(this.#processes.map((child) => child.ask({ type: "count" }, "counts")));
    return reports.flatMap(({ clients }) => clients);
  }

  end(): void {
    for (const child of this.#processes) child.end();
  }
}
