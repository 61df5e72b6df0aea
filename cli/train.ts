/**
 * `commonweight train`: a session file from the first line to a model on disk. Starts a local coordinator (unless one is
 * given), pushes the data, creates the session or goes on with the one it made before, starts volunteers, and watches.
 */

import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { planRun } from "../shared/session/plan.ts";
import { CoordinatorApi, type SessionDescription } from "./api.ts";
import { BROWSER_HINT, ensureBrowser } from "./browser.ts";
import { startCoordinator } from "./coordinator.ts";
import { cutDataset } from "./dataset.ts";
import { createDisplay, type Display, formatDuration } from "./display.ts";
import { CliError } from "./errors.ts";
import { encodeSafetensors } from "./safetensors.ts";
import { loadSessionFile, readSource, type SessionFile } from "./session-file.ts";
import { openState, SessionBook, type StateFolder } from "./state.ts";
import { startProcesses, startTabs, type VolunteerEngine, type Volunteers } from "./volunteers.ts";
import { type Ending, watchSession } from "./watch.ts";

export interface TrainOptions {
  readonly volunteers: number;
  readonly engine: readonly VolunteerEngine[];
  readonly epochs?: number;
  readonly steps?: number;
  readonly seed?: number;
  readonly port?: number;
  readonly json: boolean;
  readonly out?: string;
  /** A coordinator that runs already; its secret comes from COMMONWEIGHT_ADMIN_SECRET. */
  readonly server?: string;
  readonly data: string;
  readonly fresh: boolean;
  /** Volunteers in Node even if there is a browser. */
  readonly node: boolean;
}

/** What a run takes down when it ends, in reverse order. */
type Cleanup = (() => Promise<void> | void)[];

export async function train(path: string, options: TrainOptions): Promise<void> {
  const display = createDisplay({ json: options.json, quiet: false });
  const cleanup: Cleanup = [];
  const tidy = async (): Promise<void> => {
    while (cleanup.length > 0) await cleanup.pop()?.();
  };
  const interrupted = (): void => {
    display.say("interrupted: the same command goes on from here");
    void tidy().finally(() => process.exit(130));
  };
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);
  try {
    await run(path, options, display, cleanup);
  } finally {
    process.off("SIGINT", interrupted);
    process.off("SIGTERM", interrupted);
    await tidy();
  }
}

async function run(path: string, options: TrainOptions, display: Display, cleanup: Cleanup): Promise<void> {
  const say = (line: string): void => display.say(line);
  const file = await loadSessionFile(path);
  const definition = override(file.definition, options);

  const state = openState(options.data);
  cleanup.push(state.release);
  const api = await connect(state, options, say, cleanup);
  await pushMissing(api, definition, file, say);
  const { session, isNew } = await openSession(api, state, definition, options.fresh);
  const url = `${api.server}/s/${session.id}`;
  display.emit({
    type: "session",
    id: session.id,
    url,
    title: definition.title,
    parameters: session.parameters,
    totalSteps: planRun(definition).totalSteps,
    resumed: !isNew,
  });
  say(isNew ? `session ${url}` : `going on with session ${url} at step ${session.progress.step}`);

  const volunteers = await startVolunteers(url, options, say);
  cleanup.push(() => volunteers.stop());
  const ending = await watchSession({ api, session, volunteers, display, onEpoch: file.onEpoch });
  display.end();
  await conclude(api, session, definition, ending, options, display);
}

/** The command line's figures take the place of the file's. */
function override(definition: SessionDefinition, { epochs, steps, seed }: TrainOptions): SessionDefinition {
  return {
    ...definition,
    ...(epochs === undefined ? {} : { epochs }),
    ...(steps === undefined ? {} : { maxSteps: steps }),
    ...(seed === undefined ? {} : { seed }),
  };
}

async function connect(
  state: StateFolder,
  { server, port }: TrainOptions,
  say: (line: string) => void,
  cleanup: Cleanup,
): Promise<CoordinatorApi> {
  if (server !== undefined) return new CoordinatorApi(server, process.env.COMMONWEIGHT_ADMIN_SECRET);
  const coordinator = await startCoordinator({ state, port, say });
  cleanup.push(coordinator.stop);
  return new CoordinatorApi(coordinator.url, state.secret);
}

/** Pushes the data set that the session asks for, if the coordinator lacks it and the file brings it along. */
async function pushMissing(
  api: CoordinatorApi,
  { data }: SessionDefinition,
  { datasets }: SessionFile,
  say: (line: string) => void,
): Promise<void> {
  if (data.source !== "dataset" || (await api.readDataset(data.dataset)) !== null) return;
  const source = datasets[data.dataset];
  if (source === undefined) {
    throw new CliError(`the coordinator has no data set ${data.dataset}: push it with commonweight dataset push`);
  }
  const content = readSource(data.dataset, source);
  const { manifest, chunks } = cutDataset(data.dataset, content);
  say(`pushing data set ${data.dataset}: ${content.samples} samples in ${chunks.length} chunks`);
  await api.pushDataset(manifest, chunks, () => {});
}

/** The session that the same command made before and did not finish, or a new one. */
async function openSession(
  api: CoordinatorApi,
  state: StateFolder,
  definition: SessionDefinition,
  fresh: boolean,
): Promise<{ session: SessionDescription; isNew: boolean }> {
  const book = new SessionBook(state);
  const key = createHash("sha256").update(api.server).update(JSON.stringify(definition)).digest("hex");
  const before = fresh ? undefined : book.find(key);
  if (before !== undefined) {
    const session = await api.readSession(before).catch(() => null);
    if (session !== null && session.progress.stage !== "done") return { session, isNew: false };
  }
  const { id } = await api.createSession(definition);
  book.keep(key, id);
  return { session: await api.readSession(id), isNew: true };
}

async function startVolunteers(url: string, options: TrainOptions, say: (line: string) => void): Promise<Volunteers> {
  const engines = Array.from(
    { length: options.volunteers },
    (_, index): VolunteerEngine => options.engine[index % options.engine.length] ?? "auto",
  );
  const browser = options.node ? null : await ensureBrowser(say);
  if (browser !== null) {
    say(`opening ${engines.length} browser tab${engines.length === 1 ? "" : "s"} (${browser})`);
    return startTabs(browser, { url, engines, say });
  }
  if (!options.node) say(`no browser is to be had, so Node volunteers compute instead: ${BROWSER_HINT}`);
  if (engines.includes("webgpu")) say("Node volunteers have no WebGPU: they compute with WASM");
  return startProcesses({ url, engines, say });
}

async function conclude(
  api: CoordinatorApi,
  { id, parameters }: SessionDescription,
  definition: SessionDefinition,
  ending: Ending,
  options: TrainOptions,
  display: Display,
): Promise<void> {
  const { result, evaluations } = await api.readMetrics(id, 0xffffff);
  const test = evaluations.find(({ work }) => work === "test");
  const hasBest = evaluations.some(({ work }) => work === "validate");
  const weights = await api.readWeights(id, hasBest ? "best" : "latest", parameters);
  const model = resolve(options.out ?? "model.safetensors");
  const metadata = { format: "pt", session: id, title: definition.title };
  writeFileSync(model, encodeSafetensors(definition.graph, weights, metadata));
  const testAccuracy = test?.metrics.correct ?? null;
  const clients = result?.members ?? ending.clients;

  display.say("");
  display.say(`finished: ${ending.steps} steps in ${formatDuration(ending.seconds)}`);
  if (testAccuracy !== null) display.say(`test accuracy ${(testAccuracy * 100).toFixed(2)} %`);
  else if (test?.loss !== undefined && test.loss !== null) display.say(`test loss ${test.loss.toFixed(4)}`);
  for (const { id: client, engine, device, samples } of clients) {
    display.say(`  ${client}  ${engine}  ${samples} samples  ${device}`);
  }
  display.say(`model ${model}`);
  display.emit({
    type: "finished",
    testAccuracy,
    testLoss: test?.loss ?? null,
    steps: ending.steps,
    seconds: ending.seconds,
    clients: clients.map(({ engine, device, samples }) => ({ engine, device, samples })),
    model,
    weightsHash: result?.weightsHash ?? null,
    bestHash: result?.bestHash ?? null,
  });
}
