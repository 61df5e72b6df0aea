/** Results for people: a table a race, the gains over each rival, and which claims hold. */

import { type Claim, isMeasured, type MeasuredEntry, type RaceResult, type Verdict } from "./race.ts";
import type { Summary } from "./statistics.ts";

/** Three digits that say something; counts stay whole. */
export function formatFigure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  if (Number.isInteger(value) || Math.abs(value) >= 100) return Math.round(value).toString();
  return value.toPrecision(3);
}

const formatSpread = ({ lower, upper }: Summary): string => `${formatFigure(lower)}–${formatFigure(upper)}`;

const formatGain = ({ median, lower, upper }: Summary): string =>
  `${median.toFixed(2)}× (${lower.toFixed(2)}–${upper.toFixed(2)})`;

/** First column to the left, figures to the right. */
function alignRows(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd(),
  );
}

function factNames(entries: readonly MeasuredEntry[]): string[] {
  return [...new Set(entries.flatMap(({ facts }) => Object.keys(facts)))];
}

function formatClaim(claim: Claim): string {
  return claim.kind === "gain"
    ? `${claim.ours} ≥ ${formatFigure(claim.atLeast)}× ${claim.rival}`
    : `${claim.ours}: ${claim.fact} ≤ ${formatFigure(claim.atMost)}`;
}

function formatVerdict({ claim, found, holds }: Verdict): string {
  if (found === null) return `  ?      ${formatClaim(claim)}: not measured`;
  const figure = claim.kind === "gain" ? `${found.toFixed(2)}×` : formatFigure(found);
  return `  ${holds ? "holds" : "FAILS"}  ${formatClaim(claim)}: ${figure}`;
}

/** Lines of one race. */
export function formatRace(result: RaceResult): string[] {
  const measured = result.entries.filter(isMeasured);
  const facts = factNames(measured);
  const lines = [`${result.name}: ${result.work}`];
  if (measured.length > 0) {
    const header = ["", `${result.unit}, median`, "quartiles", ...facts];
    const rows = measured.map(({ name, ours, summary, facts: own }) => [
      `${ours ? "*" : " "} ${name}`,
      formatFigure(summary.median),
      formatSpread(summary),
      ...facts.map((fact) => (own[fact] === undefined ? "–" : formatFigure(own[fact]))),
    ]);
    lines.push(...alignRows([header, ...rows]));
  }
  for (const entry of result.entries) if (!isMeasured(entry)) lines.push(`  ${entry.name}: ${entry.problem}`);
  const own = measured.filter(({ ours }) => ours).map(({ name }) => name);
  const rivals = measured.filter(({ ours }) => !ours).map(({ name }) => name);
  if (own.length > 0 && rivals.length > 0) {
    const gainOf = (ours: string, rival: string): string => {
      const found = result.gains.find((gain) => gain.ours === ours && gain.rival === rival);
      return found === undefined ? "–" : formatGain(found.gain);
    };
    lines.push("", "how many times as good as (median of the rounds, quartiles)");
    lines.push(
      ...alignRows([["", ...own], ...rivals.map((rival) => [`  ${rival}`, ...own.map((name) => gainOf(name, rival))])]),
    );
  }
  if (result.verdicts.length > 0) lines.push("", ...result.verdicts.map(formatVerdict));
  return lines;
}
