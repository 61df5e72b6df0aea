/** What a display shows of a round. */

import { isActive, type RoundState } from "./state.ts";
import type { ClientId, Stage, Status } from "./types.ts";

export interface ClientSummary {
  readonly id: ClientId;
  /** `loading`: it has set no weights yet. */
  readonly state: "loading" | "ready" | "working" | "paused";
  /** Micro-batches a second; 0 if not measured. */
  readonly speed: number;
  /** Micro-batches accepted since it joined. */
  readonly accepted: number;
}

export interface RoundSummary {
  readonly stage: Stage;
  readonly step: number;
  readonly version: number;
  /** `waiting`: running, but there is nobody to compute. */
  readonly status: Status | "waiting";
  readonly clients: readonly ClientSummary[];
}

export function summarize(state: RoundState): RoundSummary {
  const clients = [...state.clients.values()];
  const isWaiting = state.status === "running" && state.stage !== "done" && !clients.some(isActive);
  return {
    stage: state.stage,
    step: state.step,
    version: state.version,
    status: isWaiting ? "waiting" : state.status,
    clients: clients.map(({ id, capacity, lease, version, speed, accepted }) => ({
      id,
      state: capacity === 0 ? "paused" : lease !== null ? "working" : version === null ? "loading" : "ready",
      speed: (speed ?? 0) * 1000,
      accepted,
    })),
  };
}
