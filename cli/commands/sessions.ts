/** `commonweight sessions`: what a coordinator trains and has trained. */

import type { Command } from "commander";
import { type AccessOptions, openApi } from "../access.ts";
import type { CoordinatorApi, SessionDescription } from "../api.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";
import { formatCostShort } from "../cost.ts";
import { RefusedError } from "../errors.ts";
import { plain, plainJson } from "../foreign-text.ts";

/** Questions under way at once. */
const PARALLEL = 8;
const TITLE = 32;

/** The columns of the table, in order. */
const COLUMNS: readonly (readonly [name: string, of: (session: SessionDescription) => string])[] = [
  ["id", ({ id }) => plain(id, 34)],
  ["title", ({ definition }) => plain(definition.title, TITLE)],
  ["status", ({ progress }) => plain(progress.status, 10)],
  ["step", ({ progress }) => `${progress.step}/${progress.totalSteps}`],
  ["created", ({ createdAt }) => new Date(createdAt).toISOString().slice(0, 16).replace("T", " ")],
  ["volunteers", ({ progress }) => String(progress.clientCount)],
  ["cost so far", ({ cost }) => formatCostShort(cost)],
];

/** Each session as it is now, in the order of the list; those that were deleted meanwhile are left out. */
async function readAll(api: CoordinatorApi): Promise<SessionDescription[]> {
  const { sessions } = await api.listSessions();
  const described: (SessionDescription | null)[] = sessions.map(() => null);
  const waiting = [...sessions.entries()].reverse();
  const read = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [index, { id }] = next;
      try {
        described[index] = await api.readSession(id);
      } catch (error) {
        if (!(error instanceof RefusedError && error.status === 404)) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, read));
  return described.filter((session) => session !== null);
}

function formatTable(sessions: readonly SessionDescription[]): string {
  const rows = [COLUMNS.map(([name]) => name), ...sessions.map((session) => COLUMNS.map(([, of]) => of(session)))];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => [...(row[column] ?? "")].length)));
  const pad = (text: string, column: number): string =>
    text + " ".repeat(Math.max(0, (widths[column] ?? 0) - [...text].length));
  return rows.map((row) => row.map(pad).join("  ").trimEnd()).join("\n");
}

async function listSessions(options: AccessOptions & { readonly json: boolean }): Promise<void> {
  const api = openApi(options);
  const sessions = await readAll(api);
  if (!options.json) {
    console.log(sessions.length === 0 ? "there are no sessions" : formatTable(sessions));
    return;
  }
  for (const { id, definition, progress, createdAt, cost } of sessions) {
    const { status, step, totalSteps, clientCount: volunteers } = progress;
    const { dollars, freeDailyShare, usage } = cost;
    const { title } = definition;
    console.log(
      plainJson({ id, title, status, step, totalSteps, createdAt, volunteers, dollars, freeDailyShare, usage }),
    );
  }
}

export function sessionsCommand(): Command {
  const examples = ["sessions", "sessions --server https://commonweight.example.workers.dev --json"];
  return createCommand("sessions", "list a coordinator's sessions, newest first, and what each cost so far", examples)
    .option("--json", "one JSON object a line", false)
    .addOption(serverOption())
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Times are UTC. Costs are the coordinator's at Cloudflare's list prices, as if it were deployed (docs/deployment.md).
Private sessions are listed to those who have the secret.`,
    )
    .action(listSessions);
}
