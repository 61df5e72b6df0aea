/** A visitor's result as text to paste. */

import type { RaceResult } from "../harness/race.ts";
import { formatRace } from "../harness/table.ts";
import type { AdapterDescription } from "./messages.ts";

export interface Report {
  readonly adapter: AdapterDescription;
  readonly browser: string;
  readonly cores: number;
  readonly races: readonly RaceResult[];
}

export function describeAdapter(adapter: AdapterDescription): string {
  if (adapter === null) return "no WebGPU here";
  const { description, vendor, architecture, device, software } = adapter;
  const name = description || [vendor, architecture, device].filter((part) => part !== "").join(" ");
  return `${name || "an adapter that does not say its name"}${software ? " (software)" : ""}`;
}

export const reportText = ({ adapter, browser, cores, races }: Report): string =>
  [
    "Commonweight, engine section",
    `WebGPU: ${describeAdapter(adapter)}`,
    `Browser: ${browser}`,
    `Cores: ${cores}`,
    ...races.flatMap((race) => ["", ...formatRace(race)]),
  ].join("\n");

export const reportJson = (report: Report): string =>
  JSON.stringify({ format: 1, section: "engine", date: new Date().toISOString(), ...report });
