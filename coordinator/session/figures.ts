/** What an object counts of its session, as it goes to the Worker for `/metrics`. */

import type { Progress } from "../../shared/protocol/messages.ts";
import type { Counts } from "../store/meter.ts";
import type { LiveCounts } from "./live.ts";

export interface SessionFigures {
  readonly id: string;
  readonly title: string;
  readonly progress: Pick<
    Progress,
    "status" | "stage" | "step" | "totalSteps" | "version" | "loss" | "samplesPerSecond" | "clientCount"
  >;
  readonly awake: boolean;
  readonly sockets: number;
  /** Bytes in memory. */
  readonly ledger: {
    readonly limit: number;
    readonly used: number;
    readonly peak: number;
    readonly accounts: Readonly<Record<string, number>>;
  };
  readonly databaseBytes: number;
  readonly checkpointStep: number;
  readonly usage: Readonly<Counts>;
  /** Since it woke; null while it sleeps. */
  readonly live: LiveCounts | null;
}
