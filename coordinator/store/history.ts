/** The record of steps and evaluations as text, one JSON object a line: how it lies in a checkpoint file. */

import * as v from "valibot";
import { CheckpointError } from "../../shared/checkpoint/head.ts";
import { describeIssue } from "../../shared/session/schemas.ts";
import type { MetricRow } from "./metric.ts";
import { PIECE_BYTES } from "./pieces.ts";

/** Characters of one line: what a step or an evaluation can come to, with much to spare. */
const LINE_LIMIT = 100_000;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const figures = v.record(v.string(), v.pipe(v.number(), v.finite()));
const rowSchema = v.strictObject({
  work: v.picklist(["train", "validate", "test"]),
  step: count,
  epoch: count,
  loss: v.nullable(v.pipe(v.number(), v.finite())),
  metrics: figures,
  samples: count,
  engines: figures,
  tables: v.record(v.string(), v.pipe(v.array(v.pipe(v.number(), v.finite())), v.maxLength(2_000))),
  clamped: count,
  lr: v.nullable(v.pipe(v.number(), v.finite(), v.minValue(0))),
  time: count,
});

const encoder = new TextEncoder();

/**
 * Rows as pieces of text, at most `limit` bytes together: evaluations first, then the steps that fit. Throws CheckpointError
 * `limit-exceeded` where not even the evaluations do, without which a training cannot go on as it would have.
 */
export function* encodeHistory(rows: Iterable<MetricRow>, limit: number): Generator<Uint8Array> {
  let [lines, length, total]: [string[], number, number] = [[], 0, 0];
  for (const row of rows) {
    const line = `${JSON.stringify(row)}\n`;
    const bytes = encoder.encode(line).byteLength;
    if (total + bytes > limit) {
      if (row.work === "train") break;
      throw new CheckpointError(
        "limit-exceeded",
        `the evaluations take more than ${limit} bytes, the limit of a checkpoint`,
      );
    }
    if (length + bytes > PIECE_BYTES) {
      yield encoder.encode(lines.join(""));
      [lines, length] = [[], 0];
    }
    lines.push(line);
    length += bytes;
    total += bytes;
  }
  if (lines.length > 0) yield encoder.encode(lines.join(""));
}

/** Reads rows out of bytes as they come. */
export class HistoryReader {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  /** Steps of the run: rows of later ones are refused. */
  readonly #steps: number;
  #rest = "";

  constructor(steps: number) {
    this.#steps = steps;
  }

  /** The rows that are whole now. Throws CheckpointError `checkpoint-damaged`. */
  *take(bytes: Uint8Array): Generator<MetricRow> {
    const lines = (this.#rest + this.#decode(bytes)).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > LINE_LIMIT) throw damaged(`a line of more than ${LINE_LIMIT} characters`);
    for (const line of lines) yield this.#parse(line);
  }

  /** Throws CheckpointError `checkpoint-damaged` where the last line is not whole. */
  end(): void {
    if (this.#rest !== "") throw damaged("its last line is cut off");
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes, { stream: true });
    } catch (cause) {
      throw damaged("it is not UTF-8", cause);
    }
  }

  #parse(line: string): MetricRow {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw damaged("a line is not JSON", cause);
    }
    const result = v.safeParse(rowSchema, value);
    if (!result.success) throw damaged(describeIssue(result.issues[0], "a line"));
    const { step } = result.output;
    if (step > this.#steps) throw damaged(`it has step ${step}, the run has done ${this.#steps}`);
    return result.output;
  }
}

const damaged = (what: string, cause?: unknown): CheckpointError =>
  new CheckpointError("checkpoint-damaged", `part history: ${what}`, { cause });
