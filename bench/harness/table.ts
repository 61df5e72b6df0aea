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

function formatClaim(claim: Claim, { unit, better }: RaceResult): string {
  switch (claim.kind) {
    case "gain":
      return `${claim.ours} ≥ ${formatFigure(claim.atLeast)}× ${claim.rival}`;
    case "fact":
      return `${claim.ours}: ${claim.fact} ≤ ${formatFigure(claim.atMost)}`;
    case "figure":
      return `${claim.ours} ${better === "lower" ? "≤" : "≥"} ${formatFigure(claim.bound)} ${unit}`;
    default:
      return claim satisfies never;
  }
}

function formatVerdict(result: RaceResult, { claim, found, holds }: Verdict): string {
  if (found === null) return `  ?      ${formatClaim(claim, result)}: not measured`;
  const figure = claim.kind === "gain" ? `${found.toFixed(2)}×` : formatFigure(found);
  return `  ${holds ? "holds" : "FAILS"}  ${formatClaim(claim, result)}: ${figure}`;
}

/** Names of facts, of all measured entries and of some of them: those are a table of their own. */
function partFacts(entries: readonly MeasuredEntry[]): { common: string[]; special: string[] } {
  const names = factNames(entries);
  const isCommon = (name: string): boolean => entries.every(({ facts }) => facts[name] !== undefined);
  return { common: names.filter(isCommon), special: names.filter((name) => !isCommon(name)) };
}

const labelOf = ({ name, ours }: MeasuredEntry): string => `${ours ? "*" : " "} ${name}`;

const factCells = ({ facts }: MeasuredEntry, names: readonly string[]): string[] =>
  names.map((name) => (facts[name] === undefined ? "–" : formatFigure(facts[name])));

/** Lines of one race. Ours are marked by a star. */
export function formatRace(result: RaceResult): string[] {
  const measured = result.entries.filter(isMeasured);
  const { common, special } = partFacts(measured);
  const lines = [`${result.name}: ${result.work}`];
  if (measured.length > 0) {
    const rows = measured.map((entry) => [
      labelOf(entry),
      formatFigure(entry.summary.median),
      formatSpread(entry.summary),
      ...factCells(entry, common),
    ]);
    lines.push(...alignRows([["", result.unit, "quartiles", ...common], ...rows]));
  }
  if (special.length > 0) {
    const concerned = measured.filter(({ facts }) => special.some((name) => facts[name] !== undefined));
    const rows = concerned.map((entry) => [labelOf(entry), ...factCells(entry, special)]);
    lines.push("", ...alignRows([["counted", ...special], ...rows]));
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
  if (result.verdicts.length > 0) lines.push("", ...result.verdicts.map((verdict) => formatVerdict(result, verdict)));
  return lines;
}
