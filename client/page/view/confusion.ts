/** Which class was taken for which, of the samples measured last: a table to look at, and its worst mistakes in words. */

import { html, nothing, type TemplateResult } from "lit";
import { confusionRows } from "../../../shared/session/tables.ts";
import type { EvaluationMetric } from "../api.ts";
import { countOf, formatCount, formatShare } from "../format.ts";

/** Mistakes that are told in words. */
const TOLD = 3;
/** Shades of a cell: the page's policy lets no element have a style of its own. */
const LEVELS = 10;
/** Of more classes than this, cells are drawn small. */
const ROOMY = 12;

interface Mistake {
  readonly actual: number;
  readonly taken: number;
  readonly count: number;
}

/** The most frequent mistakes, most first. */
export function mistakesOf(rows: readonly (readonly number[])[]): Mistake[] {
  return rows
    .flatMap((row, actual) => row.map((count, taken) => ({ actual, taken, count })))
    .filter(({ actual, taken, count }) => actual !== taken && count > 0)
    .sort((a, b) => b.count - a.count)
    .slice(0, TOLD);
}

const sumOf = (row: readonly number[]): number => row.reduce((sum, count) => sum + count, 0);

function renderCell(count: number, all: number, actual: number, taken: number): TemplateResult {
  const share = all === 0 ? 0 : count / all;
  // What occurs at all is to be seen.
  const level = Math.ceil(share * LEVELS);
  const kind = actual === taken ? "hit" : "miss";
  const told = `${actual} taken for ${taken}: ${formatShare(share)}`;
  return html`<td class="number ${kind}" data-level=${level} title=${told}>${formatCount(count)}</td>`;
}

/** Nothing where the session counts none, or nothing was measured yet. The test set, once it was measured, goes first. */
export function renderConfusion(evaluations: readonly EvaluationMetric[]): TemplateResult | typeof nothing {
  const counted = evaluations.filter(({ tables }) => tables?.confusion !== undefined);
  const shown = counted.find(({ work }) => work === "test") ?? counted.at(-1);
  const rows = confusionRows(shown?.tables?.confusion ?? []);
  if (shown === undefined || rows === null) return nothing;
  const samples = rows.reduce((sum, row) => sum + sumOf(row), 0);
  const what =
    shown.work === "test"
      ? `${countOf(samples, "sample")} of the test set`
      : `${countOf(samples, "held-out sample")} after ${countOf(shown.step, "step")}`;
  const mistakes = mistakesOf(rows).map(
    ({ actual, taken, count }) => `${actual} for ${taken} (${countOf(count, "time")})`,
  );
  return html`
    <section class="card" aria-labelledby="confusion-title" data-figure="confusion">
      <h2 id="confusion-title">Which class it takes for which</h2>
      <p class="quiet" id="confusion-what">${what}: what each is by row, what the network says by column.</p>
      <div class="scroll" role="region" aria-label="Table of classes" tabindex="0">
        <table aria-labelledby="confusion-title" aria-describedby="confusion-what" class="confusion ${rows.length > ROOMY ? "small" : ""}">
          <thead>
            <tr>
              <th scope="col"><span class="unseen">class</span></th>
              ${rows.map((_, taken) => html`<th scope="col" class="number"><span class="unseen">taken for </span>${taken}</th>`)}
              <th scope="col" class="number">right</th>
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              (row, actual) => html`<tr>
                <th scope="row" class="number">${actual}</th>
                ${row.map((count, taken) => renderCell(count, sumOf(row), actual, taken))}
                <td class="number quiet">${sumOf(row) === 0 ? "–" : formatShare(row[actual] / sumOf(row))}</td>
              </tr>`,
            )}
          </tbody>
        </table>
      </div>
      <p class="quiet">${mistakes.length === 0 ? "No mistake among them." : `Most often it took ${mistakes.join(", ")}.`}</p>
    </section>
  `;
}
