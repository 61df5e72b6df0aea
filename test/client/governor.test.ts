import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Conditions, DEFAULT_POLICIES, Governor, type Policies } from "../../client/core/governor.ts";
import { leaseTime, shardSize, updateSpeed } from "../../coordinator/round/sizing.ts";

const HARMLESS: Conditions = { hidden: false, battery: null, metered: false };

/** A machine whose micro-batches take `cost` milliseconds, computing without an end. */
class Machine {
  now = 0;
  busy = 0;
  readonly governor: Governor;
  cost: number;

  constructor(governor: Governor, cost: number) {
    this.governor = governor;
    this.cost = cost;
  }

  compute(microBatches = 1): void {
    const busy = microBatches * this.cost;
    this.now += busy;
    this.busy += busy;
    this.governor.worked({ work: "train", microBatches, busy, end: this.now });
  }

  rest(): number {
    const rest = this.governor.takeRest(this.now);
    this.now += rest;
    return rest;
  }

  /** One lease; how long it took. */
  answer(microBatches: number): number {
    const start = this.now;
    this.governor.beginLease(microBatches, start);
    for (let index = 0; index < microBatches; index++) {
      this.rest();
      this.compute();
    }
    this.governor.endLease(this.now);
    return this.now - start;
  }
}

const share = fc.double({ min: 0.02, max: 1, noNaN: true });
const cost = fc.double({ min: 0.5, max: 500, noNaN: true });

describe("the governor's share", () => {
  it("is the part of the time that is computed, whatever micro-batches cost", () => {
    fc.assert(
      fc.property(share, cost, (wanted, each) => {
        const machine = new Machine(new Governor(wanted), each);
        // Leases that bear their rests: others are the property after the next.
        const bearable = Math.max(1, Math.floor((4_000 * wanted) / each));
        fc.pre(each / wanted < 4_000);
        while (machine.busy < 60_000) machine.answer(bearable);
        expect(machine.busy / machine.now).toBeCloseTo(wanted, 1);
      }),
    );
  });

  it("is never exceeded when there are waits of other kinds, and these pay for rests", () => {
    const waits = fc.array(fc.double({ min: 0, max: 400, noNaN: true }), { minLength: 200, maxLength: 200 });
    fc.assert(
      fc.property(share, fc.double({ min: 1, max: 50, noNaN: true }), waits, (wanted, each, pauses) => {
        const machine = new Machine(new Governor(wanted), each);
        let rested = 0;
        for (const wait of pauses) {
          machine.now += wait;
          machine.governor.beginLease(1, machine.now);
          rested += machine.rest();
          machine.compute();
          machine.governor.endLease(machine.now);
        }
        const owed = machine.busy * (1 / wanted - 1);
        const waited = machine.now - machine.busy - rested;
        // 100 ms of credit, and the last micro-batch's rest is still to come.
        expect(machine.now).toBeGreaterThanOrEqual(machine.busy + owed - 100 - each * (1 / wanted));
        expect(rested).toBeGreaterThanOrEqual(owed - waited - 100 - each * (1 / wanted));
        expect(rested).toBeLessThanOrEqual(owed);
      }),
    );
  });

  it("never makes a lease run out, also when it falls in the middle of one, by the coordinator's own rules", () => {
    const moves = fc.array(fc.tuple(fc.integer({ min: 1, max: 30 }), share), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.double({ min: 1, max: 3_000, noNaN: true }), moves, (each, changes) => {
        const machine = new Machine(new Governor(1), each);
        let speed: number | null = null;
        for (const [leases, wanted] of changes) {
          for (let count = 0; count < leases; count++) {
            const work = 256;
            const size = Math.min(shardSize({ speed, everyone: speed ?? 0, work }), machine.governor.capacity(1_024));
            const deadline = leaseTime(speed, size);
            const start = machine.now;
            machine.governor.beginLease(size, start);
            // The first lease after a change was given before it.
            for (let index = 0; index < size; index++) {
              if (count === 0 && index === Math.floor(size / 2)) machine.governor.setShare(wanted);
              machine.rest();
              machine.compute();
            }
            machine.governor.endLease(machine.now);
            const elapsed = machine.now - start;
            expect(elapsed).toBeLessThan(deadline);
            speed = updateSpeed(speed, size, elapsed);
          }
        }
      }),
      { examples: [[3_000, [[30, 0.02]]]] }, // rests grow with what is expected: up to the longest lease
    );
  });

  it("of 1 owes nothing and asks for everything", () => {
    const machine = new Machine(new Governor(1), 20);
    for (let count = 0; count < 100; count++) expect(machine.answer(10)).toBe(200);
    expect(machine.governor.capacity(1_024)).toBe(1_024);
  });

  it("asks for work of about two seconds, rests included", () => {
    const machine = new Machine(new Governor(0.25), 50);
    expect(machine.governor.capacity(1_024)).toBe(1_024); // nothing is measured: the coordinator starts with 1
    machine.answer(1);
    expect(machine.governor.capacity(1_024)).toBe(10); // 10 · 50 ms / 0.25
    expect(machine.governor.capacity(4)).toBe(4);
  });

  it("forgives what is owed when it rises", () => {
    const machine = new Machine(new Governor(0.05), 100);
    machine.compute();
    machine.governor.setShare(1);
    expect(machine.rest()).toBe(0);
  });

  it.each([0, -1, 1.01, Number.NaN])("cannot be %d", (wanted) => {
    expect(() => new Governor(wanted)).toThrow(RangeError);
    expect(() => new Governor().setShare(wanted)).toThrow(RangeError);
  });
});

describe("the governor's circumstances", () => {
  const cases: readonly [Partial<Conditions>, Partial<Policies>, share: number, pausedBy: string | null][] = [
    [{}, {}, 1, null],
    [{ hidden: true }, {}, 1, null],
    [{ hidden: true }, { hidden: "pause" }, 1, "hidden"],
    [{ hidden: true }, { hidden: "ease" }, 0.25, null],
    [{ battery: 0.3 }, {}, 0.25, null],
    [{ battery: 0.29 }, {}, 1, "battery"],
    [{ battery: 0.29 }, { battery: "ease" }, 0.25, null],
    [{ battery: 0.05 }, { battery: "continue" }, 1, null],
    [{ metered: true }, {}, 1, "metered"],
    [{ metered: true }, { metered: "continue" }, 1, null],
    [{ metered: true, battery: 0.1 }, {}, 1, "battery"],
  ];
  it.each(cases)("%j with %j give a share of %d, paused by %s", (conditions, policies, wanted, pausedBy) => {
    const governor = new Governor(1, policies);
    governor.sense({ ...HARMLESS, ...conditions });
    expect([governor.share, governor.pausedBy]).toEqual([wanted, pausedBy]);
    governor.sense(HARMLESS);
    expect([governor.share, governor.pausedBy, governor.circumstances]).toEqual([1, null, []]);
  });

  it("ease to a quarter, or to less where less is wanted", () => {
    const governor = new Governor(0.1, { hidden: "ease" });
    governor.sense({ ...HARMLESS, hidden: true });
    expect(governor.share).toBe(0.1);
  });

  it("give way to the volunteer, and policies may change while they are in force", () => {
    const governor = new Governor();
    governor.sense({ ...HARMLESS, metered: true });
    governor.stopped = true;
    expect(governor.pausedBy).toBe("volunteer");
    governor.stopped = false;
    expect(governor.pausedBy).toBe("metered");
    governor.setPolicies({ metered: "continue" });
    expect(governor.pausedBy).toBeNull();
    expect(governor.circumstances).toEqual(["metered"]);
  });

  /** Computes for so long at such a cost, in shards of 8. */
  function compute(machine: Machine, milliseconds: number, each: number): void {
    const end = machine.now + milliseconds;
    machine.cost = each;
    while (machine.now < end) machine.compute(8);
  }

  it("are slow once micro-batches have taken twice the best time for 20 seconds, and until they recover", () => {
    const machine = new Machine(new Governor(), 10);
    compute(machine, 10_000, 10);
    compute(machine, 19_000, 25);
    expect(machine.governor.circumstances).toEqual([]);
    compute(machine, 5_000, 25);
    expect(machine.governor.circumstances).toEqual(["slow"]);
    expect(machine.governor.share).toBe(DEFAULT_POLICIES.slow === "ease" ? 0.25 : 1);
    compute(machine, 30_000, 18); // better, but not well
    expect(machine.governor.circumstances).toEqual(["slow"]);
    compute(machine, 25_000, 11);
    expect(machine.governor.circumstances).toEqual([]);
  });

  it("are not slow because of a short spell, or because shards became small", () => {
    const machine = new Machine(new Governor(), 10);
    compute(machine, 10_000, 10);
    for (let count = 0; count < 10; count++) {
      compute(machine, 10_000, 30);
      compute(machine, 5_000, 10);
    }
    expect(machine.governor.circumstances).toEqual([]);
    // Alone, a micro-batch may take three times as long as one of many.
    machine.cost = 30;
    for (let count = 0; count < 2_000; count++) machine.compute(1);
    expect(machine.governor.circumstances).toEqual([]);
  });

  it("are no longer slow after a minute without work, so that a pause ends", () => {
    const machine = new Machine(new Governor(1, { slow: "pause" }), 10);
    compute(machine, 10_000, 10);
    compute(machine, 30_000, 30);
    expect(machine.governor.pausedBy).toBe("slow");
    machine.governor.tick(machine.now + 59_999);
    expect(machine.governor.pausedBy).toBe("slow");
    machine.governor.tick(machine.now + 60_000);
    expect(machine.governor.pausedBy).toBeNull();
  });
});
