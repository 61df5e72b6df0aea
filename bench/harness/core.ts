/**
 * How much of a core was ours. Two threads of a processor can share one core, and on a rented machine the other one may be somebody
 * else's: whatever executes much then takes half as long again, whatever waits takes as long as ever, and no operating system's
 * figure tells. Two loops tell: independent additions take one of two times beside a chain of multiplications, which always takes the
 * same number of cycles, however fast these are.
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

/** Each product waits for the one before. */
function multiply(turns: number): number {
  let product = 1;
  for (let turn = 0; turn < turns; turn++) product = Math.imul(product, 3);
  return product;
}

/** Milliseconds of one loop. */
function timed(loop: (turns: number) => number): () => number {
  return () => {
    const start = performance.now();
    const result = loop(TURNS);
    const time = performance.now() - start;
    // Always so, but no compiler can know it and leave the loop out.
    return Number.isInteger(result) ? time : Number.NaN;
  };
}

export class CoreGauge {
  readonly #additions: () => number;
  readonly #chain: () => number;
  /** Of all looks: what additions take on a core of their own. Where they were never alone, less is said to be shared than was. */
  #least = Number.POSITIVE_INFINITY;
  /** Of additions, in times of the chain. */
  #times: number[] = [];

  constructor(additions: () => number = timed(add), chain: () => number = timed(multiply)) {
    this.#additions = additions;
    this.#chain = chain;
    for (let count = 0; count < FIRST_LOOPS; count++) this.#lookOnce();
  }

  /** Takes some milliseconds. */
  look(): void {
    const looks = Array.from({ length: LOOPS }, () => this.#lookOnce());
    // The shortest was not interrupted.
    const unit = Math.min(...looks.map(({ chain }) => chain));
    const times = looks.map(({ additions }) => additions / unit);
    this.#least = Math.min(this.#least, ...times);
    this.#times.push(...times);
  }

  #lookOnce(): { readonly additions: number; readonly chain: number } {
    return { additions: this.#additions(), chain: this.#chain() };
  }

  /** Of the additions since this was asked last, the part that had a neighbour; null where there were none. */
  takeShared(): number | null {
    const times = this.#times;
    this.#times = [];
    if (times.length === 0) return null;
    return times.filter((time) => time > SHARED_FROM * this.#least).length / times.length;
  }
}
