/**
 * `/metrics` in Prometheus' text format 0.0.4: what the objects of sessions that are not over count anyway. Each one is asked, which is
 * one call of it a scrape; none is brought to life for it. Counters of an object start again when it wakes, as Prometheus expects of
 * counters.
 *
 * https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md
 */

import type { Context } from "hono";
import type { SessionFigures } from "../coordinator/session/figures.ts";
import { isUnfinished, readListing } from "../coordinator/store/listing.ts";
import { checkAdmin } from "./admin.ts";
import type { AppTypes } from "./env.ts";
import { sessionStub } from "./stub.ts";

/** Sessions asked, the newest ones; and so many at a time. */
const ASKED = 100;
const PARALLEL = 8;

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly of: (figures: SessionFigures) => readonly Sample[];
}

const one = (value: number | null): readonly Sample[] => (value === null ? [] : [{ value }]);

const by = (label: string, values: Readonly<Record<string, number>> | undefined): readonly Sample[] =>
  Object.entries(values ?? {}).map(([name, value]) => ({ labels: { [label]: name }, value }));

/** Of each session, with its id as a label. */
const METRICS: readonly Metric[] = [
  {
    name: "session_info",
    type: "gauge",
    help: "1, with the session's title, stage and status.",
    of: ({ title, progress: { stage, status } }) => [{ labels: { title, stage, status }, value: 1 }],
  },
  { name: "session_step", type: "gauge", help: "Updates done.", of: ({ progress }) => one(progress.step) },
  {
    name: "session_steps_planned",
    type: "gauge",
    help: "Updates that the session has.",
    of: ({ progress }) => one(progress.totalSteps),
  },
  {
    name: "session_checkpoint_step",
    type: "gauge",
    help: "Updates that the stored checkpoint contains.",
    of: ({ checkpointStep }) => one(checkpointStep),
  },
  {
    name: "session_loss",
    type: "gauge",
    help: "Loss of the last training step.",
    of: ({ progress }) => one(progress.loss),
  },
  {
    name: "session_samples_per_second",
    type: "gauge",
    help: "Training samples a second, lately.",
    of: ({ progress }) => one(progress.samplesPerSecond),
  },
  {
    name: "session_clients",
    type: "gauge",
    help: "Clients that take part.",
    of: ({ progress }) => one(progress.clientCount),
  },
  { name: "session_sockets", type: "gauge", help: "Open sockets.", of: ({ sockets }) => one(sockets) },
  {
    name: "session_awake",
    type: "gauge",
    help: "1 while the object holds its parameters in memory.",
    of: ({ awake }) => one(awake ? 1 : 0),
  },
  {
    name: "session_memory_bytes",
    type: "gauge",
    help: "Bytes in memory, by account of the ledger.",
    of: ({ ledger }) => by("account", ledger.accounts),
  },
  {
    name: "session_memory_peak_bytes",
    type: "gauge",
    help: "Most bytes in memory since it woke.",
    of: ({ ledger }) => one(ledger.peak),
  },
  {
    name: "session_memory_limit_bytes",
    type: "gauge",
    help: "Bytes that it may hold in memory.",
    of: ({ ledger }) => one(ledger.limit),
  },
  {
    name: "session_database_bytes",
    type: "gauge",
    help: "Bytes of its SQLite database.",
    of: ({ databaseBytes }) => one(databaseBytes),
  },
  {
    name: "session_results_total",
    type: "counter",
    help: "Results that clients sent, by what became of them.",
    of: ({ live }) => by("outcome", live?.results),
  },
  {
    name: "session_refusals_total",
    type: "counter",
    help: "Clients that were closed for cause, by code.",
    of: ({ live }) => by("code", live?.refusals),
  },
  {
    name: "session_socket_messages_total",
    type: "counter",
    help: "Messages over its sockets.",
    of: ({ live }) => by("direction", live === null ? {} : { in: live.tally.messagesIn, out: live.tally.messagesOut }),
  },
  {
    name: "session_socket_bytes_total",
    type: "counter",
    help: "Bytes over its sockets.",
    of: ({ live }) => by("direction", live === null ? {} : { in: live.tally.bytesIn, out: live.tally.bytesOut }),
  },
  {
    name: "session_steps_total",
    type: "counter",
    help: "Training steps done since it woke.",
    of: ({ live }) => one(live?.tally.steps ?? null),
  },
  {
    name: "session_phase_seconds_total",
    type: "counter",
    help: "Time by phase of a step; on Cloudflare 0, whose clock stands still while code runs.",
    of: ({ live }) =>
      by(
        "phase",
        Object.fromEntries(Object.entries(live?.tally.milliseconds ?? {}).map(([name, time]) => [name, time / 1000])),
      ),
  },
  {
    name: "session_requests_total",
    type: "counter",
    help: "Calls of its object, ever.",
    of: ({ usage }) => one(usage.requests),
  },
  {
    name: "session_messages_received_total",
    type: "counter",
    help: "Socket messages it was billed for, ever.",
    of: ({ usage }) => one(usage.messages),
  },
  {
    name: "session_rows_total",
    type: "counter",
    help: "SQLite rows, ever.",
    of: ({ usage }) => by("direction", { read: usage.rowsRead, written: usage.rowsWritten }),
  },
  {
    name: "session_active_seconds_total",
    type: "counter",
    help: "Time awake, ever.",
    of: ({ usage }) => one(usage.activeSeconds),
  },
  {
    name: "session_bucket_operations_total",
    type: "counter",
    help: "R2 operations, ever.",
    of: ({ usage }) => by("direction", { read: usage.r2Reads, written: usage.r2Writes }),
  },
];

/** As a label's value lies between its quotes. */
const escapeLabel = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

const formatLabels = (labels: Readonly<Record<string, string>>): string =>
  Object.keys(labels).length === 0
    ? ""
    : `{${Object.entries(labels)
        .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
        .join(",")}}`;

const formatValue = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";

const line = (name: string, labels: Readonly<Record<string, string>>, value: number): string =>
  `commonweight_${name}${formatLabels(labels)} ${formatValue(value)}\n`;

const head = (name: string, type: string, help: string): string =>
  `# HELP commonweight_${name} ${help}\n# TYPE commonweight_${name} ${type}\n`;

/** The text, with a family's samples together as the format asks. */
export function formatMetrics(
  sessions: readonly SessionFigures[],
  listed: Readonly<Record<string, number>>,
  unanswered: number,
): string {
  let text = head("sessions", "gauge", "Sessions in the list, by their status when it was last written.");
  for (const [status, count] of Object.entries(listed)) text += line("sessions", { status }, count);
  text += head("sessions_unanswered", "gauge", "Sessions that did not answer this scrape.");
  text += line("sessions_unanswered", {}, unanswered);
  for (const { name, type, help, of } of METRICS) {
    const samples = sessions.flatMap((session) =>
      of(session).map(({ labels, value }) => line(name, { session: session.id, ...labels }, value)),
    );
    if (samples.length > 0) text += head(name, type, help) + samples.join("");
  }
  return text;
}

/** Behind the admin secret, for it names private sessions; open where the deployment says `METRICS = "public"`. */
export async function metrics(context: Context<AppTypes>): Promise<Response> {
  const isPublic = context.env.METRICS === "public";
  if (!isPublic) await checkAdmin(context);
  const found = await readListing(context.env.BUCKET, { includePrivate: !isPublic, limit: Number.POSITIVE_INFINITY });
  const listed: Record<string, number> = {};
  for (const { status } of found) listed[status] = (listed[status] ?? 0) + 1;
  const waiting = found.filter(isUnfinished).slice(0, ASKED);
  const answers: SessionFigures[] = [];
  let unanswered = 0;
  const ask = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      try {
        const figures = await sessionStub(context.env, next.id).figures();
        if (figures !== null) answers.push(figures as SessionFigures);
      } catch {
        // One that is broken must not hide the others; that it is, is counted.
        unanswered += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, ask));
  answers.sort((a, b) => (a.id < b.id ? -1 : 1));
  return new Response(formatMetrics(answers, listed, unanswered), {
    headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Cache-Control": "no-store" },
  });
}
