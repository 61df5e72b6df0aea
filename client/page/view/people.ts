/** Who takes part now, and credit for those who chose a name. */

import { html, nothing, type TemplateResult } from "lit";
import type { Progress } from "../../../shared/protocol/messages.ts";
import type { Member } from "../api.ts";
import { creditOf } from "../credit.ts";
import { countOf, formatCount } from "../format.ts";

/** Places of the leaderboard. */
const PLACES = 10;

export function renderCredit(
  members: readonly Pick<Member, "name" | "samples">[],
  isOver: boolean,
): TemplateResult | typeof nothing {
  const { named, unnamed } = creditOf(members);
  if (named.length === 0 && (unnamed === 0 || !isOver)) return nothing;
  const more = named.length - PLACES;
  const others = [
    ...(more > 0 ? [countOf(more, "more name")] : []),
    ...(unnamed > 0 ? [`${countOf(unnamed, "volunteer")} who gave no name`] : []),
  ];
  return html`
    <section class="card" aria-labelledby="credit-title">
      <h2 id="credit-title">${isOver ? "They trained it" : "Most computed, of those here now"}</h2>
      ${
        named.length === 0
          ? nothing
          : html`<ol class="credit">
              ${named
                .slice(0, PLACES)
                .map(
                  ({ name, samples }) =>
                    html`<li><bdi>${name}</bdi> <span class="quiet">${countOf(samples, "sample")}</span></li>`,
                )}
            </ol>`
      }
      ${
        others.length === 0
          ? nothing
          : html`<p class="quiet">${named.length === 0 ? "" : "And "}${others.join(" and ")}.</p>`
      }
    </section>
  `;
}

/** `you` is this tab's public identity, or empty. */
export function renderVolunteers({ clients, clientCount }: Progress, you: string): TemplateResult | typeof nothing {
  if (clients.length === 0) return nothing;
  return html`
    <section class="card" aria-labelledby="volunteers-title">
      <h2 id="volunteers-title">Volunteers now</h2>
      <div class="scroll" role="region" aria-label="Table of volunteers" tabindex="0">
        <table>
          <thead>
            <tr>
              <th scope="col">who</th>
              <th scope="col">engine</th>
              <th scope="col">device</th>
              <th scope="col">state</th>
              <th scope="col" class="number">samples</th>
            </tr>
          </thead>
          <tbody>
            ${clients.map(
              ({ id, name, engine, device, state, samples }) => html`<tr>
                <td><bdi>${name === "" ? id : name}</bdi>${you !== "" && you.startsWith(id) ? " (you)" : ""}</td>
                <td>${engine}</td>
                <td><bdi>${device}</bdi></td>
                <td>${state}</td>
                <td class="number">${formatCount(samples)}</td>
              </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${
        clientCount > clients.length
          ? html`<p class="quiet">And ${countOf(clientCount - clients.length, "other")}.</p>`
          : nothing
      }
    </section>
  `;
}
