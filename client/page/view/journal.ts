/** What happened to the session: read when somebody opens it, and not before. */

import { html, type TemplateResult } from "lit";
import type { JournalEntry } from "../api.ts";

/** @param events newest first; null until they were read */
export function renderJournal(events: readonly JournalEntry[] | null, onOpen: () => void): TemplateResult {
  const onToggle = (event: Event): void => {
    if (event.target instanceof HTMLDetailsElement && event.target.open) onOpen();
  };
  return html`
    <details class="card" data-place="journal" @toggle=${onToggle}>
      <summary>What happened so far</summary>
      ${
        events === null
          ? html`<p class="quiet">Reading…</p>`
          : html`<div class="scroll" role="region" aria-label="Table of events" tabindex="0">
              <table>
                <thead>
                  <tr>
                    <th scope="col">when</th>
                    <th scope="col">what</th>
                    <th scope="col">details</th>
                  </tr>
                </thead>
                <tbody>
                  ${events.map(
                    ({ time, event, detail }) => html`<tr>
                      <td>${new Date(time).toLocaleString()}</td>
                      <td>${event}</td>
                      <td><bdi>${detail}</bdi></td>
                    </tr>`,
                  )}
                </tbody>
              </table>
            </div>`
      }
    </details>
  `;
}
