/** A session's cost in a few words. */

import { formatDollars, formatFreeShare, type SessionCost } from "../shared/session/cost.ts";

export function formatCost({ dollars, freeDailyShare, usage }: SessionCost): string {
  const counts = `${usage.messages} messages, ${usage.rowsWritten} rows written, ${Math.round(usage.activeSeconds)} s awake`;
  return `${formatDollars(dollars)}, ${formatFreeShare(freeDailyShare)} (${counts})`;
}

/** The same for a column of a table. */
export const formatCostShort = ({ dollars, freeDailyShare }: SessionCost): string =>
  `${formatDollars(dollars)} (${formatFreeShare(freeDailyShare)})`;
