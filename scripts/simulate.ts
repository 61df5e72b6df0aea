/**
 * `npm run simulate -- [--seed S] [--minutes M] [--seeds N] [--events N] [--level session|round|both] [--mutation name|all]`: trains made-up
 * sessions under seeded faults in virtual time, seed after seed, until one of the limits is reached. `session` is the whole
 * coordinator (test/simulation), `round` its state machine alone (test/coordinator/round-simulation.ts), whose events cost little.
 * With `--clients`, `--steps` and `--faults` it replays one scenario. A seed that fails is made smaller, and how to replay it is printed.
 * `--mutation all` breaks the coordinator in every way there is, one after the other, and ends with 1 if any is not found in time.
 */

import "../test/simulation/hooks.ts";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "0" },
    minutes: { type: "string" },
    seeds: { type: "string" },
    events: { type: "string" },
    level: { type: "string", default: "both" },
    mutation: { type: "string" },
    clients: { type: "string" },
    steps: { type: "string" },
    faults: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const now = performance.now.bind(performance);
const { simulate } = await import("../test/coordinator/round-simulation.ts");
const { run } = await import("../test/simulation/world.ts");
const { MUTATIONS } = await import("../test/simulation/mutations.ts");
const { argumentsOf, FAULTS, faultNames, scenarioOf } = await import("../test/simulation/scenario.ts");
const { shrink } = await import("../test/simulation/shrink.ts");
type Scenario = import("../test/simulation/scenario.ts").Scenario;
type MutationName = keyof typeof MUTATIONS;

const list = (entries: [string, string][]): string =>
  entries.map(([name, meaning]) => `  ${name.padEnd(28)}${meaning}`).join("\n");

function refuse(message: string): never {
  console.log(message);
  process.exit(2);
}

if (values.help) {
  console.log(
    `npm run simulate -- [--seed 0] [--minutes 1] [--seeds N] [--events N] [--level session|round|both] [--mutation name|all]
Replay: --seed S --clients N --steps N --faults a,b|none

Faults:
${list(Object.entries(FAULTS))}

Mutations, which must be found:
${list(Object.entries(MUTATIONS).map(([name, { breaks }]) => [name, breaks]))}`,
  );
  process.exit(0);
}

function numberOf(name: "seed" | "minutes" | "seeds" | "events" | "clients" | "steps"): number | null {
  const text = values[name];
  if (text === undefined) return null;
  const number = Number(text);
  if (!(number >= 0)) refuse(`--${name} is ${text}, expected a number of 0 or more`);
  return number;
}

const isAll = values.mutation === "all";
const mutation = isAll ? undefined : (values.mutation as MutationName | undefined);
if (mutation !== undefined && !(mutation in MUTATIONS)) {
  refuse(`--mutation is ${mutation}, expected all or one of ${Object.keys(MUTATIONS).join(", ")}`);
}
const { level } = values;
if (!["session", "round", "both"].includes(level)) refuse(`--level is ${level}, expected session, round or both`);

const first = numberOf("seed") ?? 0;
const isReplay = [values.clients, values.steps, values.faults].some((value) => value !== undefined);
const seeds = isReplay ? 1 : (numberOf("seeds") ?? Number.POSITIVE_INFINITY);
const mostEvents = numberOf("events") ?? Number.POSITIVE_INFINITY;
const isEndless = ![seeds, mostEvents].some(Number.isFinite);
const minutes = numberOf("minutes") ?? (isEndless ? 1 : Number.POSITIVE_INFINITY);
/** With a number of seeds each has its share of the events; the round machine goes on with seeds of its own until it has. */
const share = Number.isFinite(seeds) && Number.isFinite(mostEvents) ? mostEvents / seeds : 0;
/** Between the seeds of the round machine's further runs. */
const STRIDE = 1_000_003;

function replayed(seed: number): Scenario {
  const scenario = scenarioOf(seed);
  const faults =
    values.faults === undefined ? scenario.faults : values.faults.split(",").filter((name) => name !== "none");
  const unknown = faults.find((name) => !(faultNames as readonly string[]).includes(name));
  if (unknown !== undefined) refuse(`--faults has ${unknown}, expected some of ${faultNames.join(", ")}`);
  return {
    seed,
    clients: numberOf("clients") ?? scenario.clients,
    steps: numberOf("steps") ?? scenario.steps,
    faults: faults as Scenario["faults"],
  };
}

const begun = now();
const seconds = (): string => ((now() - begun) / 1000).toFixed(1);
const total = { session: 0, round: 0, deaths: 0, sleeps: 0, trainings: 0 };
const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, 400);

async function failedAt(scenario: Scenario, error: unknown): Promise<never> {
  console.log(`FAILED seed ${scenario.seed} after ${seconds()} s: ${reason(error)}`);
  const fails = async (smaller: Scenario): Promise<string | null> => {
    try {
      await run(smaller, mutation ?? null);
      return null;
    } catch (again) {
      return reason(again);
    }
  };
  const { scenario: least, message, runs } = await shrink(scenario, reason(error), fails, now);
  console.log(`shrunk in ${runs} runs: ${message}`);
  console.log(
    `replay: npm run simulate -- ${argumentsOf(least)}${mutation === undefined ? "" : ` --mutation ${mutation}`}`,
  );
  process.exit(1);
}

/** Milliseconds in which a mutation must be found. */
const MUTATION_LIMIT = 60_000;

/** The first seed that a mutation fails in, and why; null if it is not found in time. */
async function seek(name: MutationName): Promise<string | null> {
  const since = now();
  for (let seed = first; now() - since < MUTATION_LIMIT; seed++) {
    try {
      await run(scenarioOf(seed), name);
    } catch (error) {
      return `seed ${seed}, ${((now() - since) / 1000).toFixed(1)} s: ${reason(error).split("\n")[0]}`;
    }
  }
  return null;
}

if (isAll) {
  let missed = 0;
  for (const name of Object.keys(MUTATIONS) as MutationName[]) {
    const found = await seek(name);
    if (found === null) missed += 1;
    console.log(`${found === null ? "MISSED" : "found "} ${name.padEnd(28)}${found ?? ""}`);
  }
  console.log(`${Object.keys(MUTATIONS).length} mutations, ${missed} not found, ${seconds()} s`);
  process.exit(missed === 0 ? 0 : 1);
}

let done = 0;
let said = begun;
const events = (): number => total.session + total.round;
for (
  let seed = first;
  done < seeds && (share > 0 || events() < mostEvents) && now() - begun < minutes * 60_000;
  seed++, done++
) {
  const before = events();
  if (level !== "round" || isReplay) {
    const scenario = replayed(seed);
    try {
      const outcome = await run(scenario, mutation ?? null);
      total.session += outcome.events;
      total.deaths += outcome.deaths;
      total.sleeps += outcome.sleeps;
      total.trainings += 1;
      if (isReplay) console.log(`trace ${outcome.trace}`);
    } catch (error) {
      await failedAt(scenario, error);
    }
  }
  if (level !== "session" && !isReplay && mutation === undefined) {
    let own = seed;
    do {
      try {
        total.round += simulate(own).events;
        total.trainings += 1;
      } catch (error) {
        console.log(`FAILED the round machine, seed ${own}: ${reason(error)}`);
        console.log(
          `replay: ROUND_SEED=${own} npx vitest run --project node test/coordinator/round-simulation.test.ts`,
        );
        process.exit(1);
      }
      own += STRIDE;
    } while (events() - before < share);
  }
  if (now() - said > 5_000) {
    said = now();
    console.log(`seed ${seed}: ${events()} events in ${seconds()} s, ${total.deaths} deaths, ${total.sleeps} sleeps`);
  }
}
console.log(
  `${done} seeds from ${first}, ${total.trainings} trainings, ${events()} events (${total.session} of whole coordinators, ${total.round} ` +
    `of round machines), ${total.deaths} deaths, ${total.sleeps} sleeps, ${seconds()} s: 0 invariants broken`,
);
