/**
 * `commonweight train`: a session file from the first line to a model on disk. Starts a local coordinator (unless one is
 * given), pushes the data, creates the session or goes on with the one it made before, starts volunteers, and watches.
 */

import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { CHECKPOINT_LIMITS } from "../shared/checkpoint/head.ts";
import { canonicalJson } from "../shared/session/canonical.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { planRun } from "../shared/session/plan.ts";
import { checkDataset, parseDefinition } from "../shared/session/validate.ts";
import { coordinatorBudget } from "../workers/limits.ts";
import type { CoordinatorApi, SessionDescription } from "./api.ts";
import { type Checkpoint, continueCheckpoint, parseCheckpoint } from "./checkpoint.ts";
import { type Display, formatDuration } from "./display.ts";
import { CliError } from "./errors.ts";
import { createSession } from "./first-weights.ts";
import { plainLines } from "./foreign-text.ts";
import { continueText } from "./generate.ts";
import { type Cleanup, untilInterrupted } from "./interrupt.ts";
import { linkOf, ownLinkOf } from "./invitation.ts";
import { writeModel } from "./model.ts";
import { prepareOutput } from "./output-file.ts";
import { check, connect, openDisplay, openRunState, provideDataset, type RunOptions, startVolunteers } from "./run.ts";
import { loadSessionFile, type SessionFile } from "./session-file.ts";
import { SessionBook, type StateFolder } from "./state.ts";
import { summarize } from "./summary.ts";
import { openSessionModel, requireTextModel } from "./text-model.ts";
import type { TextRequest } from "./text-request.ts";
import { type Ending, watchSession } from "./watch.ts";

export interface TrainOptions extends RunOptions {
  readonly epochs?: number;
  readonly steps?: number;
  readonly out?: string;
  readonly fresh: boolean;
  /** A checkpoint file to go on from. */
  readonly resume?: string;
}

export async function train(path: string | undefined, options: TrainOptions): Promise<void> {
  const display = openDisplay(options);
  const farewell = "interrupted: the same command goes on from here";
  await untilInterrupted(display, farewell, (cleanup) => run(path, options, display, cleanup));
}

async function run(path: string | undefined, options: TrainOptions, display: Display, cleanup: Cleanup): Promise<void> {
  const say = (line: string): void => display.say(line);
  const checkpoint = options.resume === undefined ? null : openCheckpoint(options.resume);
  const file = await openFile(path, checkpoint);
  const definition = override(file.definition, options);
  check(file, () => parseDefinition(definition, coordinatorBudget));
  // What cannot go on is said before anything is started.
  const origin = checkpoint === null ? null : { checkpoint, bytes: continueCheckpoint(checkpoint, definition) };

  const state = openRunState(options, say);
  cleanup.push(state.release);
  const named = options.out ?? (state.number === 1 ? "model.safetensors" : `model-${state.number}.safetensors`);
  const model = prepareOutput(named, "the model");
  const api = await connect(state, options, say, cleanup);
  const manifest = await provideDataset(api, definition, file, options, say);
  if (manifest !== null) check(file, () => checkDataset(definition, manifest));
  if (file.generate !== null) requireTextModel(definition, manifest);
  const { session, isNew } = await openSession(api, state, { ...file, definition }, manifest, origin, options);
  const url = await linkOf(api, session.id);
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

  const volunteers = await startVolunteers(await ownLinkOf(api, session.id, url), options, say);
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
  const none = { initialWeights: null, datasets: {}, onEpoch: null, generate: null };
  return { path: resolve(name), folder: process.cwd(), definition, ...none };
}

function openCheckpoint(path: string): Checkpoint {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) throw new CliError(`there is no checkpoint ${path}`);
  const limit = CHECKPOINT_LIMITS.fileBytes + CHECKPOINT_LIMITS.headerBytes;
  if (stat.size > limit) throw new CliError(`${path} has ${stat.size} bytes, a checkpoint at most ${limit}`);
  return parseCheckpoint(readFileSync(path), path);
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
  const { id } =
    origin === null ? await createSession(api, { definition, initialWeights }) : await api.resumeSession(origin.bytes);
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
