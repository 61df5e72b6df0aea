/**
 * `npm run bench -- [sections]`: the benchmarks. Ours and the rivals alternate in one run; medians, spreads and ratios are
 * printed as tables, or with `--json` as one object on standard output. Ends with 1 if one of ours is refused or fails.
 */

import { Command, InvalidArgumentError, Option } from "commander";
import { CoreGauge } from "./harness/core.ts";
import { describeMachine } from "./harness/machine.ts";
import { isMeasured, type RaceResult, Refusal } from "./harness/race.ts";
import type { BenchOptions } from "./harness/section.ts";
import { formatRace } from "./harness/table.ts";
import { isSectionName, SECTIONS, type SectionName } from "./sections.ts";

const ROUNDS = 9;
const QUICK_ROUNDS = 2;

interface Flags {
  readonly json: boolean;
  readonly quick: boolean;
  readonly rivals: boolean;
  readonly search: boolean;
  readonly only: readonly string[];
  readonly rounds?: number;
  readonly mlp?: readonly number[];
  readonly batch?: number;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("expected a whole number from 1 up");
  return value;
}

function layerSizes(text: string): number[] {
  const sizes = text.split("-").map(positive);
  if (sizes.length < 2) throw new InvalidArgumentError("expected sizes joined by -, such as 784-512-256-10");
  return sizes;
}

const width = Math.max(...Object.keys(SECTIONS).map((name) => name.length));
const about = Object.entries(SECTIONS).map(([name, section]) => `  ${name.padEnd(width)}  ${section.about}`);

const program = new Command("npm run bench --")
  .description("Measures this project beside what people would use instead. Ours and the rivals alternate in one run.")
  .argument("[sections...]", `sections to run; all of them if none is named:\n${about.join("\n")}`)
  .option("--json", "one JSON object on standard output instead of tables", false)
  .option("--only <races...>", "these races alone, such as engine/mlp", [])
  .option("--rounds <n>", `rounds of each race (${ROUNDS} unless told)`, positive)
  .option("--quick", "small work, few rounds: shows that everything runs", false)
  .option("--no-rivals", "ours alone; nothing is installed")
  .option("--search", "end-to-end: looks for each one's best batch and learning rate, which are then committed", false)
  .addOption(new Option("--mlp <sizes>", "engine: layers of the MLP, such as 784-512-256-10").argParser(layerSizes))
  .addOption(new Option("--batch <n>", "engine, timeline: samples of a batch").argParser(positive));

program.parse();
const flags = program.opts<Flags>();
const named = program.args;
for (const name of named) {
  if (!isSectionName(name)) program.error(`there is no section ${name}: expected ${Object.keys(SECTIONS).join(", ")}`);
}
const prefixes = flags.only.map((race) => race.split("/"));
/** `--only engine/mlp` asks for the section, too. */
const asked = named.length > 0 ? named : prefixes.flatMap((parts) => (parts.length > 1 ? [parts[0]] : []));
const sections = (Object.keys(SECTIONS) as SectionName[]).filter((name) => asked.length === 0 || asked.includes(name));

const gauge = new CoreGauge();
/** By the race's whole name: the part of the time in which somebody else had half of the core. */
const shared: Record<string, number | null> = {};

/** Progress is told between measurements, never while one runs. */
const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
  gauge.look();
};

const results: Partial<Record<SectionName, readonly RaceResult[]>> = {};
const machine = describeMachine();
for (const name of sections) {
  const shown = new Set<RaceResult>();
  const show = (race: RaceResult): void => {
    if (shown.has(race)) return;
    shown.add(race);
    const part = gauge.takeShared();
    shared[`${name}/${race.name}`] = part;
    if (flags.json) return;
    console.log(`\n${name}/${formatRace(race).join("\n")}`);
    if (part !== null) console.log(`\n  core shared with a neighbour ${(100 * part).toFixed(0)} % of the time`);
  };
  const options: BenchOptions = {
    rounds: flags.rounds ?? (flags.quick ? QUICK_ROUNDS : ROUNDS),
    quick: flags.quick,
    rivals: flags.rivals,
    search: flags.search,
    wants: (race) =>
      prefixes.length === 0 ||
      prefixes.some((parts) => parts.join("/") === race || parts.join("/") === `${name}/${race}`),
    show,
    sizes: { mlp: flags.mlp ?? null, batch: flags.batch ?? null },
  };
  const { section } = await SECTIONS[name].load();
  try {
    const races = await section.run(options, (line) => say(`${name}: ${line}`));
    results[name] = races;
    races.forEach(show);
  } catch (error) {
    if (error instanceof Refusal) program.error(`${name}: ${error.message}`);
    throw error;
  }
}
if (prefixes.length > 0 && Object.values(results).every((races) => races.length === 0)) {
  program.error(`nothing was measured: no section has a race ${flags.only.join(", ")}`);
}
if (flags.json) {
  const date = new Date().toISOString();
  console.log(JSON.stringify({ format: 1, date, machine, shared, sections: results }));
} else {
  const { processor, cores, platform, node, load } = machine;
  console.log(`\n${processor}, ${cores} cores, ${platform}, Node ${node}; load before the run ${load.toFixed(1)}`);
}
const refused = Object.values(results).flatMap((races) =>
  races.flatMap(({ entries }) => entries.filter((entry) => entry.ours && !isMeasured(entry))),
);
process.exit(refused.length > 0 ? 1 : 0);
