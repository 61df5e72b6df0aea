/**
 * How much of a core was ours. Two threads of a processor can share one core, and on a rented machine the other one may be somebody
 * else's: whatever executes much then takes half as long again, whatever waits takes as long as ever, and no operating system's
 * figure tells. A loop of independent additions tells: it takes one of two times. (One time and a half is also what a clock makes that
 * falls by a third while the bench runs.)
 */

/** Turns of the loop that are timed at once: a tenth to a third of a millisecond, for neighbours come and go within one. */
const TURNS = 100_000;
/** Loops of one look. */
const LOOPS = 40;
/** Until the loop is compiled. */
const FIRST_LOOPS = 200;
/** A loop that takes so many times as long as the shortest had a neighbour. */
const SHARED_FROM = 1.25;

/** Eight sums that wait for nothing but themselves. */
function add(turns: number): number {
  let a = 1;
  let b = 2;
  let c = 3;
  let d = 4;
  let e = 5;
  let f = 6;
  let g = 7;
  let h = 8;
  for (let turn = 0; turn < turns; turn++) {
    a = (a + turn) | 0;
    b = b ^ turn;
    c = (c - turn) | 0;
    d = d | turn;
    e = (e + turn) | 0;
    f = f ^ turn;
    g = (g - turn) | 0;
    h = h & turn;
  }
  return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
}

/** Milliseconds of one loop. */
function timeLoop(): number {
  const start = performance.now();
  const sum = add(TURNS);
  const time = performance.now() - start;
  // Always so, but no compiler can know it and leave the loop out.
  return Number.isInteger(sum) ? time : Number.NaN;
}

export class CoreGauge {
  readonly #timeLoop: () => number;
  /** Of all looks: what a loop takes on a core of its own. Where it was never alone, less is said to be shared than was. */
  #least = Number.POSITIVE_INFINITY;
  #times: number[] = [];

  constructor(loop: () => number = timeLoop) {
    this.#timeLoop = loop;
    for (let count = 0; count < FIRST_LOOPS; count++) this.#timeLoop();
  }

  /** Takes some milliseconds. */
  look(): void {
    for (let count = 0; count < LOOPS; count++) {
      const time = this.#timeLoop();
      this.#least = Math.min(this.#least, time);
      this.#times.push(time);
    }
  }

  /** Of the loops since this was asked last, the part that had a neighbour; null where there were none. */
  takeShared(): number | null {
    const times = this.#times;
    this.#times = [];
    if (times.length === 0) return null;
    return times.filter((time) => time > SHARED_FROM * this.#least).length / times.length;
  }
}
