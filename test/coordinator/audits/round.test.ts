import { describe, expect, it } from "vitest";
import {
  AuditDesk,
  type AuditOptions,
  type Evidence,
  NEWCOMER,
  type Standing,
} from "../../../coordinator/audit/index.ts";
import {
  advance,
  createRound,
  type Lease,
  type RoundEffect,
  type RoundEvent,
  type RoundState,
  wouldAccept,
} from "../../../coordinator/round/index.ts";

/** Of WASM, and different for every value. */
const evidenceOf = (value: number): Evidence => ({
  isReproducible: true,
  fingerprint: [value, value],
  buckets: new Float64Array(0),
  norm: value,
  loss: 1,
  weight: 1,
  metrics: new Float64Array(0),
  maxima: null,
});

const PROVEN: Standing = { ...NEWCOMER, streak: 1_000 };

interface Member {
  readonly block?: string;
  readonly standing?: Standing;
  readonly isReferee?: boolean;
}

/** A round whose clients answer when they are told to. */
class Audited {
  readonly desk: AuditDesk;
  readonly state: RoundState;
  readonly convicted: string[] = [];
  /** Leases that are not answered, by client. */
  readonly leases = new Map<string, Lease>();
  now = 0;

  constructor(
    members: Record<string, Member>,
    options: Partial<AuditOptions> & { microBatches?: number; step?: number } = {},
  ) {
    const { microBatches = 4, step = 0, newcomers = 5, rate = 0 } = options;
    this.desk = new AuditDesk({ newcomers, rate, key: [7, 7], most: 100 });
    const plan = {
      trainSamples: microBatches * 100,
      validationSamples: 0,
      testSamples: 0,
      batchSize: microBatches,
      microBatch: 1,
      stepsPerEpoch: 100,
      totalSteps: 100,
    };
    const start = { stage: "train", step, version: 1, status: "running", nextLease: 1, audits: this.desk } as const;
    this.state = createRound(plan, start);
    const time = this.now;
    for (const [client, member] of Object.entries(members)) {
      const { block = client, standing = NEWCOMER, isReferee = false } = member;
      const audit = { block, standing, isReferee };
      this.tell({ type: "joined", time, client, version: null, lease: null, audit });
    }
    for (const client of Object.keys(members)) this.tell({ type: "ready", time, client, version: 1 });
  }

  tell(event: RoundEvent): RoundEffect[] {
    const isToAdd = event.type === "result" && wouldAccept(this.state, event);
    const effects = advance(this.state, event);
    if (effects.some(({ type }) => type === "accept") !== isToAdd) throw new Error("added and accepted are two things");
    for (const effect of effects) {
      if (effect.type === "assign") this.leases.set(effect.client, effect.lease);
      if (effect.type === "revoke") this.leases.delete(effect.client);
      if (effect.type === "convict") this.convicted.push(...effect.clients);
    }
    return effects;
  }

  /** The client's lease comes back with this result; what is told of it beside assignments and wakes. */
  result(client: string, value = 1): string[] {
    const lease = this.leases.get(client);
    if (lease === undefined) throw new Error(`${client} has no lease`);
    this.leases.delete(client);
    this.now += 10;
    const { id, version, step } = lease;
    const evidence = this.desk.isDoubled(id) ? { evidence: evidenceOf(value) } : {};
    const effects = this.tell({ type: "result", time: this.now, client, lease: id, version, step, ...evidence });
    return effects.map(({ type }) => type).filter((type) => type !== "assign" && type !== "wake");
  }

  rangeOf(client: string): string {
    const lease = this.leases.get(client);
    return lease === undefined ? "none" : `${lease.from}..${lease.to}`;
  }

  leave(client: string): string[] {
    this.leases.delete(client);
    return this.tell({ type: "left", time: this.now, client }).map(({ type }) => type);
  }
}

describe("a doubled lease", () => {
  it("is the same run for a client of another block, and looks like any other", () => {
    const round = new Audited({ anna: {}, near: { block: "anna" }, ben: {} }, { microBatches: 8 });
    expect(round.rangeOf("anna")).toBe("0..1");
    expect(round.rangeOf("near")).not.toBe("0..1");
    expect(round.rangeOf("ben")).toBe("0..1");
    expect(Object.keys(round.leases.get("ben")!)).toEqual(Object.keys(round.leases.get("anna")!));
  });

  it("is added once, whichever result comes first, and compared once", () => {
    const round = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    expect(round.result("ben")).toEqual(["accept"]);
    expect(round.result("anna")).toEqual(["compared", "complete"]);
    expect(round.desk.counts).toMatchObject({ opened: 1, agreed: 1 });
    expect(round.desk.standing("anna")).toMatchObject({ streak: 1, audited: 1 });
    expect(round.desk.standing("ben")).toMatchObject({ streak: 1, audited: 1, suspectSince: null });
  });

  it("holds the step until both results are in", () => {
    const round = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    expect(round.result("anna")).toEqual(["accept"]);
    expect(round.tell({ type: "tick", time: round.now })).toEqual([]);
    expect(round.result("ben")).toEqual(["compared", "complete"]);
  });

  it("does not hold the step for one who leaves, hangs or fails", () => {
    const left = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    left.result("anna");
    expect(left.leave("ben")).toContain("complete");

    const hung = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    hung.result("anna");
    const { deadline } = hung.leases.get("ben")!;
    // Its lease ends with its piece: the next one may be at the same version.
    expect(hung.tell({ type: "tick", time: deadline }).map(({ type }) => type)).toEqual(["revoke", "complete", "wake"]);

    const failed = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    failed.result("anna");
    const lease = failed.leases.get("ben")!.id;
    const effects = failed.tell({ type: "failed", time: failed.now, client: "ben", lease });
    expect(effects.map(({ type }) => type)).toContain("complete");
  });

  it("does not wait for one after the other who hangs, but for whoever decides a dispute it does", () => {
    const round = new Audited({ anna: {}, ben: {}, carl: {}, dora: {} }, { microBatches: 1 });
    const [, second] = [...round.leases.keys()];
    round.result("anna");
    const { deadline } = round.leases.get(second!)!;
    expect(round.tell({ type: "tick", time: deadline }).map(({ type }) => type)).toContain("complete");

    const disputed = new Audited({ anna: {}, ben: {}, carl: {}, dora: {} }, { microBatches: 1 });
    const [first, other] = [...disputed.leases.keys()];
    disputed.result(first!);
    disputed.result(other!, 2);
    const [third] = [...disputed.leases.keys()];
    disputed.leave(third!);
    expect([...disputed.leases.keys()]).toHaveLength(1);
  });

  it("is one client's alone once the other one is gone, and free again once both are", () => {
    const round = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    round.leave("anna");
    expect(round.state.coverage.free).toBe(0);
    expect(round.result("ben")).toEqual(["accept", "complete"]);

    const both = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    both.leave("anna");
    both.leave("ben");
    expect(both.state.coverage.free).toBe(1);
  });

  it("that ran out is a newcomer's no more: a late result would be one that nobody looks at", () => {
    const round = new Audited({ anna: {}, ben: { standing: PROVEN } }, { microBatches: 2 });
    round.tell({ type: "capacity", time: 0, client: "ben", microBatches: 0 });
    const late = round.leases.get("anna")!;
    round.tell({ type: "tick", time: late.deadline });
    round.now = late.deadline;
    expect(round.result("anna")).toEqual(["drop"]);
    expect(round.leases.get("anna")).toMatchObject({ from: late.from });
  });

  it("is always a newcomer's, and of the proven as many as the rate says", () => {
    for (const rate of [0, 0.25]) {
      const round = new Audited({ anna: { standing: PROVEN }, ben: { standing: PROVEN } }, { rate, microBatches: 400 });
      while (round.state.coverage.free > 0 || round.leases.size > 0) {
        for (const client of ["anna", "ben"]) {
          round.tell({ type: "capacity", time: round.now, client, microBatches: 1 });
          if (round.leases.has(client)) round.result(client);
        }
      }
      expect(round.desk.counts.opened).toBeGreaterThanOrEqual(400 * rate * 0.9);
      expect(round.desk.counts.opened).toBeLessThanOrEqual(400 * rate * 1.1 + 3);
    }
  });

  it("is nobody's where all are of one block", () => {
    const round = new Audited({ anna: { block: "one" }, ben: { block: "one" } }, { microBatches: 2 });
    expect([round.rangeOf("anna"), round.rangeOf("ben")]).toEqual(["0..1", "1..2"]);
    expect(round.desk.counts.opened).toBe(0);
  });

  it("is not given to whoever computed it already", () => {
    const round = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    round.leave("ben");
    expect(round.result("anna")).toEqual(["accept", "complete"]);
  });
});

describe("two results that differ", () => {
  it("are decided by a third client; the piece begins again without who was wrong, and nobody else is touched", () => {
    const round = new Audited({ anna: {}, liar: {}, ben: { standing: PROVEN } }, { microBatches: 1 });
    expect(round.result("anna")).toEqual(["accept"]);
    expect(round.result("liar", 2)).toEqual(["compared"]);
    expect(round.rangeOf("ben")).toBe("0..1");
    expect(round.result("ben")).toEqual(["compared", "convict"]);
    expect(round.convicted).toEqual(["liar"]);
    expect(round.desk.standing("liar").isBanned).toBe(true);
    expect(round.desk.standing("anna")).toMatchObject({ streak: 1, strikes: 0 });
    // Nothing is assigned until the shell has begun it again.
    expect(round.tell({ type: "tick", time: round.now }).some(({ type }) => type === "assign")).toBe(false);
    round.leave("liar");
    round.tell({ type: "restarted", time: round.now, stage: "train", step: 0, version: 1, ahead: [] });
    expect(round.state.coverage.free).toBe(0);
    expect(round.result("anna")).toEqual(["accept"]);
    expect(round.result("ben")).toEqual(["compared", "complete"]);
  });

  it("are decided by the referee, who is asked before all others", () => {
    const others = { anna: { standing: PROVEN }, ben: { standing: PROVEN }, carl: { standing: PROVEN } };
    const round = new Audited({ liar: {}, dora: {}, ...others, zoe: { isReferee: true } }, { microBatches: 1 });
    expect([round.rangeOf("liar"), round.rangeOf("dora")]).toEqual(["0..1", "0..1"]);
    round.result("dora");
    round.result("liar", 2);
    expect([...round.leases.keys()]).toEqual(["zoe"]);
    // Whatever it says: its word decides.
    expect(round.result("zoe", 2)).toEqual(["compared", "convict"]);
    expect(round.convicted).toEqual(["dora"]);
  });

  it("stay undecided where nobody else is there: what counts is the first, and both are newcomers again", () => {
    const round = new Audited({ liar: {}, anna: { standing: PROVEN } }, { microBatches: 1 });
    round.result("anna");
    expect(round.result("liar", 2)).toEqual(["compared", "complete"]);
    expect(round.desk.counts.undecided).toBe(1);
    expect(round.desk.standing("anna")).toMatchObject({ streak: 0, isBanned: false });
    expect(round.desk.standing("liar")).toMatchObject({ streak: 0, isBanned: false });
  });

  it("are not decided by two newcomers who agree while somebody proven can be asked", () => {
    const members = { anna: { standing: PROVEN }, liar: {}, other: {}, ben: { standing: PROVEN } };
    const round = new Audited(members, { microBatches: 1, rate: 1 });
    const desk = round.desk;
    const double = desk.open(900, "anna", { from: 0, to: 1 });
    desk.take(double, 901, "liar");
    desk.take(double, 902, "other");
    desk.testify(900, "anna", evidenceOf(1));
    desk.testify(901, "liar", evidenceOf(2));
    expect(desk.testify(902, "other", evidenceOf(2))).toEqual([]);
    expect(double.wanted).toBe(4);
    desk.take(double, 903, "ben");
    expect(desk.testify(903, "ben", evidenceOf(1))).toEqual(["liar", "other"]);
  });

  it("go by two who agree once nobody else can be asked, before the step is made of them", () => {
    const round = new Audited({ anna: {}, liar: {}, ben: {} }, { microBatches: 1 });
    round.result("anna");
    round.result("liar", 2);
    expect(round.result("ben")).toEqual(["compared", "convict"]);
    expect(round.convicted).toEqual(["liar"]);
  });

  it("cost a liar its place though it leaves before it is found out", () => {
    const round = new Audited({ anna: {}, liar: {}, ben: {} }, { microBatches: 1 });
    round.result("anna");
    round.result("liar", 2);
    round.leave("liar");
    expect(round.result("ben")).toEqual(["compared", "convict"]);
    expect(round.desk.takeChanges().find(({ id }) => id === "liar")?.standing.isBanned).toBe(true);
  });

  it("go back to an earlier step where the shell says so, at a version that is higher", () => {
    const round = new Audited({ anna: {}, liar: {}, ben: {} }, { microBatches: 1, step: 5 });
    round.result("anna");
    round.result("liar", 2);
    round.result("ben");
    round.leave("liar");
    round.tell({ type: "restarted", time: round.now, stage: "train", step: 3, version: 2, ahead: ["anna", "ben"] });
    expect(round.state).toMatchObject({ step: 3, version: 2 });
    expect(round.leases.get("anna")).toMatchObject({ step: 3, version: 2 });
  });
});

describe("a standing", () => {
  it("says since which step results are suspect, until one is compared", () => {
    const round = new Audited({ anna: { standing: PROVEN }, ben: { standing: PROVEN } }, { microBatches: 2 });
    for (const client of [...round.leases.keys()]) round.result(client);
    expect(round.desk.standing("anna").suspectSince).toBe(0);
  });

  it("forgives a strike after as many good results as a newcomer needs", () => {
    const desk = new AuditDesk({ newcomers: 2, rate: 0, key: [1, 1], most: 10 });
    const gpu = (norm: number): Evidence => ({ ...evidenceOf(1), isReproducible: false, norm });
    for (const id of ["gpu", "b", "c"]) desk.join(id, { block: id, standing: PROVEN, isReferee: false });
    const compare = (value: number, first: number): void => {
      const double = desk.open(first, "gpu", { from: 0, to: 1 });
      desk.testify(first, "gpu", gpu(value));
      for (const [index, id] of ["b", "c"].entries()) {
        if (double.witnesses.length >= double.wanted) break;
        desk.take(double, first + 1 + index, id);
        desk.testify(first + 1 + index, id, gpu(1));
      }
    };
    compare(1.1, 10);
    expect(desk.standing("gpu")).toMatchObject({ strikes: 1, streak: 0, isBanned: false });
    compare(1.1, 20);
    expect(desk.standing("gpu")).toMatchObject({ strikes: 2, isBanned: false });
    compare(1, 30);
    compare(1, 40);
    expect(desk.standing("gpu")).toMatchObject({ strikes: 0, streak: 2 });
    for (const at of [50, 60, 70]) compare(1.1, at);
    expect(desk.standing("gpu").isBanned).toBe(true);
  });

  it("is told again once it has changed, and of whoever left, too", () => {
    const round = new Audited({ anna: {}, ben: {} }, { microBatches: 1 });
    round.result("anna");
    round.result("ben");
    round.leave("ben");
    expect(round.desk.takeChanges().map(({ id }) => id)).toEqual(["anna", "ben"]);
    expect(round.desk.takeChanges()).toEqual([]);
  });
});
