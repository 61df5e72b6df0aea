/** Between the simulator and the processes that its clients live in. */

import type { NetworkSize } from "../harness/networks.ts";
import type { ClientCounts } from "./client.ts";

export type Order =
  | { readonly type: "join"; readonly url: string; readonly clients: number; readonly size: NetworkSize }
  | { readonly type: "count" };

export type Report =
  | { readonly type: "joined" }
  | { readonly type: "counts"; readonly clients: readonly ClientCounts[] }
  | { readonly type: "failed"; readonly problem: string };
