import { describe, expect, it } from "vitest";
import { isInsecure, missingFeatures } from "../../client/page/browser.ts";
import { costOf } from "../../client/page/cost.ts";
import { creditOf } from "../../client/page/credit.ts";
import { formatBytes, formatDuration } from "../../client/page/format.ts";
import { Average, History } from "../../client/page/history.ts";
import { type Situation, STATES, stateOf } from "../../client/page/states.ts";
import type { Progress } from "../../shared/protocol/messages.ts";
import { mnistSession } from "../e2e/coordinator.ts";

const progress = (change: Partial<Progress>): Progress => ({
  type: "progress",
  stage: "train",
  status: "running",
  reason: "",
  step: 3,
  totalSteps: 10,
  epoch: 0,
  version: 4,
  loss: 1,
  metrics: {},
  validation: null,
  samplesPerSecond: 0,
  clientCount: 1,
  clients: [],
  ...change,
});

type Joined = NonNullable<Situation["part"]>;
const part = (change: Partial<Joined>): Joined => ({
  status: "working",
  cause: null,
  code: null,
  assignment: null,
  ...change,
});

const situation = (change: Partial<Situation>): Situation => ({
  found: "found",
  progress: progress({}),
  missing: [],
  needsData: false,
  isChecked: false,
  part: null,
  ...change,
});

describe("the state of the session page", () => {
  const idle = { clientCount: 0, status: "waiting" } as const;
  const cases: readonly (readonly [string, Partial<Situation>])[] = [
    ["asking", { found: "asking", progress: null }],
    ["unreachable", { found: "unreachable" }],
    ["unknown", { found: "unknown", progress: null }],
    ["uninvited", { found: "uninvited", progress: null }],
    ["unchecked", { isChecked: true, part: part({ status: "failed", code: "not-invited" }) }],
    ["open", {}],
    ["waiting", { progress: progress({ ...idle, step: 0 }) }],
    ["deserted", { progress: progress(idle) }],
    ["unsupported", { missing: ["WebAssembly"] }],
    ["local", { needsData: true }],
    ["joining", { part: part({ status: "joining" }) }],
    ["loading", { part: part({ status: "loading" }) }],
    ["training", { part: part({}) }],
    ["pausedByYou", { part: part({ status: "paused", cause: "volunteer" }) }],
    ["pausedHidden", { part: part({ status: "paused", cause: "hidden" }) }],
    ["pausedBattery", { part: part({ status: "paused", cause: "battery" }) }],
    ["pausedMetered", { part: part({ status: "paused", cause: "metered" }) }],
    ["pausedSlow", { part: part({ status: "paused", cause: "slow" }) }],
    ["pausedBySession", { part: part({}), progress: progress({ status: "paused" }) }],
    ["disconnected", { part: part({ status: "connecting" }), found: "unreachable" }],
    ["replaced", { part: part({ status: "failed", code: "replaced" }) }],
    ["gaveUp", { part: part({ status: "failed", code: "engine" }) }],
    ["finished", { progress: progress({ status: "finished" }), part: part({ status: "finished" }) }],
    ["stopped", { progress: progress({ status: "stopped" }) }],
    ["failed", { progress: progress({ status: "failed" }) }],
    ["deleted", { part: part({ status: "failed", code: "unknown-session" }) }],
  ];

  it.each(cases)("is %s", (name, change) => {
    expect(stateOf(situation(change))).toBe(name);
  });

  it("is each state of the table for some situation, and each has its words", () => {
    expect(cases.map(([name]) => name).sort()).toEqual(Object.keys(STATES).sort());
    for (const { title, next } of Object.values(STATES)) {
      expect(title).not.toBe("");
      expect(next).toMatch(/\.$/);
    }
  });

  it("stays the same while a client takes every step's weights", () => {
    const assignment = { work: "train", step: 1, microBatches: 2 } as const;
    for (const status of ["loading", "waiting", "working"] as const) {
      expect(stateOf(situation({ part: part({ status, assignment }) }))).toBe("training");
    }
  });

  it("is the session's again for who has left", () => {
    expect(stateOf(situation({ part: part({ status: "left" }) }))).toBe("open");
  });

  it("is deleted for who watched a session that is gone", () => {
    expect(stateOf(situation({ found: "unknown" }))).toBe("deleted");
  });
});

describe("what a browser lacks", () => {
  it("is nothing in this one, and is named where it is missing", () => {
    const here = { Worker: 1, WebAssembly, WebSocket, BigInt64Array, Promise };
    expect(missingFeatures(here)).toEqual([]);
    expect(missingFeatures({ Worker: 1, WebSocket, Promise: {} })).toEqual([
      "WebAssembly",
      "64-bit integers (BigInt64Array)",
      "Promise.withResolvers",
    ]);
  });

  it("is a secure page only where the browser says so", () => {
    expect(isInsecure({ Promise, isSecureContext: false })).toBe(true);
    expect(isInsecure({ Promise, isSecureContext: true })).toBe(false);
  });
});

describe("a history", () => {
  it("keeps what a screen can show of any number of points, evenly, with the first and the last", () => {
    const history = new History();
    const count = 100_000;
    for (let x = 0; x < count; x++) history.add(x, 2 * x);
    const [xs, ys] = history.points();
    expect(history.count).toBe(count);
    expect(xs.length).toBeLessThanOrEqual(1_025);
    expect(xs.length).toBeGreaterThan(500);
    expect([xs[0], xs.at(-1)]).toEqual([0, count - 1]);
    expect(ys).toEqual(xs.map((x) => 2 * x));
    const gaps = new Set(xs.slice(1, -1).map((x, index) => x - xs[index]));
    expect(gaps.size).toBe(1);
  });

  it("keeps every point while they are few", () => {
    const history = new History();
    expect(history.points()).toEqual([[], []]);
    history.add(1, 5);
    history.add(2, 6);
    expect(history.points()).toEqual([
      [1, 2],
      [5, 6],
    ]);
  });

  it("is smoothed without a bias towards zero", () => {
    const average = new Average(0.9);
    expect(average.add(4)).toBeCloseTo(4, 12);
    expect(average.add(4)).toBeCloseTo(4, 12);
  });
});

describe("credit", () => {
  it("adds up the tabs of one name, most first, and names nobody who chose no name", () => {
    const { named, unnamed } = creditOf([
      { name: "Ada", samples: 10 },
      { name: "", samples: 500 },
      { name: "Grace", samples: 12 },
      { name: "Ada", samples: 5 },
    ]);
    expect(named).toEqual([
      { name: "Ada", samples: 15 },
      { name: "Grace", samples: 12 },
    ]);
    expect(unnamed).toBe(1);
  });
});

describe("the cost that is told", () => {
  it("is the protocol's own, byte by byte", () => {
    const definition = mnistSession();
    // 784·64 + 64 + 64·32 + 32 + 32·10 + 10, each at a multiple of 4.
    const parameters = 50_176 + 64 + 2_048 + 32 + 320 + 12;
    const blocks = Math.ceil(parameters / 256);
    const align = (bytes: number): number => Math.ceil(bytes / 16) * 16;
    const { dataBytes, bytesPerStep, bytesPerShare, memoryBytes } = costOf({ definition, manifest: null, parameters });
    expect(dataBytes).toBe(0);
    expect(bytesPerStep).toBe(align(blocks) + parameters * 4);
    expect(bytesPerShare).toBe(16 + align(blocks) + parameters * 4);
    expect(memoryBytes).toBeGreaterThan(5 * 4 * parameters);
  });

  it("is written for people", () => {
    expect(formatBytes(940_584)).toBe("941 kB");
    expect(formatBytes(999_900)).toBe("1.0 MB");
    expect(formatDuration(75)).toBe("1 min 15 s");
    expect(formatDuration(3_725)).toBe("1 h 2 min");
  });
});
