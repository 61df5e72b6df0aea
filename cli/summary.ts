/** What is said of a session when it has ended: how well it does, and who computed it. */

import type { CoordinatorApi, SessionDescription } from "./api.ts";
import { confusionLines } from "./confusion.ts";
import { formatCost } from "./cost.ts";
import { clientLabels, type Display, describeFigures } from "./display.ts";
import { plain } from "./foreign-text.ts";
import type { Ending } from "./watch.ts";

export interface Summary {
  readonly testAccuracy: number | null;
  readonly testLoss: number | null;
  /** All figures of the test by name; null where there was none. */
  readonly testMetrics: Readonly<Record<string, number>> | null;
  readonly steps: number;
  readonly clients: readonly { readonly engine: string; readonly device: string; readonly samples: number }[];
  readonly engines: Ending["engines"];
  readonly weightsHash: string | null;
  readonly bestHash: string | null;
  /** Of the coordinator, at Cloudflare's list prices. */
  readonly dollars: number;
  /** Part of one day's free quota there. */
  readonly freeDailyShare: number;
}

/** Evaluations that people are told of, the last ones. */
const SHOWN = 6;

const figuresLine = (loss: number | null, metrics: Readonly<Record<string, number>>): string =>
  [`loss ${loss === null ? "–" : loss.toFixed(4)}`, ...describeFigures(metrics)].join(", ");

/** Tells people, and answers the same for machines; `hasBest` says whether there are weights best on held-out samples. */
export async function summarize(
  api: CoordinatorApi,
  session: SessionDescription,
  ending: Ending,
  display: Display,
): Promise<{ readonly summary: Summary; readonly hasBest: boolean }> {
  // After any step: only the evaluations and the result are wanted.
  const { result, evaluations } = await api.readMetrics(session.id, Number.MAX_SAFE_INTEGER);
  const { cost, progress } = await api.readSession(session.id);
  const hasBest = evaluations.some(({ work }) => work === "validate");
  const atBest = hasBest && session.definition.earlyStopping?.restoreBest !== false;
  const test = evaluations.find(({ work }) => work === "test");
  const testAccuracy = test?.metrics.correct ?? null;
  const clients = result?.members ?? ending.clients;
  const all = clients.reduce((sum, { samples }) => sum + samples, 0);

  const shown = evaluations.slice(-SHOWN);
  if (shown.length < evaluations.length) {
    const earlier = evaluations.length - shown.length;
    display.say(`  ${earlier} earlier evaluations: commonweight export ${session.id} --format csv has them all`);
  }
  for (const { work, step, loss, metrics } of shown) {
    const name =
      work === "test" ? `test, once, at the ${atBest ? "best" : "last"} weights` : `validation after step ${step}`;
    display.say(`  ${name}: ${figuresLine(loss, metrics)}`);
  }
  if (evaluations.length === 0) display.say(`  last training step: ${figuresLine(progress.loss, progress.metrics)}`);
  const counted = evaluations.findLast(({ tables }) => tables !== undefined);
  const split = counted?.work === "test" ? "the test" : `validation after step ${counted?.step}`;
  for (const line of confusionLines(counted?.tables ?? {}, split)) display.say(line);
  if (testAccuracy !== null) display.say(`test accuracy ${(testAccuracy * 100).toFixed(2)} %`);
  const labels = clientLabels(clients);
  for (const [index, { engine, device, samples }] of clients.entries()) {
    const share = all === 0 ? "" : `${((samples / all) * 100).toFixed(1).padStart(5)} %`;
    display.say(`  ${labels[index]}  ${plain(engine, 16).padEnd(6)} ${share}  ${samples} samples  ${plain(device)}`);
  }
  const trained = ending.engines.reduce((sum, { samples }) => sum + samples, 0);
  for (const { engine, steps, samples } of ending.engines) {
    const share = ((samples / trained) * 100).toFixed(1);
    display.say(`  ${plain(engine, 16)} computed in ${steps} of ${ending.steps} steps, ${share} % of their samples`);
  }
  display.say(`coordinator, as deployed: ${formatCost(cost)}`);
  const summary = {
    testAccuracy,
    testLoss: test?.loss ?? null,
    testMetrics: test?.metrics ?? null,
    steps: ending.steps,
    clients: clients.map(({ engine, device, samples }) => ({ engine, device, samples })),
    engines: ending.engines,
    weightsHash: result?.weightsHash ?? null,
    bestHash: result?.bestHash ?? null,
    dollars: cost.dollars,
    freeDailyShare: cost.freeDailyShare,
  };
  return { summary, hasBest };
}
