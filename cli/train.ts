/**
 * `commonweight train`: a session file from the first line to a model on disk. Starts a local coordinator (unless one is
 * given), pushes the data, creates the session or goes on with the one it made before, starts volunteers, and watches.
 */

import { Console } from "node:console";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { CHECKPOINT_LIMITS } from "../shared/checkpoint/head.ts";
import { canonicalJson } from "../shared/session/canonical.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { planRun } from "../shared/session/plan.ts";
import { checkDataset, parseDefinition } from "../shared/session/validate.ts";
import { coordinatorBudget } from "../workers/limits.ts";
import { openApi } from "./access.ts";
import { CoordinatorApi, type SessionDescription } from "./api.ts";
import { assignEngines, type VolunteerEngine } from "./arguments.ts";
import { BROWSER_HINT, ensureBrowser } from "./browser.ts";
import { startTabs } from "./browser-volunteers.ts";
import { type Checkpoint, continueCheckpoint, parseCheckpoint } from "./checkpoint.ts";
import { startCoordinator } from "./coordinator.ts";
import { cutDataset, readSource } from "./dataset.ts";
import { createDisplay, type Display, formatDuration } from "./display.ts";
import { CliError, messageOf } from "./errors.ts";
import { plainLines } from "./foreign-text.ts";
import { continueText } from "./generate.ts";
import { writeModel } from "./model.ts";
import { startProcesses } from "./node-volunteers.ts";
import { locateComplaint } from "./session-error.ts";
import { loadSessionFile, type SessionFile } from "./session-file.ts";
import { openState, readState, SessionBook, type StateFolder } from "./state.ts";
import { summarize } from "./summary.ts";
import { openSessionModel, requireTextModel } from "./text-model.ts";
import type { TextRequest } from "./text-request.ts";
import type { Volunteers } from "./volunteers.ts";
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
  /** A coordinator that runs already; its secret comes from COMMONWEIGHT_ADMIN_SECRET, or from `data` if it is that one. */
  readonly server?: string;
  readonly data: string;
  readonly fresh: boolean;
  /** A checkpoint file to go on from. */
  readonly resume?: string;
  /** Volunteers in Node even if there is a browser. */
  readonly node: boolean;
}

/** What a run takes down when it ends, in reverse order. */
type Cleanup = (() => Promise<void> | void)[];

/** Milliseconds in which further signals are echoes: npm and the terminal each pass on the same one. */
const ECHO = 1_000;

export async function train(path: string | undefined, options: TrainOptions): Promise<void> {
  // What session files and libraries print is for people: with --json standard output belongs to the objects.
  if (options.json) globalThis.console = new Console(process.stderr, process.stderr);
  const display = createDisplay(options);
  const cleanup: Cleanup = [];
  const tidy = async (): Promise<void> => {
    while (cleanup.length > 0) await cleanup.pop()?.();
  };
  let interruptedAt: number | null = null;
  const onSignal = (): void => {
    if (interruptedAt !== null) {
      if (performance.now() - interruptedAt > ECHO) process.exit(130);
      return;
    }
    interruptedAt = performance.now();
    display.end();
    display.say("interrupted: the same command goes on from here");
    void tidy().finally(() => process.exit(130));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  try {
    await run(path, options, display, cleanup);
  } catch (error) {
    // What fails while everything is taken down is no news; the process ends when that is done.
    if (interruptedAt !== null) await new Promise(() => {});
    throw error;
  } finally {
    display.end();
    await tidy();
  }
}

async function run(path: string | undefined, options: TrainOptions, display: Display, cleanup: Cleanup): Promise<void> {
  const say = (line: string): void => display.say(line);
  const checkpoint = options.resume === undefined ? null : openCheckpoint(options.resume);
  const file = await openFile(path, checkpoint);
  const definition = override(file.definition, options);
  check(file, () => parseDefinition(definition, coordinatorBudget));
  // What cannot go on is said before anything is started.
  const origin = checkpoint === null ? null : { checkpoint, bytes: continueCheckpoint(checkpoint, definition) };

  const state = openTrainState(options, say);
  cleanup.push(state.release);
  const model = prepareModelFile(options.out, state);
  const api = await connect(state, options, say, cleanup);
  const manifest = await provideDataset(api, definition, file, options, say);
  if (manifest !== null) check(file, () => checkDataset(definition, manifest));
  if (file.generate !== null) requireTextModel(definition, manifest);
  const { session, isNew } = await openSession(api, state, { ...file, definition }, manifest, origin, options);
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
  if (isNew && checkpoint !== null) say(`going on from ${checkpoint.name} at step ${session.progress.step}`);
  say(isNew ? `session ${url}` : `going on with session ${url} at step ${session.progress.step}`);

  const volunteers = await startVolunteers(url, options, say);
  cleanup.push(() => volunteers.stop());
  const ending = await watchSession({ api, session, volunteers, display, onEpoch: file.onEpoch });
  display.end();
  await conclude(api, session, ending, model, display);
  if (file.generate !== null) await writeText(api, session, file.generate, display);
}

/** What is trained: as the session file says, or where there is none, as the checkpoint does. */
async function openFile(path: string | undefined, checkpoint: Checkpoint | null): Promise<SessionFile> {
  if (path !== undefined) return loadSessionFile(path);
  if (checkpoint === null)
    throw new CliError("give a session file to train, or a checkpoint to go on from by --resume");
  const { name, definition } = checkpoint;
  return {
    path: resolve(name),
    folder: process.cwd(),
    definition,
    initialWeights: null,
    datasets: {},
    onEpoch: null,
    generate: null,
  };
}

function openCheckpoint(path: string): Checkpoint {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) throw new CliError(`there is no checkpoint ${path}`);
  const limit = CHECKPOINT_LIMITS.fileBytes + CHECKPOINT_LIMITS.headerBytes;
  if (stat.size > limit) throw new CliError(`${path} has ${stat.size} bytes, a checkpoint at most ${limit}`);
  return parseCheckpoint(readFileSync(path), path);
}

/** What the coordinator would refuse is said before it is asked, with the place in the file. */
function check({ path }: SessionFile, requirement: () => void): void {
  try {
    requirement();
  } catch (error) {
    throw locateComplaint(path, error);
  }
}

/** With a coordinator of somebody else's, the folder only remembers sessions: it is no other command's storage. */
function openTrainState({ server, data }: TrainOptions, say: (line: string) => void): StateFolder {
  const state = openState(server === undefined ? data : join(data, "remote"));
  if (state.number > 1) {
    say(`another command is at work in ${data}: this one keeps to ${state.path}`);
    const port = readState(data)?.port;
    if (server === undefined && port !== undefined) {
      say(`(if it is commonweight dev, --server http://127.0.0.1:${port} trains there)`);
    }
  }
  return state;
}

/** The command line's figures take the place of the file's. */
export function override(
  definition: SessionDefinition,
  { epochs, steps, seed }: Pick<TrainOptions, "epochs" | "steps" | "seed">,
): SessionDefinition {
  return {
    ...definition,
    ...(epochs === undefined ? {} : { epochs }),
    ...(steps === undefined ? {} : { maxSteps: steps }),
    ...(seed === undefined ? {} : { seed }),
  };
}

/** Where the model will be written. Throws CliError now rather than after the training if that cannot be. */
function prepareModelFile(out: string | undefined, { number }: StateFolder): string {
  const file = resolve(out ?? (number === 1 ? "model.safetensors" : `model-${number}.safetensors`));
  try {
    mkdirSync(dirname(file), { recursive: true });
  } catch (error) {
    throw new CliError(`cannot write the model to ${file}: ${messageOf(error)}`, { cause: error });
  }
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
    throw new CliError(`cannot write the model to ${file}: it is a folder`);
  }
  return file;
}

async function connect(
  state: StateFolder,
  { server, port, data }: TrainOptions,
  say: (line: string) => void,
  cleanup: Cleanup,
): Promise<CoordinatorApi> {
  if (server !== undefined) return openApi({ server, data });
  const coordinator = await startCoordinator({ state, port, say });
  cleanup.push(coordinator.stop);
  return new CoordinatorApi(coordinator.url, state.secret);
}

/**
 * The manifest of the data set that the session asks for, pushed first if the file brings it along and the coordinator
 * lacks it or holds another one by that name; null for local data. Throws CliError if there is no such data set, or if
 * somebody else's coordinator holds another one.
 */
async function provideDataset(
  api: CoordinatorApi,
  { data }: SessionDefinition,
  { datasets, folder }: SessionFile,
  { server }: TrainOptions,
  say: (line: string) => void,
): Promise<DatasetManifest | null> {
  if (data.source !== "dataset") return null;
  const held = await api.readDataset(data.dataset);
  const source = datasets[data.dataset];
  if (source === undefined) {
    if (held !== null) return held;
    throw new CliError(
      `the coordinator has no data set ${data.dataset}: push it with commonweight dataset push, or name a session file that brings it along`,
    );
  }
  const content = readSource(data.dataset, source, folder);
  const { manifest, chunks } = cutDataset(data.dataset, content);
  if (held !== null && canonicalJson(held) === canonicalJson(manifest)) return held;
  if (held !== null && server !== undefined) {
    throw new CliError(
      `${server} holds another data set ${data.dataset}: give yours another name, or replace that one with commonweight dataset push`,
    );
  }
  say(
    `pushing data set ${data.dataset}: ${content.samples} ${data.window === undefined ? "samples" : "rows"} in ${manifest.chunks.length} chunks`,
  );
  await api.pushDataset(manifest, chunks, () => {});
  return manifest;
}

/** The session that the same command made before and did not finish, or a new one. */
async function openSession(
  api: CoordinatorApi,
  state: StateFolder,
  { definition, initialWeights }: SessionFile,
  manifest: DatasetManifest | null,
  origin: { readonly checkpoint: Checkpoint; readonly bytes: Uint8Array<ArrayBuffer> } | null,
  { server, fresh }: TrainOptions,
): Promise<{ session: SessionDescription; isNew: boolean }> {
  const book = new SessionBook(state);
  // The local coordinator is the same one at whatever port it listens.
  const from = origin === null ? {} : { resume: origin.checkpoint.seal };
  const asked = canonicalJson({ server: server ?? null, definition, manifest, ...from });
  const key = createHash("sha256").update(asked).digest("hex");
  const before = fresh ? undefined : book.find(key);
  const session = before === undefined ? null : await readUnfinished(api, before);
  if (session !== null) return { session, isNew: false };
  if (initialWeights !== null && origin === null) await api.pushChunk(initialWeights);
  const { id } = origin === null ? await api.createSession(definition) : await api.resumeSession(origin.bytes);
  book.keep(key, id);
  return { session: await api.readSession(id), isNew: true };
}

/** The session if it is still there and can go on; one that was paused goes on from here. */
async function readUnfinished(api: CoordinatorApi, id: string): Promise<SessionDescription | null> {
  const session = await api.readSession(id).catch(() => null);
  if (session === null || session.progress.stage === "done") return null;
  const { status } = session.progress;
  if (status === "failed" || status === "stopped") return null;
  if (status === "paused") await api.control(id, "resume");
  return session;
}

async function startVolunteers(url: string, options: TrainOptions, say: (line: string) => void): Promise<Volunteers> {
  const engines = assignEngines(options.engine, options.volunteers);
  if (engines.length === 0) say("nobody computes here: open the link to take part");
  if (options.node || engines.length === 0) return startInNode(url, engines, say);
  const browser = await ensureBrowser(say);
  let hint = `${BROWSER_HINT}`;
  if (browser !== null) {
    say(`opening ${engines.length} browser tab${engines.length === 1 ? "" : "s"} (${browser})`);
    try {
      return await startTabs(browser, { url, engines, say });
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      hint = error.message;
    }
  }
  say(`no browser is to be had, so Node volunteers compute instead: ${hint}`);
  return startInNode(url, engines, say);
}

function startInNode(url: string, engines: readonly VolunteerEngine[], say: (line: string) => void): Volunteers {
  if (engines.includes("webgpu")) say("Node volunteers have no WebGPU: they compute with WASM");
  return startProcesses({ url, engines, say });
}

async function conclude(
  api: CoordinatorApi,
  session: SessionDescription,
  ending: Ending,
  model: string,
  display: Display,
): Promise<void> {
  // Since this process began.
  const seconds = Math.round(performance.now() / 100) / 10;
  display.say("");
  display.say(`${ending.status}: ${ending.steps} steps in ${formatDuration(seconds)}`);
  const { summary, hasBest } = await summarize(api, session, ending, display);
  await writeModel(api, session, hasBest ? "best" : "latest", model);
  display.say(`model ${model}`);
  display.emit({ type: "finished", ...summary, seconds, model });
}

/** What the session file asked the trained model to write. */
async function writeText(
  api: CoordinatorApi,
  session: SessionDescription,
  { prompt, ...request }: TextRequest,
  display: Display,
): Promise<void> {
  const model = await openSessionModel(api, session, { which: "best" });
  let text = prompt;
  for await (const piece of continueText(model, prompt, request)) text += piece;
  display.say("");
  display.say(plainLines(text));
}
