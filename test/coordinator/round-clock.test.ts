/** A coordinator's clock that is set, a day ahead or a day back: nobody is waited for longer, or for ever, and nobody seems faster. */

import { describe, expect, it } from "vitest";
import { Script } from "./round/script.ts";

const DAY = 86_400_000;
const LONGEST_LEASE = 600_000;

/** Two clients at work on one step: one answers after 100 ms each, the other one never does. */
function withOneThatHangs(): Script {
  const script = new Script({ microBatches: 4 });
  script.arrive("hanging");
  script.arrive("busy");
  return script;
}

/** Lets the busy one do all there is, until it waits for the other one alone. */
function finishOwn(script: Script): void {
  while (script.result("busy", 100).assigned.busy !== undefined);
}

describe("a clock that is set back by a day", () => {
  it("is followed: a lease ends as much later as it had left, and is woken for", () => {
    const script = withOneThatHangs();
    finishOwn(script);
    const left = 5_000 - script.now;
    // Overdue after 5 s, as a newcomer is.
    expect(script.tick(-DAY).wake).toBeLessThanOrEqual(script.now + left);
    expect(script.tick(left - 1).assigned).toEqual({});
    expect(script.tick(1).assigned).toEqual({ busy: "0..1" });
    expect(script.result("busy", 100).types).toEqual(["accept", "revoke", "complete"]);
  });

  it("as often as it is", () => {
    const script = withOneThatHangs();
    finishOwn(script);
    for (let count = 0; count < 10; count++) {
      script.tick(-DAY);
      script.tick(100);
    }
    expect(script.tick(4_000).assigned).toEqual({ busy: "0..1" });
  });

  it("makes no client seem fast whose result comes after it", () => {
    const script = new Script({ microBatches: 200 });
    script.arrive("anna");
    script.result("anna", 1_000);
    const before = script.summary().clients[0]?.speed ?? 0;
    script.wait(-DAY);
    script.tick(1_000);
    script.result("anna", 1_000);
    expect(script.summary().clients[0]?.speed).toBeLessThan(2 * before);
    expect(script.leases.anna?.deadline).toBeGreaterThan(0);
  });

  it("keeps the last micro-batches for those still setting weights no longer than ever", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("fast");
    script.arrive("slow");
    script.result("fast", 10);
    script.result("slow", 10);
    script.commit("train", 1, 2);
    script.ready("fast", 2);
    script.tick(-DAY);
    script.result("fast", 10);
    const { now } = script;
    expect(script.tick(1_600).assigned).toEqual({ fast: "1..2" });
    expect(script.now - now).toBe(1_600);
  });

  it("while the coordinator slept: a lease that is still computed begins anew", () => {
    const before = new Script({ microBatches: 1 });
    before.wait(DAY);
    before.arrive("hanging");
    const lease = before.leases.hanging!;
    const after = new Script({ microBatches: 1, nextLease: 1_000 });
    expect(after.join("hanging", { version: 1, lease }).wake).toBe(30_000);
    after.arrive("idle");
    expect(after.tick(5_000).assigned).toEqual({ idle: "0..1" });
  });

  it("is no matter where events come out of order by less than a second", () => {
    const script = withOneThatHangs();
    finishOwn(script);
    const due = 5_000 - script.now;
    for (let count = 0; count < 20; count++) {
      expect(script.tick(-900).wake).toBeUndefined();
      script.tick(900);
    }
    expect(script.tick(due).assigned).toEqual({ busy: "0..1" });
  });
});

describe("a clock that jumps ahead by a day", () => {
  it("ends leases, and counts the results that come all the same", () => {
    const script = withOneThatHangs();
    expect(script.tick(DAY).assigned).toEqual({});
    expect(script.result("busy", 100).types.slice(0, 1)).toEqual(["accept"]);
    expect(script.result("hanging", 100).types.slice(0, 1)).toEqual(["accept"]);
  });

  it("makes nobody seem so slow that it is waited for more than ten minutes", () => {
    const script = new Script({ microBatches: 4 });
    script.arrive("anna");
    script.result("anna", DAY);
    const { deadline, assignedAt } = script.leases.anna!;
    expect(deadline - assignedAt).toBe(LONGEST_LEASE);
    script.arrive("idle");
    while (script.result("idle", 100).assigned.idle !== undefined);
    expect(script.tick(LONGEST_LEASE / 2).assigned).toMatchObject({ idle: expect.anything() });
  });

  it("makes nobody seem slower than its lease allowed whose lease it ends", () => {
    const script = new Script({ microBatches: 4 });
    script.arrive("anna");
    script.result("anna", 100);
    script.tick(DAY);
    // Three micro-batches in a lease of ten seconds.
    expect(script.summary().clients[0]?.speed).toBeCloseTo(0.3);
  });

  it("and back again leaves everything as it was", () => {
    const script = withOneThatHangs();
    finishOwn(script);
    expect(script.tick(DAY).assigned).toEqual({ busy: "0..1" });
    script.tick(-DAY);
    expect(script.result("busy", 100).types).toEqual(["accept", "revoke", "complete"]);
    script.commit("train", 1, 2);
    expect(script.ready("busy", 2).wake).toBeGreaterThan(script.now);
    expect(script.leases.busy).toMatchObject({ step: 1 });
  });
});
