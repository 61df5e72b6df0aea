/** What the page reads over HTTP: the session and its metrics. Both routes are documented in docs/protocol.md. */

import type { Progress } from "../../shared/protocol/messages.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";

export interface SessionInfo {
  readonly id: string;
  readonly definition: SessionDefinition;
  readonly manifest: DatasetManifest | null;
  /** Number of parameters, padding included. */
  readonly parameters: number;
  readonly progress: Progress;
}

export interface StepMetric {
  readonly step: number;
  readonly loss: number;
}

export interface EvaluationMetric {
  readonly work: "validate" | "test";
  readonly step: number;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface SessionMetrics {
  readonly steps: readonly StepMetric[];
  readonly evaluations: readonly EvaluationMetric[];
  readonly result: { readonly testLoss: number | null; readonly testMetrics: Readonly<Record<string, number>> } | null;
}

async function read<T>(path: string): Promise<T> {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (response.ok) return (await response.json()) as T;
  if (response.status === 404) throw new Error("There is no such session here. It may have been deleted.");
  throw new Error(`The coordinator answered ${response.status}.`);
}

export const readSession = (id: string): Promise<SessionInfo> => read(`/api/sessions/${id}`);

/** Metrics of the steps after `after`, and all evaluations. */
export const readMetrics = (id: string, after: number): Promise<SessionMetrics> =>
  read(`/api/sessions/${id}/metrics?after=${after}`);
