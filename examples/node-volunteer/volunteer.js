/**
 * A volunteer in Node: takes part until the session ends, Ctrl-C is pressed, or the time that it was given is over.
 *
 *     npm install
 *     node volunteer.js https://host/s/<id> [minutes]
 */

import { joinTraining, TrainingError } from "commonweight/node";

const [session, minutes] = process.argv.slice(2);
if (session === undefined) {
  console.error("usage: node volunteer.js https://host/s/<id> [minutes]");
  process.exit(2);
}

const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());
process.once("SIGTERM", () => interrupted.abort());
const signal = minutes
  ? AbortSignal.any([interrupted.signal, AbortSignal.timeout(Number(minutes) * 60_000)])
  : interrupted.signal;

try {
  const training = await joinTraining(session, { engine: "auto", workers: 1, signal });
  console.log(`${training.session.title}: computing as ${training.clientId.slice(0, 8)} on ${training.device}`);

  training.on("status", ({ status, reason }) => {
    if (status === "connecting") console.log(`connecting again: ${reason}`);
  });
  training.on("error", ({ code, message, fatal }) => {
    if (!fatal) console.log(`${code}: ${message}`);
  });
  for await (const { step, loss } of training.steps()) console.log(`step ${step}: loss ${loss?.toFixed(4) ?? "–"}`);

  const { outcome, contributed } = await training.finished;
  console.log(`${outcome}: ${contributed.samples} samples computed here`);
} catch (error) {
  if (!signal.aborted) {
    console.error(error instanceof TrainingError ? `${error.code}: ${error.message}` : error);
    process.exit(1);
  }
}
