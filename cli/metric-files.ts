/**
 * A session's record of steps and evaluations as files for other tools: CSV for spreadsheets and dataframes, one JSON object a
 * line for everything else.
 */

import type { Tables } from "../shared/session/tables.ts";
import type { CoordinatorApi, SessionMetrics, StepMetric } from "./api.ts";
import { plain } from "./foreign-text.ts";

/** One measurement. Training steps have an epoch (from 0) and samples, evaluations have not. */
export interface Measurement {
  readonly split: "train" | "validation" | "test";
  /** Updates done. */
  readonly step: number;
  readonly epoch: number | null;
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  /** Counts over held-out samples, flat, such as a confusion matrix; absent where none are held. Not in CSV and TensorBoard. */
  readonly tables?: Tables;
  readonly samples: number | null;
  /** Samples by engine. */
  readonly engines: Readonly<Record<string, number>>;
  /** Learning rate of a training step. */
  readonly lr: number | null;
  /** Milliseconds since 1970. */
  readonly time: number;
}

const SPLITS = { validate: "validation", test: "test" } as const;

/** Reads the whole record, which comes in pages: by step, an evaluation after the step that it was made after. */
export async function readRecord(api: CoordinatorApi, id: string): Promise<Measurement[]> {
  const steps: StepMetric[] = [];
  let page: SessionMetrics;
  do {
    page = await api.readMetrics(id, steps.at(-1)?.step ?? 0);
    steps.push(...page.steps);
  } while (page.steps.length > 0);
  const trained = steps.map((step): Measurement => ({ split: "train", ...step }));
  const evaluated = page.evaluations.map(
    ({ work, step, loss, metrics, tables, time }): Measurement => ({
      split: SPLITS[work],
      step,
      epoch: null,
      loss,
      metrics,
      ...(tables === undefined ? {} : { tables }),
      samples: null,
      engines: {},
      lr: null,
      time,
    }),
  );
  // The sort is stable: validation and test of one step stay in order.
  return [...trained, ...evaluated].sort((a, b) => a.step - b.step);
}

/** Names of all metrics, in order. */
const metricNames = (record: readonly Measurement[]): string[] =>
  [...new Set(record.flatMap(({ metrics }) => Object.keys(metrics)))].sort();

/** RFC 4180; a spreadsheet would take a cell that begins with = or the like for a formula. */
function cell(value: string | number | null): string {
  if (typeof value !== "string") return value === null ? "" : String(value);
  const text = /^[=+\-@]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function encodeCsv(record: readonly Measurement[]): string {
  const names = metricNames(record);
  const header = ["split", "step", "epoch", "lr", "loss", ...names.map((name) => plain(name)), "samples", "time"];
  const rows = record.map(({ split, step, epoch, lr, loss, metrics, samples, time }) => [
    split,
    step,
    epoch,
    lr,
    loss,
    ...names.map((name) => metrics[name] ?? null),
    samples,
    new Date(time).toISOString(),
  ]);
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

export const encodeJsonLines = (record: readonly Measurement[]): string =>
  record.map((measurement) => `${JSON.stringify(measurement)}\n`).join("");
