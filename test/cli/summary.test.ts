import { describe, expect, it } from "vitest";
import type { CoordinatorApi, SessionDescription, SessionMetrics } from "../../cli/api.ts";
import { confusionLines } from "../../cli/confusion.ts";
import type { Display } from "../../cli/display.ts";
import { summarize } from "../../cli/summary.ts";
import { costOf } from "../../shared/session/cost.ts";

const cost = costOf({
  requests: 0,
  messages: 0,
  rowsRead: 0,
  rowsWritten: 0,
  activeSeconds: 0,
  r2Writes: 0,
  r2Reads: 0,
  storedBytes: 0,
  age: 0,
});

/** What people are told of a session that ended like this. */
async function told(
  evaluations: SessionMetrics["evaluations"],
  options: { restoreBest?: boolean; metrics?: Record<string, number> } = {},
): Promise<{ lines: string[]; summary: Awaited<ReturnType<typeof summarize>>["summary"] }> {
  const lines: string[] = [];
  const display = { say: (line: string) => lines.push(line) } as unknown as Display;
  const definition = options.restoreBest === undefined ? {} : { earlyStopping: { restoreBest: options.restoreBest } };
  const session = { id: "s", definition } as unknown as SessionDescription;
  const api = {
    readMetrics: async () => ({ steps: [], evaluations, result: null }),
    readSession: async () => ({ cost, progress: { loss: 0.25, metrics: options.metrics ?? {} } }),
  } as unknown as CoordinatorApi;
  const ending = { status: "finished", reason: "", steps: 9, clients: [], engines: [] } as const;
  const { summary } = await summarize(api, session, ending, display);
  return { lines, summary };
}

const validation = { work: "validate", step: 8, loss: 0.5, metrics: { correct: 0.75 }, time: 0 } as const;
const test = {
  work: "test",
  step: 9,
  loss: 0.4,
  metrics: { correct: 0.5, auc: 0.875, aucError: 0.0012, top2: 0.9 },
  tables: { confusion: [3, 1, 0, 4] },
  time: 0,
} as const;

describe("the summary of a session", () => {
  it("has every figure that was measured, and the confusion matrix of the test", async () => {
    const { lines, summary } = await told([validation, test]);
    expect(lines).toContain("  validation after step 8: loss 0.5000, accuracy 75.00 %");
    expect(lines).toContain(
      "  test, once, at the best weights: loss 0.4000, accuracy 50.00 %, AUC 0.8750 ± 0.0012, top2 90.00 %",
    );
    expect(lines.slice(2, 6)).toEqual([
      "confusion matrix of the test: a row is a class, a column what it was taken for",
      "        0   1",
      "    0   3   1",
      "    1   0   4",
    ]);
    expect(summary.testMetrics).toEqual(test.metrics);
  });

  it("says at which weights the test was made", async () => {
    const lineOf = async (...args: Parameters<typeof told>): Promise<string | undefined> =>
      (await told(...args)).lines.find((line) => line.includes("test, once"));
    expect(await lineOf([validation, test], { restoreBest: true })).toContain("at the best weights");
    expect(await lineOf([validation, test], { restoreBest: false })).toContain("at the last weights");
    expect(await lineOf([test])).toContain("at the last weights");
  });

  it("has the figures of the last step where nothing is held out", async () => {
    const { lines } = await told([], { metrics: { mae: 1.5 } });
    expect(lines).toContain("  last training step: loss 0.2500, mae 1.5000");
  });
});

it("a confusion matrix too wide for a line is only pointed to", () => {
  const confusion = new Array<number>(13 * 13).fill(1);
  expect(confusionLines({ confusion }, "the test")).toHaveLength(1);
  expect(confusionLines({ confusion: [1, 2, 3] }, "the test")).toEqual([]);
  expect(confusionLines({}, "the test")).toEqual([]);
});
