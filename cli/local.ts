/**
 * `commonweight/local`: a program that trains on its own machine, for research and for examples. A coordinator like the one
 * that is deployed, in workerd, and volunteers that compute in this process: what `commonweight train` does, in a few lines
 * of one's own. It is for Node 22.18 or newer, and needs the package miniflare.
 */

/// <reference lib="esnext.disposable" preserve="true" />

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { checkDataset, parseDefinition } from "../shared/session/validate.ts";
import { coordinatorBudget } from "../workers/limits.ts";
import { CoordinatorApi } from "./api.ts";
import { startCoordinator } from "./coordinator.ts";
import type { DatasetSource } from "./dataset.ts";
import { createSession, nameFirstWeights } from "./first-weights.ts";
import { linkOf } from "./invitation.ts";
import { LocalError } from "./local-error.ts";
import { CoordinatedSession, checkClients, type LocalSession } from "./local-session.ts";
import { provideDataset } from "./run.ts";
import { openState } from "./state.ts";
import type { EngineHere } from "./volunteers-here.ts";

export type { PredictionInputs } from "../client/core/features.ts";
export type { LocalColumns } from "../client/data/local.ts";
export type { StepMetric } from "./api.ts";
export type { ChartOptions, Marker, Series } from "./chart/svg.ts";
export { lineChart } from "./chart/svg.ts";
export type { ColumnData, DatasetSource } from "./dataset.ts";
export type { LocalErrorCode } from "./local-error.ts";
export { LocalError } from "./local-error.ts";
export type {
  FinishedOptions,
  LocalOutcome,
  LocalProgress,
  LocalRecord,
  LocalSession,
  Tensor,
  TrainingOptions,
  Which,
} from "./local-session.ts";
export type { EngineHere } from "./volunteers-here.ts";

/** What `startLocal` takes. */
export interface LocalOptions {
  /** Folder of the coordinator's storage, which stays. By default one that goes on `close`. */
  readonly data?: string;
  /** What volunteers compute with, unless told otherwise: `wasm` by default, whose results have the same bits everywhere. */
  readonly engine?: EngineHere;
  /** How many volunteers train a session, unless told otherwise; 1 by default. */
  readonly clients?: number;
  /** Hears what there is to say to a person, such as that a volunteer is gone. */
  readonly say?: (line: string) => void;
}

/** What `create` takes besides the definition. */
export interface CreateOptions {
  /** Data sets by name, as a session file exports them: the one that the session names is pushed if it is not there yet. */
  readonly datasets?: Readonly<Record<string, DatasetSource>>;
  /** Folder that paths of files in `datasets` are relative to; by default the working folder. */
  readonly folder?: string;
}

/** A coordinator of this program's own. */
export interface Local extends AsyncDisposable {
  /** Its address: whoever is on this machine can take part. */
  readonly url: string;
  /**
   * Makes a session of what `defineSession` returns. Rejects with SessionError or GraphError where the definition cannot be
   * trained, with what is wrong.
   */
  create(definition: SessionDefinition, options?: CreateOptions): Promise<LocalSession>;
  /** Sends the volunteers home and stops the coordinator; `await using` does it too. */
  close(): Promise<void>;
}

/** Throws LocalError where the session asks for a data set that nobody has. */
async function requireData(
  api: CoordinatorApi,
  { data }: SessionDefinition,
  datasets: Readonly<Record<string, DatasetSource>>,
): Promise<void> {
  if (data.source === "local" || data.dataset in datasets || (await api.readDataset(data.dataset)) !== null) return;
  throw new LocalError(
    "invalid-argument",
    `there is no data set ${data.dataset}: give it along, create(definition, { datasets: { "${data.dataset}": … } })`,
  );
}

/** Starts a coordinator on any free port of this machine. */
export async function startLocal(options: LocalOptions = {}): Promise<Local> {
  const { data, engine = "wasm", say = () => {} } = options;
  const clients = checkClients(options.clients ?? 1);
  const temporary = data === undefined ? mkdtempSync(join(tmpdir(), "commonweight-local-")) : null;
  const state = openState(join(temporary ?? resolve(data ?? "."), "state"));
  const remove = (): void => {
    if (temporary !== null) rmSync(temporary, { recursive: true, force: true });
  };
  // Also where the program is interrupted, or ends without a word.
  process.once("exit", remove);
  const release = (): void => {
    process.off("exit", remove);
    state.release();
    remove();
  };
  const coordinator = await startCoordinator({ state, port: 0, say }).catch((error: unknown) => {
    release();
    throw error;
  });
  const api = new CoordinatorApi(coordinator.url, state.secret);
  const sessions: CoordinatedSession[] = [];
  let closing: Promise<void> | null = null;

  const create = async (given: SessionDefinition, { datasets = {}, folder = "." }: CreateOptions = {}) => {
    if (closing !== null) throw new LocalError("closed", "the coordinator was closed: start another one");
    const named = nameFirstWeights("the session", given);
    const definition = parseDefinition(named.definition, coordinatorBudget);
    await requireData(api, definition, datasets);
    const manifest = await provideDataset(api, definition, { datasets, folder }, {}, () => {});
    if (manifest !== null) checkDataset(definition, manifest);
    const { id } = await createSession(api, { ...named, definition });
    const link = await linkOf(api, id);
    const session = new CoordinatedSession({ api, session: await api.readSession(id), link, clients, engine, say });
    sessions.push(session);
    return session;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(sessions.map((session) => session.close()));
    await coordinator.stop();
    release();
  };
  const close = (): Promise<void> => {
    closing ??= stop();
    return closing;
  };
  return { url: coordinator.url, create, close, [Symbol.asyncDispose]: close };
}
