/**
 * `commonweight lr-find`: measures on the volunteers which learning rate suits a session, draws the loss against the rate, and
 * suggests one. It runs a session of its own (lr-find/session.ts), which is deleted at the end: what an earlier training of the
 * same file keeps stays as it is.
 */

import type { SessionDefinition } from "../shared/session/definition.ts";
import { planRun } from "../shared/session/plan.ts";
import { checkDataset, parseDefinition } from "../shared/session/validate.ts";
import { coordinatorBudget } from "../workers/limits.ts";
import type { StepMetric } from "./api.ts";
import type { Range } from "./chart/axis.ts";
import { lineChart } from "./chart/svg.ts";
import { drawChart } from "./chart/terminal.ts";
import type { Display } from "./display.ts";
import { CliError, messageOf } from "./errors.ts";
import { createSession } from "./first-weights.ts";
import { plain } from "./foreign-text.ts";
import { type Cleanup, untilInterrupted } from "./interrupt.ts";
import { linkOf, ownLinkOf } from "./invitation.ts";
import { type Curve, curveOf, type Measured } from "./lr-find/curve.ts";
import { formatRate, optimizerLine, type Sweep, sweepDefinition, withRate } from "./lr-find/session.ts";
import { type Suggestion, suggest } from "./lr-find/suggestion.ts";
import { prepareOutput } from "./output-file.ts";
import { check, connect, openDisplay, openRunState, provideDataset, type RunOptions, startVolunteers } from "./run.ts";
import { loadSessionFile } from "./session-file.ts";
import { writeWhole } from "./state.ts";
import { type Ending, type Probe, watchSession } from "./watch.ts";

export interface LrFindOptions extends RunOptions, Sweep {
  readonly out: string;
}

/** Lines of the curve, and most characters of a line of it. */
const [ROWS, COLUMNS] = [15, 100];
/** A steep end is cut off so far above the loss that training began with, in parts of the fall. */
const HEADROOM = 0.1;

export async function findLearningRate(path: string, options: LrFindOptions): Promise<void> {
  if (options.from >= options.to) {
    throw new CliError(`--from ${options.from} is not below --to ${options.to}: the learning rate grows`);
  }
  const display = openDisplay(options);
  const farewell = "interrupted: nothing of the test is kept";
  await untilInterrupted(display, farewell, (cleanup) => run(path, options, display, cleanup));
}

async function run(path: string, options: LrFindOptions, display: Display, cleanup: Cleanup): Promise<void> {
  const say = (line: string): void => display.say(line);
  const file = await loadSessionFile(path);
  check(file, () => parseDefinition(file.definition, coordinatorBudget));
  const { seed = file.definition.seed } = options;
  const definition = { ...sweepDefinition(file.definition, options), seed };
  check(file, () => parseDefinition(definition, coordinatorBudget));
  const picture = prepareOutput(options.out, "the chart");

  const state = openRunState(options, say);
  cleanup.push(state.release);
  const api = await connect(state, options, say, cleanup);
  const manifest = await provideDataset(api, definition, file, options, say);
  if (manifest !== null) check(file, () => checkDataset(definition, manifest));
  const { id } = await createSession(api, { definition, initialWeights: file.initialWeights });
  cleanup.push(() =>
    api
      .deleteSession(id)
      .catch((error: unknown) => say(`the test's session could not be deleted: ${messageOf(error)}`)),
  );
  const session = await api.readSession(id);
  const url = await linkOf(api, id);
  const { totalSteps } = planRun(definition);
  display.emit({ type: "session", id, url, title: definition.title, parameters: session.parameters, totalSteps });
  say(`session ${url}`);

  const volunteers = await startVolunteers(await ownLinkOf(api, id, url), options, say);
  cleanup.push(() => volunteers.stop());
  const steps: Measured[] = [];
  const probe = probeInto(steps, totalSteps);
  const ending = await watchSession({ api, session, volunteers, display, onEpoch: null, probe });
  display.end();
  const curve = curveOf({ steps, planned: totalSteps, failed: ending.status === "failed" });
  conclude(file.definition, curve, ending, picture, display);
}

/** Collects what is measured, until training falls apart. */
function probeInto(steps: Measured[], planned: number): Probe {
  return {
    onStep: ({ lr, loss }: StepMetric) => {
      // A batch without any weight measured nothing.
      if (lr !== null && loss !== null) steps.push({ lr, loss });
    },
    isDone: () => curveOf({ steps, planned, failed: false }).hasDiverged,
    note: () => {
      const last = steps.at(-1);
      return last === undefined ? "" : `lr ${formatRate(last.lr)}`;
    },
  };
}

function conclude(
  definition: SessionDefinition,
  curve: Curve,
  { reason, status }: Ending,
  picture: string,
  display: Display,
): void {
  const { points, hasDiverged } = curve;
  const last = points.at(-1);
  if (last === undefined) throw new CliError(`no step was done: ${plain(reason) || status}`);
  const suggestion = suggest(curve);
  const found = "none" in suggestion ? null : suggestion;
  const markers = found === null ? [] : markersOf(found);
  const yRange = rangeOf(curve);
  const axes = { xLabel: "learning rate", logX: true, yRange };
  writeWhole(
    picture,
    lineChart({
      ...axes,
      title: `Learning-rate test: ${plain(definition.title)}`,
      yLabel: "loss",
      series: [
        { name: "smoothed", points: points.map(({ lr, smoothed }) => [lr, smoothed]) },
        { name: "each step", points: points.map(({ lr, loss }) => [lr, loss]), style: "faint" },
      ],
      markers,
    }),
  );
  const chart = drawChart({
    ...axes,
    yLabel: "loss, smoothed",
    points: points.map(({ lr, smoothed }) => [lr, smoothed]),
    markers,
    columns: Math.min(display.columns, COLUMNS),
    rows: ROWS,
  });
  display.say("");
  for (const line of chart) display.say(line);
  display.say("");
  if (hasDiverged) {
    display.say(
      `training fell apart at a learning rate of ${formatRate(last.lr)}${reason === "" ? "" : `: ${plain(reason)}`}`,
    );
  }
  for (const line of "none" in suggestion ? [suggestion.none] : adviceOf(suggestion, curve, definition))
    display.say(line);
  display.say(`chart ${picture}`);
  display.emit({
    type: "finished",
    diverged: hasDiverged,
    reason,
    points,
    suggested: found?.steepest.lr ?? null,
    minimum: found?.least.lr ?? null,
    minimumTenth: found?.tenthOfLeast ?? null,
    chart: picture,
  });
}

const markersOf = ({ steepest, least, tenthOfLeast }: Suggestion) => [
  { x: steepest.lr, y: steepest.smoothed, label: `steepest: ${formatRate(steepest.lr)}` },
  { x: tenthOfLeast, label: `minimum / 10: ${formatRate(tenthOfLeast)}` },
  { x: least.lr, y: least.smoothed, label: `minimum: ${formatRate(least.lr)}` },
];

/** All that was measured up to the least loss, and a little more: where training falls apart is seen, not how far. */
function rangeOf({ points }: Curve): Range {
  const bottom = points.reduce((best, { smoothed }, at) => (smoothed < points[best].smoothed ? at : best), 0);
  const losses = points.slice(0, bottom + 1).map(({ loss }) => loss);
  const [least, most] = [Math.min(...losses), Math.max(...losses)];
  const room = (most - least || Math.abs(least) || 1) * HEADROOM;
  return [least >= 0 ? Math.max(0, least - room) : least - room, most + room];
}

/** What people are told; the session file's line last. */
function adviceOf(suggestion: Suggestion, { points, hasDiverged }: Curve, definition: SessionDefinition): string[] {
  const { steepest, least, tenthOfLeast } = suggestion;
  const lines = [
    `suggested: ${formatRate(steepest.lr)}, where the smoothed loss falls most steeply`,
    `the other rule: ${formatRate(tenthOfLeast)}, a tenth of ${formatRate(least.lr)}, where it is least`,
  ];
  if (!hasDiverged && least === points.at(-1)) lines.push("it still falls at the end: a larger --to may show more");
  lines.push("", "in the session file:", `  ${optimizerLine(definition.optimizer, steepest.lr)}`);
  const { groups = {} } = withRate(definition, Number(steepest.lr.toPrecision(2)));
  for (const [name, { lr }] of Object.entries(groups)) {
    if (lr !== undefined) lines.push(`  and in groups.${plain(name)}, in proportion: lr: ${formatRate(lr)}`);
  }
  if (definition.schedule !== undefined)
    lines.push("(its schedule was left out of the test, and starts from this rate)");
  return lines;
}
