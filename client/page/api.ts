/** What the page reads over HTTP: the session and its metrics. Both routes are documented in docs/protocol.md. */

import type { Progress } from "../../shared/protocol/messages.ts";
import type { SessionCost } from "../../shared/session/cost.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { Tables } from "../../shared/session/tables.ts";
import { token } from "./token.ts";

export interface SessionInfo {
  readonly id: string;
  readonly definition: SessionDefinition;
  readonly manifest: DatasetManifest | null;
  /** Number of parameters, padding included. */
  readonly parameters: number;
  readonly progress: Progress;
  /** Of the coordinator, so far. */
  readonly cost: SessionCost;
}

export interface StepMetric {
  readonly step: number;
  /** Null where the step's weights summed to 0. */
  readonly loss: number | null;
}

export interface EvaluationMetric {
  readonly work: "validate" | "test";
  readonly step: number;
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  /** Counts over its samples; of the last evaluation of each kind. */
  readonly tables?: Tables;
}

/** Somebody whose work counted. */
export interface Member {
  /** First characters of the public identity. */
  readonly id: string;
  /** Chosen for credit; empty if none was. */
  readonly name: string;
  readonly engine: string;
  readonly samples: number;
}

export interface SessionMetrics {
  readonly steps: readonly StepMetric[];
  readonly evaluations: readonly EvaluationMetric[];
  /** Null before the end. */
  readonly result: { readonly members: readonly Member[] } | null;
}

/** An entry of the session's journal. */
export interface JournalEntry {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly event: string;
  readonly detail: string;
}

/** There is no session of this id, or no longer. */
export class UnknownSession extends Error {
  override readonly name = "UnknownSession";
}

/** It takes an invitation, and there is none that is good. */
export class NotInvited extends Error {
  override readonly name = "NotInvited";
}

/** The coordinator asks to be left alone for a while. */
export class Busy extends Error {
  override readonly name = "Busy";
  /** Milliseconds. */
  readonly pause: number;
  constructor(seconds: number) {
    super(`too much is asked from this network: once more in ${seconds} seconds`);
    this.pause = seconds * 1_000;
  }
}

async function read<T>(path: string): Promise<T> {
  const shown = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(path, { headers: { accept: "application/json", ...shown } });
  if (response.ok) return (await response.json()) as T;
  if (response.status === 401 || response.status === 403) {
    throw new NotInvited(
      "this session is by invitation: open the whole link that you were given, or ask for a new one",
    );
  }
  if (response.status === 404) throw new UnknownSession("the coordinator has no such session");
  if (response.status === 429) throw new Busy(Number(response.headers.get("retry-after") ?? 0) || 10);
  throw new Error(`the coordinator answered ${response.status}`);
}

export const readSession = (id: string): Promise<SessionInfo> => read(`/api/sessions/${encodeURIComponent(id)}`);

/** Metrics of the steps after `after`, and all evaluations. */
export const readMetrics = (id: string, after: number): Promise<SessionMetrics> =>
  read(`/api/sessions/${encodeURIComponent(id)}/metrics?after=${after}`);

/** Newest first. */
export const readJournal = async (id: string): Promise<readonly JournalEntry[]> =>
  (await read<{ events: readonly JournalEntry[] }>(`/api/sessions/${encodeURIComponent(id)}/journal`)).events;
