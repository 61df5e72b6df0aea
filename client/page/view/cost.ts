/** What the session has cost whoever runs it: the coordinator's counts at its platform's list prices. */

import { html, type TemplateResult } from "lit";
import { formatDollars, formatFreeShare, type ResourceName } from "../../../shared/session/cost.ts";
import type { SessionInfo } from "../api.ts";
import { formatBytes, formatCount, formatShare } from "../format.ts";

/** The counts in words, in the order of the table. */
const RESOURCES: Readonly<Record<ResourceName, string>> = {
  objectRequests: "calls of its object (20 messages are one)",
  workerRequests: "requests to the Worker",
  duration: "time awake, GB-s",
  rowsRead: "rows read",
  rowsWritten: "rows written",
  storage: "stored",
  r2Writes: "writes to the bucket",
  r2Reads: "reads from the bucket",
};

export function renderCost({ cost }: SessionInfo): TemplateResult {
  const { dollars, freeDailyShare, parts, usage } = cost;
  const rows = Object.entries(RESOURCES).map(([key, words]) => {
    const name = key as ResourceName;
    const { units, dollars: part, freeDailyShare: share } = parts[name];
    const count = name === "storage" ? formatBytes(usage.storedBytes) : formatCount(units);
    return html`<tr>
      <th scope="row">${words}</th>
      <td class="number">${count}</td>
      <td class="number">${formatDollars(part)}</td>
      <td class="number">${share === null ? "–" : formatShare(share)}</td>
    </tr>`;
  });
  return html`
    <details class="card">
      <summary data-figure="cost">Its coordinator has cost ${formatDollars(dollars)} so far, ${formatFreeShare(freeDailyShare)}</summary>
      <div class="scroll" role="region" aria-label="Table of costs" tabindex="0">
        <table>
          <thead>
            <tr>
              <th scope="col">what was used, ${formatCount(usage.messages)} messages among it</th>
              <th scope="col" class="number">count</th>
              <th scope="col" class="number">list price</th>
              <th scope="col" class="number">of a free day</th>
            </tr>
          </thead>
          <tbody>
            ${rows}
          </tbody>
        </table>
      </div>
      <p class="quiet small">
        As deployed on Cloudflare, for whoever runs the session. Taking part costs nothing but your machine's time and
        traffic.
      </p>
    </details>
  `;
}
