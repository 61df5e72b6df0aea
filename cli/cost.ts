/** A session's cost in a few words. */

import type { SessionCost } from "../shared/session/cost.ts";

/** Small sums keep two digits that say something. */
export const formatDollars = (dollars: number): string =>
  `$${dollars === 0 || dollars >= 1 ? dollars.toFixed(2) : dollars.toFixed(Math.min(8, 1 - Math.floor(Math.log10(dollars))))}`;

const formatShare = (share: number): string => `${Number((share * 100).toPrecision(2))} %`;

export function formatCost({ dollars, freeDailyShare, usage }: SessionCost): string {
  const counts = `${usage.messages} messages, ${usage.rowsWritten} rows written, ${Math.round(usage.activeSeconds)} s awake`;
  return `${formatDollars(dollars)}, ${formatShare(freeDailyShare)} of a free day (${counts})`;
}

/** The same for a column of a table. */
export const formatCostShort = ({ dollars, freeDailyShare }: SessionCost): string =>
  `${formatDollars(dollars)} (${formatShare(freeDailyShare)} of a free day)`;
