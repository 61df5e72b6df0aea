import { describe, expect, it } from "vitest";
import { type Lease, RoundError } from "../../coordinator/round/index.ts";
import { RESERVE_TIME } from "../../coordinator/round/sizing.ts";
import { Script, type Story } from "./round/script.ts";

/** A step whose clients were all measured: each did one micro-batch of the step before it in `pace` milliseconds. */
function measured(paces: Record<string, number>, story: Story = {}): Script {
  const clients = Object.entries(paces).sort(([, a], [, b]) => a - b);
  const script = new Script({ ...story, stage: "train", step: 0, version: 1 });
  for (const [client] of clients) {
    script.arrive(client);
    script.capacity(client, 1);
  }
  let done = 0;
  let isComplete = false;
  for (const [client, pace] of clients) {
    isComplete = script.result(client, pace - done).types.includes("complete");
    script.capacity(client, 0);
    done = pace;
  }
  // Somebody else does what is left of the step.
  script.arrive("helper");
  while (!isComplete) isComplete = script.result("helper", 1).types.includes("complete");
  script.leave("helper");
  for (const [client] of clients) script.capacity(client, 1_000);
  return script;
}

/** What a client says of a lease that it was given before a restart. */
const claimOf = ({ id, version, step }: Lease) => ({ lease: id, version, step });

describe("a round hands out work", () => {
  it("gives a newcomer one micro-batch, and more once it was measured", () => {
    const script = new Script();
    expect(script.arrive("anna").assigned).toEqual({ anna: "0..1" });
    expect(script.result("anna", 100).assigned).toEqual({ anna: "1..16" });
  });

  it("covers a whole step and then says that it is complete, once", () => {
    const script = new Script();
    script.arrive("anna");
    script.result("anna", 100);
    expect(script.result("anna", 100).types).toEqual(["accept", "complete"]);
    expect(script.tick(100_000).types).toEqual([]);
  });

  it("splits a step by speed, so that all end together", () => {
    const script = measured({ fast: 100, slow: 300 });
    script.commit("train", 1, 2);
    script.ready("slow", 2);
    script.ready("fast", 2);
    expect(script.leases.slow).toMatchObject({ from: 0, to: 4 });
    expect(script.leases.fast).toMatchObject({ from: 4, to: 16 });
    expect(script.result("fast", 1200).types).toEqual(["accept"]);
    expect(script.result("slow", 0).types).toEqual(["accept", "complete"]);
  });

  it("offers every ready client a micro-batch at the start, however slow it is", () => {
    const script = measured({ fast: 1, slow: 1000 });
    script.commit("train", 1, 2);
    script.ready("slow", 2);
    script.ready("fast", 2);
    expect(script.leases.slow).toMatchObject({ step: 1, from: 0, to: 1 });
  });

  it("keeps a micro-batch for a client that is about to have the weights, for a moment", () => {
    const script = measured({ fast: 1, slow: 1000 });
    script.commit("train", 1, 2);
    expect(script.ready("fast", 2).assigned).toEqual({ fast: "0..15" });
    const idle = script.result("fast", 15);
    expect(idle.assigned).toEqual({});
    expect(script.ready("slow", 2).assigned).toEqual({ slow: "15..16" });
  });

  it("no longer keeps it when the client does not come, and not again until it does", () => {
    const script = measured({ fast: 1, slow: 1000 });
    const committedAt = script.now;
    script.commit("train", 1, 2);
    script.ready("fast", 2);
    expect(script.result("fast", 15).wake).toBe(committedAt + 1_500);
    expect(script.tick(1_485).assigned).toEqual({ fast: "15..16" });
    expect(script.result("fast", 1).types).toEqual(["accept", "complete"]);
    script.commit("train", 2, 3);
    expect(script.ready("fast", 3).assigned).toEqual({ fast: "0..16" });
  });

  it("keeps it again once the client was there in time for a step, even if nothing was left of that one", () => {
    const script = measured({ fast: 1, slow: 1000 });
    script.commit("train", 1, 2);
    script.ready("fast", 2);
    script.result("fast", 15);
    script.tick(1_485);
    script.result("fast", 1);
    script.commit("train", 2, 3);
    script.ready("fast", 3);
    // It comes while somebody else computes all there is.
    expect(script.ready("slow", 3).assigned).toEqual({});
    script.result("fast", 16);
    script.commit("train", 3, 4);
    expect(script.ready("fast", 4).assigned).toEqual({ fast: "0..15" });
    expect(script.ready("slow", 4).assigned).toEqual({ slow: "15..16" });
  });

  it("gives the fastest one what there is when there is not enough for all", () => {
    const script = measured({ fast: 10, slow: 1000 }, { microBatches: 3 });
    script.commit("train", 1, 1);
    script.result("fast", 10);
    script.result("slow", 10);
    script.commit("train", 2, 1);
    const [first] = Object.keys(script.leases);
    expect(first).toBe("fast");
    expect(script.leases.fast).toMatchObject({ step: 2, from: 0, to: 2 });
    expect(script.leases.slow).toMatchObject({ step: 2, from: 2, to: 3 });
  });

  it("tries whoever was never measured first, when there is not enough for all: it may be the fastest", () => {
    const script = measured({ fast: 10, slow: 1000 }, { microBatches: 2 });
    script.arrive("new");
    expect(Object.keys(script.commit("train", 1, 1).assigned)).toEqual(["new", "fast"]);
  });

  it("lets idle clients wait when everything is handed out, and gives late ones what is pending", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("anna");
    script.arrive("bert");
    expect(script.arrive("cleo").assigned).toEqual({});
    expect(script.leave("anna").assigned).toEqual({ cleo: "0..1" });
  });

  it("respects a client's limit of micro-batches", () => {
    const script = new Script();
    script.join("anna");
    script.capacity("anna", 3);
    script.ready("anna");
    expect(script.result("anna", 1).assigned).toEqual({ anna: "1..4" });
  });

  it("does not commit a client to much longer than two seconds at a time", () => {
    const script = new Script({ microBatches: 1000 });
    script.arrive("anna");
    expect(script.result("anna", 100).assigned).toEqual({ anna: "1..21" });
  });

  it("works only with clients that acknowledged the current weights", () => {
    const script = new Script({ version: 7 });
    script.join("anna");
    expect(script.ready("anna", 6).assigned).toEqual({});
    expect(script.ready("anna", 7).assigned).toEqual({ anna: "0..1" });
  });

  it("covers step 0 before it in the calibration pass", () => {
    const script = new Script({ stage: "calibrate" });
    script.arrive("anna");
    expect(script.leases.anna).toMatchObject({ work: "calibrate", step: 0, from: 0 });
    expect(script.result("anna", 1).assigned).toEqual({ anna: "1..16" });
    expect(script.result("anna", 1).types).toEqual(["accept", "complete"]);
  });
});

describe("a round and its leases", () => {
  it("hands the work of a client that left to somebody else at once", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("anna");
    script.arrive("bert");
    script.arrive("cleo");
    expect(script.leave("bert").assigned).toEqual({ cleo: "1..2" });
  });

  it("takes the lease back at once from a client that pauses, and gives it work when it goes on", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    script.arrive("bert");
    expect(script.capacity("anna", 0).assigned).toEqual({ bert: "0..1" });
    script.leave("bert");
    expect(script.capacity("anna", 4).assigned).toEqual({ anna: "0..1" });
  });

  it("hands a failed lease to somebody else at once, if anybody is idle, even if that one is slower", () => {
    const script = measured({ fast: 10, slow: 1000 }, { microBatches: 2 });
    script.commit("train", 1, 1);
    script.result("slow", 10);
    expect(script.fail("fast").assigned).toEqual({ slow: "0..1" });
  });

  it("hands a disputed lease to anybody else before it asks the same client again", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("anna");
    script.arrive("bert");
    expect(script.dispute("anna").assigned).toEqual({});
    // It is bert who is asked next, although anna has been waiting.
    expect(script.result("bert", 10).assigned).toEqual({ bert: "0..1" });
    expect(script.result("bert", 10).types).toEqual(["accept", "complete"]);
    const alone = new Script({ microBatches: 2 });
    alone.arrive("anna");
    expect(alone.dispute("anna").assigned).toEqual({ anna: "0..1" });
  });

  it("asks a client that failed three times in a row again only when it says ready or capacity", () => {
    const script = new Script();
    script.arrive("anna");
    expect(script.fail("anna").types).toEqual(["assign"]);
    expect(script.fail("anna").types).toEqual(["assign"]);
    expect(script.fail("anna").types).toEqual([]);
    expect(script.tick(1_000_000).types).toEqual([]);
    expect(script.ready("anna").types).toEqual(["assign"]);
    for (const _ of [1, 2, 3]) script.fail("anna");
    expect(script.capacity("anna", 10).types).toEqual(["assign"]);
  });

  it("counts failures in a row only", () => {
    const script = new Script();
    script.arrive("anna");
    script.fail("anna");
    script.fail("anna");
    script.capacity("anna", 1);
    script.result("anna", 1);
    expect(script.fail("anna").types).toEqual(["assign"]);
  });

  it("waits 30 s for a newcomer", () => {
    const script = new Script();
    expect(script.arrive("anna").wake).toBe(30_000);
  });

  it("waits four times the expected time, at least 10 s, for a client that was measured", () => {
    const script = new Script();
    script.arrive("anna");
    script.result("anna", 100);
    expect((script.leases.anna?.deadline ?? 0) - script.now).toBe(10_000);
    const slow = new Script();
    slow.arrive("bert");
    slow.result("bert", 20_000);
    expect((slow.leases.bert?.deadline ?? 0) - slow.now).toBe(80_000);
  });

  it("gives an expired lease to the fastest idle client", () => {
    const script = measured({ hanging: 5, fast: 10, slow: 500 }, { microBatches: 4 });
    script.commit("train", 1, 1);
    script.result("fast", 10);
    script.result("slow", 10);
    expect(script.leases.hanging).toMatchObject({ step: 1, from: 0, to: 2 });
    expect(script.tick(10_000).assigned).toEqual({ fast: "0..2" });
  });

  it("gives a lease that is overdue to whoever idles, and takes whichever result comes first", () => {
    for (const first of ["fast", "tardy"]) {
      const script = measured({ tardy: 5, fast: 5 }, { microBatches: 4 });
      script.commit("train", 1, 1);
      expect(script.leases.tardy).toMatchObject({ step: 1, from: 0, to: 2 });
      // Twice the time that it should take, and at least a second.
      expect(script.result("fast", 10).wake).toBe(script.leases.tardy!.assignedAt + 1_000);
      expect(script.tick(989).assigned).toEqual({});
      expect(script.tick(1).assigned).toEqual({ fast: "0..2" });
      const told = script.result(first, 5);
      expect(told.types).toEqual(["accept", "revoke", "complete"]);
      expect(told.revoked).toEqual([first === "fast" ? "tardy" : "fast"]);
    }
  });

  it("takes no lease for overdue while there is other work, or while nobody idles", () => {
    const script = measured({ tardy: 1_000, fast: 500 }, { microBatches: 16 });
    script.commit("train", 1, 1);
    script.capacity("fast", 2);
    expect(script.tick(9_000).assigned).toEqual({});
    expect(script.result("fast", 0).assigned.fast).not.toBe(`${script.leases.tardy!.from}..${script.leases.tardy!.to}`);
    const alone = new Script({ microBatches: 1 });
    alone.arrive("anna");
    expect(alone.tick(20_000).types).toEqual([]);
    expect(alone.result("anna").types).toEqual(["accept", "complete"]);
  });

  it("takes no lease for overdue while what is free would be kept for somebody else", () => {
    const script = measured({ tardy: 5, fast: 5, late: 5 }, { microBatches: 3 });
    script.commit("train", 1, 2, ["tardy", "fast"]);
    // Nobody kept anything for it, but who comes first is served first.
    script.join("nora");
    expect(script.ready("nora", 2).assigned).toEqual({ nora: "2..3" });
    const { from, to, assignedAt } = script.leases.tardy!;
    expect(script.result("fast", 10).wake).toBe(assignedAt + RESERVE_TIME);
    expect(script.tick(RESERVE_TIME - 11).types).toEqual([]);
    expect(script.tick(1).assigned).toEqual({ fast: `${from}..${to}` });
  });

  it("keeps nothing for a client that was overdue until it gives a sign of life, and gives it less then", () => {
    const script = measured({ tardy: 5, fast: 5 }, { microBatches: 8 });
    script.commit("train", 1, 1);
    script.result("fast", 20);
    script.tick(1_000);
    script.result("fast", 20);
    script.commit("train", 2, 2, ["fast", "tardy"]);
    expect(script.leases.fast).toMatchObject({ step: 2, from: 0, to: 8 });
    script.result("fast", 40);
    script.commit("train", 3, 3);
    script.ready("tardy", 3);
    expect(script.leases.tardy).toMatchObject({ step: 3, from: 0, to: 1 });
  });

  it("ends a step without what is overdue where a quorum is in", () => {
    const script = measured({ tardy: 100, fast: 20 }, { microBatches: 10, quorum: 0.8 });
    script.commit("train", 1, 1);
    expect(script.leases.tardy).toMatchObject({ step: 1, from: 8, to: 10 });
    const { assignedAt } = script.leases.tardy!;
    expect(script.result("fast", 200).wake).toBe(assignedAt + 1_000);
    const told = script.tick(800);
    expect(told.types).toEqual(["revoke", "complete"]);
    expect(told.revoked).toEqual(["tardy"]);
    expect(script.result("tardy", 1).dropped).toEqual(["duplicate"]);
    // Until it gives a sign of life nothing is sent ahead to it.
    expect(script.commit("train", 2, 2, ["fast", "tardy"]).assigned).toEqual({ fast: "0..10" });
    expect(script.result("tardy", 0, { version: 1 }).dropped).toEqual(["stale"]);
  });

  it("wakes where a quorum is in when the last of those who are at work is overdue", () => {
    const script = measured({ tardy: 1_000, later: 2_000, fast: 20 }, { microBatches: 10, quorum: 0.8 });
    script.commit("train", 1, 1);
    const { assignedAt } = script.leases.later!;
    // Nobody idles: whoever was fast wants no more.
    script.result("fast", 200);
    expect(script.capacity("fast", 0).wake).toBe(assignedAt + 4_000);
    expect(script.tick(2_000).types).toEqual([]);
    const told = script.tick(1_800);
    expect(told.types).toEqual(["revoke", "revoke", "complete"]);
    expect(told.revoked).toEqual(["tardy", "later"]);
  });

  it("waits for all where a quorum is not in, and of everything but training steps", () => {
    const short = measured({ tardy: 100, fast: 20 }, { microBatches: 10, quorum: 0.9 });
    short.commit("train", 1, 1);
    short.result("fast", 200);
    // Whoever idles computes what is overdue.
    expect(short.tick(800).assigned).toEqual({ fast: "8..10" });
    const held = new Script({ stage: "validate", microBatches: 2, quorum: 0.5 });
    held.arrive("tardy");
    held.arrive("fast");
    held.result("fast", 1);
    expect(held.tick(20_000).types).toEqual(["assign"]);
  });

  it("accepts a late result that comes first, and revokes whoever computes it again", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("late");
    script.arrive("other");
    expect(script.tick(30_000).assigned).toEqual({ other: "0..1" });
    const told = script.result("late", 1_000);
    expect(told.types).toEqual(["accept", "revoke", "complete"]);
    expect(told.revoked).toEqual(["other"]);
    expect(script.result("other").dropped).toEqual(["duplicate"]);
  });

  it("hands out again what a revoked lease covered beyond the late result", () => {
    const script = new Script({ microBatches: 4 });
    script.arrive("late");
    script.arrive("other");
    script.result("other", 1);
    expect(script.leases.other).toMatchObject({ from: 2, to: 4 });
    script.result("other", 1);
    script.tick(30_000);
    expect(script.leases.other).toMatchObject({ from: 0, to: 1 });
    script.leave("other");
    script.arrive("other");
    expect(script.leases.other).toMatchObject({ from: 0, to: 1 });
    expect(script.result("late", 1).types).toEqual(["accept", "revoke", "complete"]);
  });

  it("drops a late result as a duplicate if somebody else did any of it, and stops the latecomer", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("late");
    script.arrive("other");
    script.tick(4_000);
    script.result("other", 0);
    expect(script.tick(1_000).assigned).toEqual({ other: "0..1" });
    expect(script.result("other", 1).revoked).toEqual(["late"]);
    expect(script.result("late", 1).dropped).toEqual(["duplicate"]);
  });

  it("asks a client whose lease ran out only when nobody else is there, until it gives a sign of life", () => {
    const script = new Script({ stage: "validate", microBatches: 3 });
    script.arrive("hanging");
    script.arrive("other");
    script.tick(20_000);
    script.result("other", 0);
    script.tick(10_000);
    script.result("other", 0);
    expect(script.result("other", 0).types).toEqual(["accept", "revoke", "complete"]);
    // The next piece keeps the version, so that nobody has to say ready.
    expect(script.commit("test", 0, 1).assigned).toEqual({ other: "0..3" });
    expect(script.leave("other").assigned).toEqual({ hanging: "0..1" });
    expect(script.result("hanging", 1).assigned).toEqual({ hanging: "1..3" });
  });

  it("drops a second result for the same lease as a duplicate", () => {
    const script = new Script();
    script.arrive("anna");
    const { id } = script.leases.anna!;
    script.result("anna", 1);
    expect(script.result("anna", 0, { lease: id }).dropped).toEqual(["duplicate"]);
  });

  it("drops a result of older weights, of an earlier step, and of an earlier piece at the same weights, as stale", () => {
    const script = new Script({ microBatches: 1, stage: "validate", step: 3, version: 4 });
    script.arrive("anna", 4);
    expect(script.result("anna", 0, { version: 3 }).dropped).toEqual(["stale"]);
    expect(script.result("anna", 0, { step: 2 }).dropped).toEqual(["stale"]);
    const { id } = script.leases.anna!;
    script.result("anna", 1);
    script.commit("test", 3, 4);
    expect(script.result("anna", 0, { lease: id }).dropped).toEqual(["stale"]);
    expect(script.result("anna", 0).types).toEqual(["accept", "complete"]);
  });

  it("drops a result for a lease of somebody else, or of nobody, as foreign", () => {
    const script = new Script();
    script.arrive("anna");
    script.arrive("thief");
    const { id } = script.leases.anna!;
    expect(script.result("thief", 0, { lease: id }).dropped).toEqual(["foreign"]);
    expect(script.result("thief", 0, { lease: 999 }).dropped).toEqual(["foreign"]);
    script.result("anna", 1);
    expect(script.result("thief", 0, { lease: id }).dropped).toEqual(["foreign"]);
    expect(script.result("stranger", 0, { lease: id, version: 1 }).dropped).toEqual(["foreign"]);
  });

  it("does not let a result for a foreign lease touch that lease", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    script.arrive("thief");
    script.result("thief", 0, { lease: script.leases.anna!.id, version: 1 });
    expect(script.result("anna", 1).types).toEqual(["accept", "complete"]);
  });
});

describe("a round between two pieces of work", () => {
  const completed = (): Script => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    script.result("anna", 1);
    return script;
  };

  it("assigns nothing until the piece is committed", () => {
    const script = completed();
    expect(script.arrive("bert").types).toEqual([]);
    expect(script.tick(100_000).types).toEqual([]);
    expect(script.ready("anna", 2).types).toEqual([]);
  });

  it("broadcasts a higher version and assigns at once to those who hold it already", () => {
    const script = completed();
    script.arrive("bert", 2);
    expect(script.commit("train", 1, 2).types).toEqual(["assign", "broadcast"]);
    expect(script.leases.bert).toMatchObject({ step: 1, version: 2 });
    expect(script.leases.anna).toMatchObject({ step: 0, version: 1 });
  });

  it("gives work with the weights to those that they are sent to at once, and nothing is kept for these", () => {
    const script = measured({ fast: 100, slow: 300 });
    const told = script.commit("train", 1, 2, ["fast", "slow"]);
    expect(told.types).toEqual(["assign", "assign", "broadcast"]);
    expect(told.assigned).toEqual({ fast: "0..12", slow: "12..16" });
    expect(script.ready("fast", 2).types).toEqual([]);
    expect(script.result("fast", 1200).types).toEqual(["accept"]);
    expect(script.ready("slow", 2).types).toEqual([]);
    expect(script.result("slow", 1).types).toEqual(["accept", "complete"]);
  });

  it("gives work with the weights to nobody who pauses, who failed too often, or who did not come last time", () => {
    const script = measured({ steady: 100, paused: 100, failing: 100, absent: 100 });
    script.commit("train", 1, 2, ["steady", "paused", "failing"]);
    script.fail("failing");
    script.fail("failing");
    script.fail("failing");
    script.capacity("paused", 0);
    let types: string[] = [];
    script.tick(2_000);
    while (!types.includes("complete")) types = script.result("steady", 100).types;
    const told = script.commit("train", 2, 3, ["steady", "paused", "failing", "absent"]);
    expect(told.assigned).toEqual({ steady: "0..16" });
  });

  it("assigns a piece that keeps the version at once, without a broadcast", () => {
    const script = completed();
    expect(script.commit("validate", 1, 1).types).toEqual(["assign"]);
    expect(script.leases.anna).toMatchObject({ work: "validate", version: 1 });
  });

  it("does nothing more when the run is done", () => {
    const script = completed();
    expect(script.commit("done", 1, 2).types).toEqual(["broadcast"]);
    expect(script.ready("anna", 2).types).toEqual([]);
    expect(script.summary()).toMatchObject({ stage: "done", status: "finished" });
  });

  it("refuses a commit that goes back in step or version, or comes before the piece is complete", () => {
    const start = { microBatches: 1, step: 5, version: 6 };
    const complete = (): Script => {
      const script = new Script(start);
      script.arrive("anna", 6);
      script.result("anna", 1);
      return script;
    };
    const codeOf = (act: () => unknown): string => {
      try {
        act();
      } catch (error) {
        if (error instanceof RoundError) return error.code;
      }
      return "none";
    };
    expect(codeOf(() => complete().commit("train", 4, 7))).toBe("step-fell");
    expect(codeOf(() => complete().commit("train", 6, 5))).toBe("version-fell");
    expect(codeOf(() => new Script(start).commit("train", 6, 7))).toBe("not-complete");
  });
});

describe("a round whose clients come back", () => {
  it("takes a client that left for a newcomer when it rejoins under the same name", () => {
    const script = new Script({ microBatches: 3 });
    script.arrive("anna");
    script.result("anna", 1);
    script.leave("anna");
    expect(script.arrive("anna").assigned).toEqual({ anna: "1..2" });
    expect(script.summary().clients).toMatchObject([{ id: "anna", speed: 0, accepted: 0 }]);
  });

  it("replaces a client that joins while it is still thought to be connected, and frees its lease", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    const old = script.leases.anna!;
    script.join("anna");
    expect(script.ready("anna").assigned).toEqual({ anna: "0..1" });
    expect(script.result("anna", 1, { lease: old.id }).dropped).toEqual(["duplicate"]);
    expect(script.summary().clients).toHaveLength(1);
  });

  it("ignores what a client says that never joined or has left", () => {
    const script = new Script();
    expect(script.ready("ghost").types).toEqual([]);
    expect(script.capacity("ghost", 5).types).toEqual([]);
    expect(script.fail("ghost").types).toEqual([]);
    expect(script.leave("ghost").types).toEqual([]);
    expect(script.summary().clients).toEqual([]);
  });

  it("keeps a lease valid over a restart, and assigns the rest of the open step again", () => {
    const before = new Script({ microBatches: 4 });
    before.arrive("anna");
    before.arrive("bert");
    before.result("bert", 1);
    const lease = before.leases.bert!;
    expect(lease).toMatchObject({ from: 2, to: 4 });
    const after = new Script({ microBatches: 4, nextLease: 1000 });
    expect(after.join("bert", { version: 1, lease }).types).toEqual([]);
    expect(after.join("anna", { version: 1 }).assigned).toEqual({ anna: "0..1" });
    expect(after.leases.anna!.id).toBe(1000);
    expect(after.result("bert", 5, claimOf(lease)).types).toEqual(["accept", "assign"]);
  });

  it("revokes an attached lease that is not of the open piece, or whose work was handed on", () => {
    const before = new Script();
    before.arrive("anna");
    const lease = before.leases.anna!;
    const later = new Script({ step: 1, version: 2, nextLease: 1000 });
    expect(later.join("anna", { version: 1, lease }).revoked).toEqual(["anna"]);
    const after = new Script({ nextLease: 1000 });
    after.arrive("bert");
    expect(after.join("anna", { version: null, lease }).revoked).toEqual(["anna"]);
    expect(after.result("anna", 1, claimOf(lease)).dropped).toEqual(["stale"]);
  });

  it("does not believe an attached lease that lies outside of the piece", () => {
    const lease = {
      id: 5,
      work: "train",
      step: 0,
      version: 1,
      from: 10,
      to: 99,
      assignedAt: 0,
      deadline: 9e9,
    } as const;
    expect(new Script({ nextLease: 1000 }).join("anna", { lease }).revoked).toEqual(["anna"]);
    const empty = { ...lease, from: 3, to: 3 };
    expect(new Script({ nextLease: 1000 }).join("anna", { lease: empty }).revoked).toEqual(["anna"]);
  });
});

describe("a round under control", () => {
  it("revokes every lease on a pause, assigns nothing, and goes on by itself on resuming", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("anna");
    script.arrive("bert");
    const told = script.control("pause");
    expect(told.revoked).toEqual(["anna", "bert"]);
    expect(told.wake).toBeNull();
    expect(script.arrive("cleo").types).toEqual([]);
    expect(script.control("resume").types).toEqual(["assign", "assign"]);
  });

  it("drops results that were under way when it was paused", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    script.control("pause");
    expect(script.result("anna", 1).dropped).toEqual(["duplicate"]);
    script.control("resume");
    expect(script.result("anna", 1).types).toEqual(["accept", "complete"]);
  });

  it("keeps what was accepted before a pause", () => {
    const script = new Script({ microBatches: 2 });
    script.arrive("anna");
    script.result("anna", 1);
    script.control("pause");
    expect(script.control("resume").assigned).toEqual({ anna: "1..2" });
  });

  it("commits a piece that was complete when it was paused, and does not begin the next", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    script.result("anna", 1);
    script.control("pause");
    expect(script.commit("train", 1, 2).types).toEqual(["broadcast"]);
    expect(script.ready("anna", 2).types).toEqual([]);
    expect(script.control("resume").assigned).toEqual({ anna: "0..1" });
  });

  it("is done for good when stopped, also while a piece is being committed", () => {
    const script = new Script();
    script.arrive("anna");
    expect(script.control("stop").revoked).toEqual(["anna"]);
    expect(script.summary()).toMatchObject({ stage: "done", status: "stopped" });
    expect(script.control("resume").types).toEqual([]);

    const committing = new Script({ microBatches: 1 });
    committing.arrive("anna");
    committing.result("anna", 1);
    committing.control("stop");
    committing.commit("train", 1, 2);
    expect(committing.ready("anna", 2).types).toEqual([]);
    expect(committing.summary()).toMatchObject({ stage: "done", status: "stopped", step: 1, version: 2 });
  });

  it("does a piece again whose commit failed, if the run goes on", () => {
    const script = new Script({ microBatches: 1 });
    script.arrive("anna");
    script.result("anna", 1);
    expect(script.control("fail").types).toEqual([]);
    expect(script.summary().status).toBe("failed");
    expect(script.control("resume").assigned).toEqual({ anna: "0..1" });
    expect(script.result("anna", 1).types).toEqual(["accept", "complete"]);
  });
});

describe("a round's timer", () => {
  it("is the earliest deadline, and none when nobody computes", () => {
    const script = new Script();
    expect(script.arrive("anna").wake).toBe(30_000);
    script.wait(1_000);
    expect(script.arrive("bert").wake).toBeUndefined();
    expect(script.leave("bert").wake).toBeUndefined();
    expect(script.leave("anna").wake).toBeNull();
  });

  it("moves on to the next deadline when one has passed", () => {
    const script = new Script();
    script.arrive("anna");
    script.wait(1_000);
    script.arrive("bert");
    expect(script.tick(29_000).wake).toBe(31_000);
  });
});

describe("a round's summary", () => {
  it("says of each client whether it loads, is ready, works or is paused, how fast it is and what it did", () => {
    const script = new Script({ microBatches: 2 });
    script.join("loading");
    script.arrive("working");
    script.result("working", 250);
    script.join("paused");
    script.capacity("paused", 0);
    script.arrive("ready");
    expect(script.summary().clients).toEqual([
      { id: "loading", state: "loading", speed: 0, accepted: 0 },
      { id: "working", state: "working", speed: 4, accepted: 1 },
      { id: "paused", state: "paused", speed: 0, accepted: 0 },
      { id: "ready", state: "ready", speed: 0, accepted: 0 },
    ]);
  });

  it("says waiting while it runs with nobody to compute, and goes on by itself when somebody comes", () => {
    const script = new Script();
    expect(script.summary().status).toBe("waiting");
    script.join("anna");
    expect(script.summary().status).toBe("waiting");
    expect(script.ready("anna").types).toEqual(["assign"]);
    expect(script.summary().status).toBe("running");
    script.capacity("anna", 0);
    expect(script.summary().status).toBe("waiting");
    script.control("pause");
    expect(script.summary().status).toBe("paused");
  });

  it("follows a client whose speed changes, and forgets an outlier slowly", () => {
    const script = new Script();
    script.join("anna");
    script.capacity("anna", 1);
    script.ready("anna");
    script.result("anna", 100);
    expect(script.summary().clients[0]?.speed).toBeCloseTo(10);
    script.result("anna", 1000);
    expect(script.summary().clients[0]?.speed).toBeCloseTo(10 + 0.3 * (1 - 10));
  });
});
