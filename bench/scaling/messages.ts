/** Between the simulator and the processes that its clients live in. */

import type { Failure } from "../harness/child.ts";
import type { NetworkSize } from "../harness/networks.ts";
import type { ClientCounts } from "./client.ts";

export type Order =
  | {
      readonly type: "join";
      readonly url: string;
      readonly clients: number;
      /** How many there are in other processes: everyone has an address of their own. */
      readonly others: number;
      readonly rest: boolean;
      readonly size: NetworkSize;
    }
  | { readonly type: "count" };

export type Report =
  | { readonly type: "joined" }
  | { readonly type: "counts"; readonly clients: readonly ClientCounts[] }
  | Failure;
