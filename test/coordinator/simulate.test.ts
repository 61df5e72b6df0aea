/**
 * The whole coordinator under seeded faults (test/simulation), in processes of their own: it puts virtual time in the place of
 * Node's. `npm run simulate` does the same for longer.
 */

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const script = fileURLToPath(new URL("../../scripts/simulate.ts", import.meta.url));

function simulate(...given: string[]): { status: number | null; lines: string[] } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", script, ...given],
    { encoding: "utf8" },
  );
  if (stderr !== "") throw new Error(stderr);
  return { status, lines: stdout.trimEnd().split("\n") };
}

describe("the whole coordinator under seeded faults", () => {
  it("ends every session with the bits of a calm run, and keeps what anybody has seen", () => {
    const { status, lines } = simulate("--level", "session", "--seed", "1", "--seeds", "30");
    expect(lines.at(-1)).toMatch(
      /^30 seeds from 1, 30 trainings, .* [1-9]\d* deaths, [1-9]\d* sleeps, .*: 0 invariants broken$/,
    );
    expect(status).toBe(0);
  });

  it("wakes for the deadlines of a piece that began when the one before was done, whose own wake was void", () => {
    const found = ["--seed", "190", "--clients", "5", "--steps", "1", "--faults", "hang,duplicate,corrupt,deaf"];
    expect(simulate(...found).lines.at(-1)).toMatch(/: 0 invariants broken$/);
  });

  it("waits for no lease after a sleep that its client gave back before it", () => {
    const found = ["--seed", "20798", "--clients", "2", "--steps", "11", "--faults", "sleep,hang,slow,pause"];
    expect(simulate(...found).lines.at(-1)).toMatch(/: 0 invariants broken$/);
  });

  it("ends with the hash of the best weights although it died just after the last piece", () => {
    const faults = "death,deploy,sleep,cut,hang,fail,duplicate,reorder,stale,steal,corrupt,deaf,pause,control";
    const found = ["--seed", "242", "--clients", "5", "--steps", "11", "--faults", faults];
    expect(simulate(...found).lines.at(-1)).toMatch(/: 0 invariants broken$/);
  });

  it("sends the last version with its own grid to those who ask for it while its weights are hashed", () => {
    const faults = "death,cut,duplicate,reorder,stale,steal,corrupt";
    const found = ["--seed", "224", "--clients", "19", "--steps", "2", "--faults", faults];
    expect(simulate(...found).lines.at(-1)).toMatch(/: 0 invariants broken$/);
  });

  it("does the same again for the same seed", () => {
    const replay = ["--seed", "6", "--faults", "death,cut,sleep,reorder", "--clients", "6", "--steps", "8"];
    const traces = [simulate(...replay), simulate(...replay)].map(({ lines }) => lines[0]);
    expect(traces[0]).toMatch(/^trace /);
    expect(traces[1]).toBe(traces[0]);
  });

  it("prints a failing seed, makes it smaller, and fails for the same reason when that is replayed", () => {
    const { status, lines } = simulate("--level", "session", "--mutation", "lost-credit");
    expect(status).toBe(1);
    expect(lines[0]).toMatch(/^FAILED seed 0 .* samples are credited/);
    const [, shrunk] = /^shrunk in \d+ runs: (.*)$/.exec(lines[1] ?? "") ?? [];
    const [, replay] = /^replay: npm run simulate -- (.*)$/.exec(lines[2] ?? "") ?? [];
    expect(replay).toMatch(/--clients 1 --steps 1 --faults none --mutation lost-credit$/);
    expect(simulate(...(replay ?? "").split(" ")).lines[0]).toContain(shrunk);
  });

  it("finds every mutation", () => {
    const { status, lines } = simulate("--mutation", "all");
    console.log(lines.join("\n"));
    expect(lines.filter((line) => line.startsWith("MISSED"))).toEqual([]);
    expect(lines.filter((line) => line.startsWith("found")).length).toBeGreaterThanOrEqual(10);
    expect(status).toBe(0);
  });
});
