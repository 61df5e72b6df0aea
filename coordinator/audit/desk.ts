/**
 * Audits by re-computation: which leases are given a second time, to whom, and what follows from what comes back. A lease's
 * *double* is the same run of micro-batches for a client of another identity and another address block; whichever of the two results
 * comes first is added, and the other one is compared with it. Where they differ, further clients compute it, until somebody who is
 * proven agrees with one of them, or three agree.
 *
 * Chance comes from a key that nobody outside knows, so who is audited, and by whom, cannot be foreseen. Left out: time, leases
 * and the coverage of a piece of work, which are the round's.
 */

import { type Key, threefry2x32 } from "../../shared/random/index.ts";
import type { Evidence } from "./evidence.ts";
import { type AuditOptions, accepted, doubted, isProven, NEWCOMER, passed, type Standing, struck } from "./standing.ts";
import { type Verdict, verdictOf, type Witness } from "./verdict.ts";

/** What the desk knows of a client. */
export interface Auditable {
  /** Addresses that may be one person's: results of one block are never compared with each other. */
  readonly block: string;
  readonly standing: Standing;
  /** Proved that it is the one whose word decides. */
  readonly isReferee: boolean;
}

interface Member extends Omit<Auditable, "standing"> {
  readonly id: string;
  standing: Standing;
  /** Whoever leaves is still judged by what it sent. */
  isHere: boolean;
  /** Results of it that were added since the last one that was compared. */
  unchecked: number;
}

/** A standing that is to be stored. */
export interface StandingChange {
  readonly id: string;
  readonly block: string;
  readonly standing: Standing;
}

/** Work that several clients compute. */
export interface Double {
  readonly from: number;
  readonly to: number;
  /** Whose leases of it may still be answered, by number. */
  readonly leases: Map<number, string>;
  readonly witnesses: Witness[];
  /** Results that are to be compared. */
  wanted: number;
  /** Who is to have it next. */
  chosen: string | null;
}

/** Counters of the key's stream that are apart from those of evidence. */
const CHANCE = 2;

/** What one lease is of what is usual. */
const MEMORY = 0.02;
/** Most clients that are asked for one piece of work. */
const MOST_WITNESSES = 5;
/** Of them those who must agree where none is proven. */
const CERTAIN = 3;

export interface DeskOptions extends AuditOptions {
  readonly key: Key;
  /** Doubles that may be open at a time: there is memory for the evidence of so many. */
  readonly most: number;
}

export class AuditDesk {
  readonly #options: DeskOptions;
  readonly #members = new Map<string, Member>();
  /** Clients by block. */
  readonly #blocks = new Map<string, number>();
  readonly #doubles = new Set<Double>();
  readonly #byLease = new Map<number, Double>();
  readonly #chosen = new Map<string, Double>();
  /** Members whose standing is not what is stored. */
  readonly #changed = new Set<Member>();
  readonly #word = new Uint32Array(2);
  #drawn = 0;
  /** Where in the present run of leases the audit is, and how much of the run has passed. */
  #due: number;
  #passed = 0;
  /** The weight of recent leases' members. */
  #usual = 1;
  /** Members that are here, and their unchecked results. */
  #here = 0;
  #unchecked = 0;
  /** What was compared since this awakening. */
  readonly counts = { opened: 0, agreed: 0, disputed: 0, undecided: 0, banned: 0 };

  constructor(options: DeskOptions) {
    this.#options = options;
    this.#due = this.#chance();
  }

  /** What was found of it since this awakening is newer than the standing that was stored. */
  join(id: string, { block, standing, isReferee }: Auditable): void {
    this.leave(id);
    const known = this.#members.get(id);
    const unchecked = known?.unchecked ?? 0;
    const member = { id, block, standing: known?.standing ?? standing, isReferee, isHere: true, unchecked };
    this.#members.set(id, member);
    this.#here += 1;
    this.#unchecked += unchecked;
    if (known !== undefined && this.#changed.delete(known)) this.#changed.add(member);
    this.#blocks.set(block, (this.#blocks.get(block) ?? 0) + 1);
  }

  leave(id: string): void {
    const member = this.#members.get(id);
    if (member === undefined || !member.isHere) return;
    member.isHere = false;
    this.#here -= 1;
    this.#unchecked -= member.unchecked;
    const left = (this.#blocks.get(member.block) ?? 1) - 1;
    if (left === 0) this.#blocks.delete(member.block);
    else this.#blocks.set(member.block, left);
    this.#unchoose(id);
  }

  /** Nothing is to be known of it any more. */
  forget(id: string): void {
    this.leave(id);
    const member = this.#members.get(id);
    if (member !== undefined) this.#changed.delete(member);
    this.#members.delete(id);
  }

  standing(id: string): Standing {
    return this.#members.get(id)?.standing ?? NEWCOMER;
  }

  /** Whether there is anybody who could compute another one's work. */
  get isPossible(): boolean {
    return this.#blocks.size > 1;
  }

  /** Whether a lease that this client was just given is doubled: always a newcomer's, where there is anybody who could do it. */
  draws(id: string): boolean {
    const member = this.#members.get(id);
    if (member === undefined || !this.isPossible || this.#doubles.size >= this.#options.most) return false;
    return !isProven(member.standing, this.#options) || this.#isDue(this.#options.rate * this.#share(member));
  }

  /**
   * One of each run of leases whose rates come to 1, at a random place in it: as likely for each lease as by itself, and without
   * steps of many audits, which would take long.
   */
  #isDue(rate: number): boolean {
    const before = this.#passed;
    this.#passed += Math.min(rate, 1);
    const isDue = before <= this.#due && this.#due < this.#passed;
    if (this.#passed < 1) return isDue;
    this.#passed -= 1;
    this.#due = this.#chance();
    return isDue || this.#due < this.#passed;
  }

  /** Whether a result of it may be added that nothing is compared with: not a newcomer's, where there is anybody to do it. */
  isBelieved(id: string): boolean {
    const member = this.#members.get(id);
    return member === undefined || !this.isPossible || isProven(member.standing, this.#options);
  }

  /** How much likelier than others it is audited, or audits: half of it is the same for all, half by what nobody looked at. */
  #weight({ unchecked }: Member): number {
    return 0.5 + (0.5 * (unchecked + 1)) / (this.#unchecked / Math.max(1, this.#here) + 1);
  }

  /** Its weight beside that of recent leases: so the rate is that of leases, of which those who weigh more are given more. */
  #share(member: Member): number {
    const weight = this.#weight(member);
    this.#usual += (weight - this.#usual) * MEMORY;
    return weight / this.#usual;
  }

  #count(member: Member, unchecked: number): void {
    if (member.isHere) this.#unchecked += unchecked - member.unchecked;
    member.unchecked = unchecked;
  }

  open(lease: number, id: string, { from, to }: { readonly from: number; readonly to: number }): Double {
    const double: Double = { from, to, leases: new Map(), witnesses: [], wanted: 2, chosen: null };
    this.#doubles.add(double);
    this.counts.opened += 1;
    this.take(double, lease, id);
    return double;
  }

  /** Doubles that lack somebody. */
  *lacking(): Generator<Double> {
    for (const double of this.#doubles) {
      if (double.leases.size + double.witnesses.length < double.wanted) yield double;
    }
  }

  /** Whether this client is to have a double next, and so nothing else. */
  isChosen(id: string): boolean {
    return this.#chosen.has(id);
  }

  /** Whether this client's result of it would say anything. */
  isEligible(double: Double, id: string): boolean {
    const member = this.#members.get(id);
    if (member === undefined || !member.isHere || member.standing.isBanned) return false;
    const chosen = this.#chosen.get(id);
    if (chosen !== undefined && chosen !== double) return false;
    const others = [...double.leases.values(), ...double.witnesses.map(({ client }) => client)];
    return others.every((other) => other !== id && this.#members.get(other)?.block !== member.block);
  }

  /** Draws who is to have it among those who could. In a dispute the referee, or else somebody proven, if there is one. */
  choose(double: Double, eligible: readonly string[]): string | null {
    const members = eligible.flatMap((id) => this.#members.get(id) ?? []);
    let pool = members;
    if (double.witnesses.length > 1) {
      const referees = members.filter(({ isReferee }) => isReferee);
      const proven = members.filter(({ standing }) => isProven(standing, this.#options));
      pool = referees.length > 0 ? referees : proven.length > 0 ? proven : members;
    }
    this.#release(double);
    const id = this.#draw(pool)?.id ?? null;
    double.chosen = id;
    if (id !== null) this.#chosen.set(id, double);
    return id;
  }

  /** A client was given a lease of it. */
  take(double: Double, lease: number, id: string): void {
    if (double.chosen === id) this.#release(double);
    double.leases.set(lease, id);
    this.#byLease.set(lease, double);
  }

  isDoubled(lease: number): boolean {
    return this.#byLease.has(lease);
  }

  /** Some result may still come that is to be compared. */
  get isWaiting(): boolean {
    for (const { leases } of this.#doubles) if (leases.size > 0) return true;
    return false;
  }

  /**
   * A lease ends without a result. Answers whether its work is done or somebody else's; if neither, it is free again, and nothing of
   * it is compared. Once nothing else is waited for, nobody is asked in its place, unless there is a dispute: those who hang one after the
   * other would hold the step.
   */
  lose(lease: number, isLast: boolean): boolean {
    const double = this.#byLease.get(lease);
    if (double === undefined) return false;
    this.#byLease.delete(lease);
    double.leases.delete(lease);
    if (isLast && double.witnesses.length === 1) this.#drop(double);
    if (double.witnesses.length > 0) return true;
    // Where one is left, its lease is like any other.
    const isHeld = double.leases.size > 0;
    this.#drop(double);
    return isHeld;
  }

  /** A result was added to the sums of a step. */
  accept(id: string, step: number): void {
    const member = this.#members.get(id);
    if (member !== undefined) this.#count(member, member.unchecked + 1);
    this.#change(id, (standing) => accepted(standing, step));
  }

  /** A result of doubled work came. Answers who is banned for what it showed. */
  testify(lease: number, id: string, evidence: Evidence): readonly string[] {
    const double = this.#byLease.get(lease);
    if (double === undefined) return [];
    this.#byLease.delete(lease);
    double.leases.delete(lease);
    const member = this.#members.get(id);
    if (member !== undefined) this.#count(member, 0);
    const isReferee = member?.isReferee === true;
    double.witnesses.push({ client: id, evidence, isReferee });
    // Who is still at it would be compared with nobody.
    if (double.witnesses.length < 2) return [];
    const verdict = verdictOf(double.witnesses);
    if (verdict !== null && this.#isSettled(verdict)) {
      if (double.witnesses.length === 2) this.counts.agreed += 1;
      this.#drop(double);
      return this.#apply(verdict);
    }
    if (double.witnesses.length === 2) this.counts.disputed += 1;
    if (double.witnesses.length === MOST_WITNESSES) return this.#decide(double);
    double.wanted = double.witnesses.length + 1;
    return [];
  }

  /** Nobody else is there to be asked: what is not settled goes by what there is. Answers who is banned. */
  close(): readonly string[] {
    return [...this.#doubles].flatMap((double) => this.#decide(double));
  }

  /** Newcomers who agree may be one person's: two of them find nobody guilty while others can be asked. */
  #isSettled({ right, wrong }: Verdict): boolean {
    if (wrong.length === 0 || right.length >= CERTAIN) return true;
    return right.some((id) => {
      const member = this.#members.get(id);
      return member !== undefined && (member.isReferee || isProven(member.standing, this.#options));
    });
  }

  /** The piece of work begins again: what was being compared is computed anew. */
  discard(): void {
    for (const double of [...this.#doubles]) this.#drop(double);
  }

  /** What changed since the last time, to be stored with the piece of work. */
  takeChanges(): StandingChange[] {
    const changes = [...this.#changed].map(({ id, block, standing }) => ({ id, block, standing }));
    this.#changed.clear();
    for (const [id, { isHere }] of this.#members) if (!isHere) this.#members.delete(id);
    return changes;
  }

  #apply({ right, wrong }: Verdict): string[] {
    const banned: string[] = [];
    for (const id of right) this.#change(id, (standing) => passed(standing, this.#options));
    for (const { client, difference } of wrong) {
      this.#change(client, (standing) => struck(standing, difference));
      if (this.standing(client).isBanned) banned.push(client);
    }
    this.counts.banned += banned.length;
    return banned;
  }

  #decide(double: Double): string[] {
    this.#drop(double);
    if (double.witnesses.length < 2) return [];
    const verdict = verdictOf(double.witnesses);
    if (verdict !== null) return this.#apply(verdict);
    this.counts.undecided += 1;
    for (const { client } of double.witnesses) this.#change(client, doubted);
    return [];
  }

  #change(id: string, change: (standing: Standing) => Standing): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    const next = change(member.standing);
    if (next === member.standing) return;
    member.standing = next;
    this.#changed.add(member);
  }

  #drop(double: Double): void {
    this.#doubles.delete(double);
    this.#release(double);
    for (const lease of double.leases.keys()) this.#byLease.delete(lease);
  }

  #release(double: Double): void {
    if (double.chosen !== null) this.#chosen.delete(double.chosen);
    double.chosen = null;
  }

  #unchoose(id: string): void {
    const double = this.#chosen.get(id);
    if (double !== undefined) this.#release(double);
  }

  #draw(members: readonly Member[]): Member | null {
    let left = this.#chance() * members.reduce((sum, member) => sum + this.#weight(member), 0);
    for (const member of members) {
      left -= this.#weight(member);
      if (left < 0) return member;
    }
    return members.at(-1) ?? null;
  }

  /** In [0, 1). */
  #chance(): number {
    threefry2x32(this.#options.key[0], this.#options.key[1], this.#drawn++, CHANCE, this.#word);
    return this.#word[0] / 2 ** 32;
  }
}
