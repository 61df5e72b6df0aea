/**
 * What a command that trains has around it: a coordinator, one of its own unless one is given, the session's data on it, and
 * volunteers on this machine.
 */

import { Console } from "node:console";
import { join } from "node:path";
import { canonicalJson } from "../shared/session/canonical.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { openApi } from "./access.ts";
import { CoordinatorApi } from "./api.ts";
import { assignEngines, type VolunteerEngine } from "./arguments.ts";
import { BROWSER_HINT, ensureBrowser } from "./browser.ts";
import { startTabs } from "./browser-volunteers.ts";
import { startCoordinator } from "./coordinator.ts";
import { cutDataset, readSource } from "./dataset.ts";
import { createDisplay, type Display } from "./display.ts";
import { CliError } from "./errors.ts";
import { type Cleanup, takeSignals } from "./interrupt.ts";
import { startProcesses } from "./node-volunteers.ts";
import { locateComplaint } from "./session-error.ts";
import type { SessionFile } from "./session-file.ts";
import { openState, readState, type StateFolder } from "./state.ts";
import type { Volunteers } from "./volunteers.ts";

export interface RunOptions {
  readonly volunteers: number;
  readonly engine: readonly VolunteerEngine[];
  readonly seed?: number;
  readonly port?: number;
  readonly json: boolean;
  /** A coordinator that runs already; its secret comes from COMMONWEIGHT_ADMIN_SECRET, or from `data` if it is that one. */
  readonly server?: string;
  readonly data: string;
  /** Volunteers in Node even if there is a browser. */
  readonly node: boolean;
}

export function openDisplay(options: RunOptions): Display {
  // What session files and libraries print is for people: with --json standard output belongs to the objects.
  if (options.json) globalThis.console = new Console(process.stderr, process.stderr);
  return createDisplay(options);
}

/** What the coordinator would refuse is said before it is asked, with the place in the file. */
export function check({ path }: SessionFile, requirement: () => void): void {
  try {
    requirement();
  } catch (error) {
    throw locateComplaint(path, error);
  }
}

/** With a coordinator of somebody else's, the folder only remembers sessions: it is no other command's storage. */
export function openRunState({ server, data }: RunOptions, say: (line: string) => void): StateFolder {
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

export async function connect(
  state: StateFolder,
  { server, port, data }: RunOptions,
  say: (line: string) => void,
  cleanup: Cleanup,
): Promise<CoordinatorApi> {
  if (server !== undefined) return openApi({ server, data });
  const coordinator = await startCoordinator({ state, port, say });
  takeSignals();
  cleanup.push(coordinator.stop);
  return new CoordinatorApi(coordinator.url, state.secret);
}

/**
 * The manifest of the data set that the session asks for, pushed first if the file brings it along and the coordinator
 * lacks it or holds another one by that name; null for local data. Throws CliError if there is no such data set, or if
 * somebody else's coordinator holds another one.
 */
export async function provideDataset(
  api: CoordinatorApi,
  { data }: SessionDefinition,
  { datasets, folder }: Pick<SessionFile, "datasets" | "folder">,
  { server }: Pick<RunOptions, "server">,
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
  const rows = data.window === undefined ? "samples" : "rows";
  say(`pushing data set ${data.dataset}: ${content.samples} ${rows} in ${manifest.chunks.length} chunks`);
  await api.pushDataset(manifest, chunks, () => {});
  return manifest;
}

export async function startVolunteers(
  url: string,
  options: RunOptions,
  say: (line: string) => void,
): Promise<Volunteers> {
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
