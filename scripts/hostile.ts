/**
 * `npm run hostile -- [--sessions 1000] [--seed 0]`: sessions that attack a volunteer (docs/security.md). Of half of them what is attacked with
 * is the session, and what meets it are the client's own checks and planner; of the others it is what the coordinator says afterwards, and
 * the real client meets it over real sockets. Ends with 1 if any is met with anything but a refusal that says why, or work within the
 * client's budget.
 */

import { parseArgs } from "node:util";
import { ATTACKS } from "../test/hostile/attacks.ts";
import { Coordinator } from "../test/hostile/coordinator.ts";
import { visit } from "../test/hostile/guest.ts";
import { LIES } from "../test/hostile/lies.ts";
import { meet } from "../test/hostile/volunteer.ts";

/** Visits at a time: they wait most of the time. */
const TOGETHER = 8;

const { values } = parseArgs({
  options: {
    sessions: { type: "string", default: "1000" },
    seed: { type: "string", default: "0" },
    help: { type: "boolean", default: false },
  },
});
const [sessions, seed] = [Number(values.sessions), Number(values.seed)];
if (values.help || !(sessions > 0) || !Number.isInteger(seed)) {
  const described = Object.entries({ ...ATTACKS, ...LIES }).map(([name, { about }]) => `  ${name.padEnd(30)}${about}`);
  console.log(`npm run hostile -- [--sessions 1000] [--seed 0]\n\n${described.join("\n")}`);
  process.exit(values.help ? 0 : 2);
}

interface Outcome {
  readonly code: string | null;
  readonly done: number;
  readonly above: number;
  readonly milliseconds: number;
}

const outcomes = new Map<string, Outcome[]>();
let met = 0;
let told = performance.now();

function note(name: string, outcome: Outcome): void {
  outcomes.set(name, [...(outcomes.get(name) ?? []), outcome]);
  met += 1;
  if (performance.now() - told < 2_000) return;
  told = performance.now();
  console.log(`${met} of ${sessions}`);
}

function fail(what: string, error: unknown): never {
  console.log(
    `FAILED ${what}: ${(error instanceof Error ? (error.stack ?? error.message) : String(error)).slice(0, 1_000)}`,
  );
  process.exit(1);
}
process.on("uncaughtException", (error) => fail("uncaught", error));
process.on("unhandledRejection", (error) => fail("unhandled", error));

/** Numbers of the sessions of one kind, counted on from `first`, and what each is attacked with. */
function* named(table: object, first: number, count: number): Generator<[name: string, seed: number]> {
  const names = Object.keys(table);
  for (let index = 0; index < count; index++) yield [names[index % names.length], seed + first + index];
}

const visits = Math.floor(sessions / 2);
for (const [name, own] of named(ATTACKS, 0, sessions - visits)) {
  try {
    const { submits, ...outcome } = meet(own, name);
    note(name, { ...outcome, done: submits });
  } catch (error) {
    fail(`${name}, seed ${own}`, error);
  }
}

const waiting = named(LIES, sessions - visits, visits);
await Promise.all(
  Array.from({ length: Math.min(TOGETHER, visits) }, async () => {
    const coordinator = await Coordinator.start();
    for (const [name, own] of waiting) {
      try {
        const { microBatches, ...outcome } = await visit(coordinator, own, name);
        note(name, { ...outcome, done: microBatches });
      } catch (error) {
        fail(`${name}, seed ${own}`, error);
      }
    }
    await coordinator.stop();
  }),
);

const sum = (of: (outcome: Outcome) => number, names: readonly string[]): number =>
  names.flatMap((name) => outcomes.get(name) ?? []).reduce((total, outcome) => total + of(outcome), 0);

for (const [name, own] of outcomes) {
  const codes = Map.groupBy(own, ({ code }) => code ?? "within its budget");
  const said = [...codes].map(([code, those]) => `${those.length} ${code}`).join(", ");
  const slowest = Math.max(...own.map(({ milliseconds }) => milliseconds));
  console.log(`${name.padEnd(30)}${String(own.length).padStart(4)}: ${said}; slowest ${slowest.toFixed(0)} ms`);
}
const [attacks, lies] = [Object.keys(ATTACKS), Object.keys(LIES)];
const above = sum((outcome) => outcome.above, [...attacks, ...lies]);
console.log(
  `${sessions} hostile sessions: ${above} of ${sum(({ done }) => done, attacks)} planned submits and ${sum(({ done }) => done, lies)} micro-batches that were computed are above the client's budget`,
);
process.exit(above === 0 ? 0 : 1);
