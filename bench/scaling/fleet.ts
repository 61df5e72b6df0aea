/** Made-up clients in processes of their own, so that they can keep the coordinator busy. */

import { Child } from "../harness/child.ts";
import type { NetworkSize } from "../harness/networks.ts";
import type { ClientCounts } from "./client.ts";
import type { Order, Report } from "./messages.ts";

const FILE = new URL("./process.ts", import.meta.url);
/** Clients of one process at most: of those that work, and of those that rest. */
const PER_PROCESS = { working: 128, resting: 1_000 } as const;

export interface FleetSize {
  readonly working: number;
  /** Connected, and asking for no work. */
  readonly resting: number;
}

export class Fleet {
  readonly #processes: Child<Order, Report>[] = [];

  /** Resolves once the coordinator knows all of them. */
  static async join(url: string, clients: FleetSize, size: NetworkSize): Promise<Fleet> {
    const fleet = new Fleet();
    let others = 0;
    const orders: Order[] = [];
    for (const kind of ["resting", "working"] as const) {
      for (let left = clients[kind]; left > 0; left -= PER_PROCESS[kind]) {
        const own = Math.min(PER_PROCESS[kind], left);
        orders.push({ type: "join", url, clients: own, others, rest: kind === "resting", size });
        others += own;
      }
    }
    try {
      await Promise.all(orders.map((order) => fleet.#start().ask(order, "joined")));
    } catch (error) {
      fleet.end();
      throw error;
    }
    return fleet;
  }

  #start(): Child<Order, Report> {
    const child = new Child<Order, Report>(FILE);
    this.#processes.push(child);
    return child;
  }

  async counts(): Promise<ClientCounts[]> {
    const reports = await Promise.all(this.#processes.map((child) => child.ask({ type: "count" }, "counts")));
    return reports.flatMap(({ clients }) => clients);
  }

  end(): void {
    for (const child of this.#processes) child.end();
  }
}
