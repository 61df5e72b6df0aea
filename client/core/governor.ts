/**
 * The governor decides how much of its machine a volunteer gives: how long to rest between micro-batches, how much work
 * to ask for at a time, and when to stop until circumstances are better. A deterministic function of what it is told,
 * with no clock, sensor or timer of its own. Times are milliseconds of the caller's clock.
 *
 * A share is kept by resting, never by computing more slowly: after c milliseconds of work c · (1/share − 1) are owed,
 * and whatever passes without work, for whatever reason, pays for them. Leases bear only so much rest, and a coordinator may
 * give what it likes, so what they do not bear stays owed: beyond a limit nothing is computed until it is paid. Left out: how finely the GPU's work is cut
 * (engine/webgpu/pace.ts) and how many threads compute, which is the platform's part of a share of 1.
 */

/** What the governor reacts to. */
export const CIRCUMSTANCES = ["hidden", "battery", "metered", "slow"] as const;

/**
 * `hidden`: the tab is not seen. `battery`: the machine discharges. `metered`: the connection is cellular, or data are to be
 * saved. `slow`: micro-batches have long taken twice the time of the best ones, as on a hot or busy machine.
 */
export type Circumstance = (typeof CIRCUMSTANCES)[number];

/** `ease`: at most a quarter of the machine's time. */
export type Reaction = "continue" | "ease" | "pause";

/** `pause` on battery only eases while at least 30 % are left. */
export type Policies = Readonly<Record<Circumstance, Reaction>>;

/** What is done where neither the caller nor the volunteer says otherwise. */
export const DEFAULT_POLICIES: Policies = { hidden: "continue", battery: "pause", metered: "pause", slow: "ease" };

/** What sensors say. A platform without a sensor says what is harmless. */
export interface Conditions {
  readonly hidden: boolean;
  /** Charge that is left, 0 to 1, while discharging; null otherwise. */
  readonly battery: number | null;
  readonly metered: boolean;
}

const HARMLESS: Conditions = { hidden: false, battery: null, metered: false };

const EASED_SHARE = 0.25;
const LOW_BATTERY = 0.3;

/** Idle time beyond what was owed that still counts for the work to come: timers ring late. */
const MOST_CREDIT = 100;
/** Rest that may be owed beyond what leases bear. Above it all work is given back until everything is paid. */
const MOST_OWED = 30_000;
/** The longest that one micro-batch is believed to keep a thread, where it may as well have been a sleep. */
const LONGEST_SUSPECTED = 60_000;

/** Work that is asked for at a time when the share is small, in milliseconds with its rests. */
const LEASE_TARGET = 2_000;
/** Rest that fits into any lease: the shortest one is 10 s (coordinator/round/sizing.ts). */
const SAFE_REST = 4_000;
/** The coordinator waits four times as long as it expects a lease to take: two of them may be rest. */
const REST_FACTOR = 2;
/** It waits for no lease longer than 600 s, however slow the client. */
const LONGEST_REST = 240_000;
/** Weight of the newest lease in the speed, as the coordinator measures it. */
const SPEED_MEMORY = 0.3;

/** Of a burst's time in the smoothed time of its kind. */
const SMOOTHING = 0.2;
/** Bursts of a kind before their time counts as sustained. */
const SETTLED = 5;
const SLOW_RATIO = 2;
const RECOVERED_RATIO = 1.5;
/** How long it must last. */
const SUSTAINED = 20_000;
/** A machine that computed nothing for so long has cooled down. */
const COOLED = 60_000;

/** Micro-batches that were computed without a rest in between. */
export interface Burst {
  /** Bursts of different work are not compared. */
  readonly work: string;
  readonly microBatches: number;
  /** Time computing. */
  readonly busy: number;
  /** When it ended. */
  readonly end: number;
}

interface Pace {
  smoothed: number;
  best: number;
  bursts: number;
}

/** The share itself. Throws RangeError unless 0 < share ≤ 1. */
export function checkShare(share: number): number {
  if (!(share > 0 && share <= 1)) throw new RangeError(`a share is above 0 and at most 1, not ${share}`);
  return share;
}

export class Governor {
  #wanted: number;
  #policies: Policies;
  #conditions = HARMLESS;
  #stopped = false;
  #slow = false;
  /** Rest owed at `#settledAt`; negative is credit. */
  #owed = 0;
  #settledAt = Number.NEGATIVE_INFINITY;
  #overdrawn = false;
  /** Rest that the present lease still bears. */
  #restLeft = SAFE_REST;
  #lease: { readonly microBatches: number; readonly start: number } | null = null;
  /** Micro-batches a millisecond, rests included, as the coordinator sees it. */
  #speed: number | null = null;
  /** Milliseconds of computing of one micro-batch in training. */
  #cost: number | null = null;
  #longest = 0;
  /** By work and size: a few micro-batches at once and many take different times each. */
  readonly #paces = new Map<string, Pace>();
  /** Since when the speed has been on the other side of its threshold. */
  #turningSince: number | null = null;

  /** Throws RangeError unless 0 < share ≤ 1. */
  constructor(share = 1, policies: Partial<Policies> = {}) {
    this.#wanted = checkShare(share);
    this.#policies = { ...DEFAULT_POLICIES, ...policies };
  }

  /** The share that is wanted when nothing speaks against it. */
  get wanted(): number {
    return this.#wanted;
  }

  /** The share in force. */
  get share(): number {
    const eased = this.circumstances.some((circumstance) => this.#reaction(circumstance) === "ease");
    return eased ? Math.min(this.#wanted, EASED_SHARE) : this.#wanted;
  }

  /** In force now, whatever the reaction to them. */
  get circumstances(): readonly Circumstance[] {
    const { hidden, battery, metered } = this.#conditions;
    const inForce: Readonly<Record<Circumstance, boolean>> = {
      hidden,
      battery: battery !== null,
      metered,
      slow: this.#slow,
    };
    return CIRCUMSTANCES.filter((circumstance) => inForce[circumstance]);
  }

  /** Why nothing may be computed now; null if something may. */
  get pausedBy(): "volunteer" | Circumstance | null {
    if (this.#stopped) return "volunteer";
    return this.circumstances.find((circumstance) => this.#reaction(circumstance) === "pause") ?? null;
  }

  /** Whether so much rest is owed that no lease bears it: nothing may be computed until it is paid, whatever is given. */
  get overdrawn(): boolean {
    return this.#overdrawn;
  }

  /** The volunteer's own pause. */
  set stopped(stopped: boolean) {
    this.#stopped = stopped;
  }

  /** Throws RangeError unless 0 < share ≤ 1. What a smaller share owed is forgiven. */
  setShare(share: number): void {
    if (checkShare(share) > this.#wanted) {
      this.#owed = Math.min(this.#owed, 0);
      this.#overdrawn = false;
    }
    this.#wanted = share;
  }

  setPolicies(policies: Partial<Policies>): void {
    this.#policies = { ...this.#policies, ...policies };
  }

  sense(conditions: Conditions): void {
    this.#conditions = conditions;
  }

  /** Time passes, also where nothing is computed. */
  tick(time: number): void {
    if (this.#owes(time) === 0) this.#overdrawn = false;
    if (!this.#slow || time - this.#settledAt < COOLED) return;
    this.#slow = false;
    this.#turningSince = null;
  }

  /** Longest time that one micro-batch took, in milliseconds; 0 before the first. */
  get patience(): number {
    return this.#longest;
  }

  /** So much time passed while a micro-batch was under way. A sleep, or the micro-batch: the next that takes as long is work. */
  suspect(milliseconds: number): void {
    this.#longest = Math.max(this.#longest, Math.min(milliseconds, LONGEST_SUSPECTED));
  }

  /** A new socket: the coordinator measures this client anew. */
  reset(): void {
    this.#speed = null;
    this.#lease = null;
    this.#restLeft = SAFE_REST;
  }

  /** Micro-batches to ask for at a time, at most `most`: few enough that a lease stays short at the present share. */
  capacity(most: number): number {
    if (this.share === 1 || this.#cost === null) return most;
    return Math.max(1, Math.min(most, Math.floor((LEASE_TARGET * this.share) / this.#cost)));
  }

  beginLease(microBatches: number, time: number): void {
    this.#lease = { microBatches, start: time };
    const expected = this.#speed === null ? 0 : microBatches / this.#speed;
    this.#restLeft = Math.min(Math.max(SAFE_REST, REST_FACTOR * expected), LONGEST_REST);
  }

  endLease(time: number): void {
    if (this.#lease === null) return;
    const { microBatches, start } = this.#lease;
    const measured = microBatches / Math.max(time - start, 1);
    this.#speed = this.#speed === null ? measured : this.#speed + SPEED_MEMORY * (measured - this.#speed);
    this.#lease = null;
  }

  /** Milliseconds to rest before the next micro-batch; no more than the lease bears, and what it does not bear stays owed. */
  takeRest(time: number): number {
    const rest = Math.min(this.#owes(time), this.#restLeft);
    this.#restLeft -= rest;
    return rest;
  }

  worked({ work, microBatches, busy, end }: Burst): void {
    const idle = end - busy - this.#settledAt;
    this.#owed = Math.max(this.#owed - idle, -MOST_CREDIT) + busy * (1 / this.share - 1);
    if (this.#owed > MOST_OWED) this.#overdrawn = true;
    this.#settledAt = end;
    if (microBatches > 0) this.#compare(work, microBatches, busy / microBatches, end);
  }

  #owes(time: number): number {
    return Math.max(0, this.#owed - (time - this.#settledAt));
  }

  /** One micro-batch's time against the best sustained one of such bursts. */
  #compare(work: string, microBatches: number, time: number, now: number): void {
    this.#longest = Math.max(this.#longest, time);
    if (work === "train") this.#cost = this.#cost === null ? time : this.#cost + SMOOTHING * (time - this.#cost);
    const kind = `${work} ${Math.ceil(Math.log2(microBatches))}`;
    const pace = this.#paces.get(kind) ?? { smoothed: time, best: Number.POSITIVE_INFINITY, bursts: 0 };
    this.#paces.set(kind, pace);
    pace.smoothed += SMOOTHING * (time - pace.smoothed);
    pace.bursts += 1;
    if (pace.bursts < SETTLED) return;
    pace.best = Math.min(pace.best, pace.smoothed);
    const ratio = pace.smoothed / pace.best;
    const turns = this.#slow ? ratio < RECOVERED_RATIO : ratio >= SLOW_RATIO;
    if (!turns) this.#turningSince = null;
    else this.#turningSince ??= now;
    if (this.#turningSince === null || now - this.#turningSince <= SUSTAINED) return;
    this.#slow = !this.#slow;
    this.#turningSince = null;
  }

  #reaction(circumstance: Circumstance): Reaction {
    const reaction = this.#policies[circumstance];
    const { battery } = this.#conditions;
    const isSpared = circumstance === "battery" && reaction === "pause" && battery !== null && battery >= LOW_BATTERY;
    return isSpared ? "ease" : reaction;
  }
}
