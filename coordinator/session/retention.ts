/** How long a session that is over is kept: `RETENTION_DAYS` of the deployment, and for ever without it. */

import type { RunState } from "../store/store.ts";

const DAY = 24 * 3600 * 1000;

/** Milliseconds; null keeps sessions for ever, as does what is no positive number. */
export function retentionOf(days: string | undefined): number | null {
  const milliseconds = Number(days ?? "") * DAY;
  return Number.isFinite(milliseconds) && milliseconds > 0 ? milliseconds : null;
}

/** Whether nothing will be computed any more. */
export const isOver = ({ stage, status }: RunState): boolean =>
  stage === "done" || status === "stopped" || status === "failed";
