/**
 * Integers of which most are zero: how far each other one lies behind the one before, and the value itself, both in Rice codes
 * of a length that the whole message shares. Where one value in n differs from zero, a message takes about log₂ n + 3 bits for each
 * of those, a few hundredths above their entropy, and nothing for the others.
 *
 *   [count: u32][gap's shift: u8][magnitude's shift: u8][0: u16][values, lowest bits first, padded to 32-bit words]
 *   a value: Rice(zeros before it), sign, Rice(|value| − 1);  Rice(n) with shift k: ⌊n / 2ᵏ⌋ ones, a zero, the k low bits of n
 *
 * Rice and Plaunt, "Adaptive Variable-Length Coding for Efficient Compression of Spacecraft Television Data", 1971.
 */

const HEAD_BYTES = 8;
const WORD_BITS = 32;
const WORD_BYTES = 4;
const LARGEST_SHIFT = 24;
/** Values that are handed over at a time. */
const BATCH = 1024;
/** Ones that are written at a time. */
const RUN_BITS = 24;

export type SparseValues = Int8Array | Int32Array;

interface Code {
  readonly shift: number;
  /** At most. */
  readonly bits: number;
}

/** Shift for `count` numbers that add up to `sum`, which is the shortest by the bound on its bits. */
function codeFor(count: number, sum: number): Code {
  let best: Code = { shift: 0, bits: count + sum };
  for (let shift = 1; shift <= LARGEST_SHIFT; shift++) {
    const bits = count * (1 + shift) + Math.floor(sum / 2 ** shift);
    if (bits >= best.bits) return best;
    best = { shift, bits };
  }
  return best;
}

const bytesOfBits = (bits: number): number => HEAD_BYTES + Math.ceil(bits / WORD_BITS) * WORD_BYTES;

/** What decides how values are written. */
export interface SparseFigures {
  /** Values that differ from zero. */
  readonly count: number;
  /** Σ (|value| − 1) over them. */
  readonly magnitudes: number;
  /** Index of the last of them; −1 where there is none. */
  readonly last: number;
}

export interface SparsePlan {
  readonly gapShift: number;
  readonly magnitudeShift: number;
  /** Bytes of the whole message, at most. */
  readonly most: number;
}

export function planSparse({ count, magnitudes, last }: SparseFigures): SparsePlan {
  const gap = codeFor(count, last + 1 - count);
  const magnitude = codeFor(count, magnitudes);
  const most = bytesOfBits(gap.bits + count + magnitude.bits);
  return { gapShift: gap.shift, magnitudeShift: magnitude.shift, most };
}

function writeHead(bytes: Uint8Array<ArrayBuffer>, count: number, { gapShift, magnitudeShift }: SparsePlan): void {
  const view = new DataView(bytes.buffer);
  view.setUint32(0, count, true);
  view.setUint8(4, gapShift);
  view.setUint8(5, magnitudeShift);
}

/** A message whose words were written elsewhere. */
export function sparseMessage({ count }: SparseFigures, plan: SparsePlan, words: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEAD_BYTES + words.byteLength);
  writeHead(bytes, count, plan);
  bytes.set(words, HEAD_BYTES);
  return bytes;
}

/** Most bytes that `length` values take of which at most `count` differ from zero, none by more than `largest`. */
export function sparseBytes(length: number, count: number, largest: number): { least: number; most: number } {
  const bits = codeFor(count, length).bits + count + codeFor(count, count * (largest - 1)).bits;
  return { least: HEAD_BYTES, most: bytesOfBits(bits) };
}

class BitWriter {
  readonly words: Uint32Array<ArrayBuffer>;
  #word = 0;
  #bits = 0;

  constructor(words: Uint32Array<ArrayBuffer>) {
    this.words = words;
  }

  /** Bytes written so far, whole words. */
  get byteLength(): number {
    return (this.#word + (this.#bits > 0 ? 1 : 0)) * WORD_BYTES;
  }

  /** @param bits at most 31, of which `value` has no more */
  write(value: number, bits: number): void {
    this.words[this.#word] |= value << this.#bits;
    this.#bits += bits;
    if (this.#bits < WORD_BITS) return;
    this.#word += 1;
    this.#bits -= WORD_BITS;
    if (this.#bits > 0) this.words[this.#word] = value >>> (bits - this.#bits);
  }

  /** One value that differs from zero; nearly all fit into one write. */
  value(gap: number, gapShift: number, isNegative: boolean, magnitude: number, magnitudeShift: number): void {
    const gapOnes = gap >>> gapShift;
    const magnitudeOnes = magnitude >>> magnitudeShift;
    const bits = gapOnes + 1 + gapShift + 1 + magnitudeOnes + 1 + magnitudeShift;
    if (bits < WORD_BITS) {
      const signAt = gapOnes + 1 + gapShift;
      const lowAt = signAt + 1 + magnitudeOnes + 1;
      this.write(
        ((1 << gapOnes) - 1) |
          ((gap & ((1 << gapShift) - 1)) << (gapOnes + 1)) |
          ((isNegative ? 1 : 0) << signAt) |
          (((1 << magnitudeOnes) - 1) << (signAt + 1)) |
          ((magnitude & ((1 << magnitudeShift) - 1)) << lowAt),
        bits,
      );
      return;
    }
    this.#rice(gap, gapShift);
    this.write(isNegative ? 1 : 0, 1);
    this.#rice(magnitude, magnitudeShift);
  }

  #rice(value: number, shift: number): void {
    let ones = value >>> shift;
    for (; ones > RUN_BITS; ones -= RUN_BITS) this.write(2 ** RUN_BITS - 1, RUN_BITS);
    this.write(2 ** ones - 1, ones + 1);
    if (shift > 0) this.write(value & (2 ** shift - 1), shift);
  }
}

/** Values in one word. */
const OF_WORD = 4;

/** Four bytes at a time, where that can be: zeros are skipped by the word. */
function wordsOf(values: SparseValues): Int32Array | null {
  if (values instanceof Int32Array || values.byteOffset % OF_WORD !== 0) return null;
  return new Int32Array(values.buffer, values.byteOffset, Math.floor(values.length / OF_WORD));
}

/** Index of the first value from `index` on that differs from zero, or the length. */
function nextOf(values: SparseValues, words: Int32Array | null, index: number): number {
  let at = index;
  while (at < values.length && values[at] === 0) {
    at += 1;
    if (words === null || at % OF_WORD !== 0) continue;
    let word = at / OF_WORD;
    while (word < words.length && words[word] === 0) word += 1;
    at = word * OF_WORD;
  }
  return at;
}

export function encodeSparse(values: SparseValues): Uint8Array<ArrayBuffer> {
  const quads = wordsOf(values);
  let count = 0;
  let magnitudes = 0;
  let last = -1;
  for (let at = nextOf(values, quads, 0); at < values.length; at = nextOf(values, quads, at + 1)) {
    count += 1;
    magnitudes += Math.abs(values[at]) - 1;
    last = at;
  }
  const plan = planSparse({ count, magnitudes, last });
  const bytes = new Uint8Array(plan.most);
  writeHead(bytes, count, plan);
  const writer = new BitWriter(new Uint32Array(bytes.buffer, HEAD_BYTES));
  let before = -1;
  for (let at = nextOf(values, quads, 0); at <= last; at = nextOf(values, quads, at + 1)) {
    const value = values[at];
    writer.value(at - before - 1, plan.gapShift, value < 0, Math.abs(value) - 1, plan.magnitudeShift);
    before = at;
  }
  return bytes.subarray(0, HEAD_BYTES + writer.byteLength);
}

/** How many ones a word begins with, from its lowest bit on. */
function onesOf(word: number): number {
  // Its lowest zero is the lowest one of its complement.
  const zeros = ~word;
  return zeros === 0 ? WORD_BITS : 31 - Math.clz32(zeros & -zeros);
}

/** Reads the values that differ from zero, in order. What is wrong with a message ends it and is said by `fault`. */
export class SparseReader {
  /** Why reading stopped before the end, or what follows the end; null where all is well. */
  fault: string | null = null;
  /** Values of the whole message that differ from zero, as it says. */
  readonly count: number;
  readonly #length: number;
  readonly #words: Uint32Array;
  readonly #gapShift: number;
  readonly #magnitudeShift: number;
  /** In bits. */
  readonly #end: number;
  #at = 0;
  #left = 0;
  /** Of the value that was read last. */
  #index = -1;
  #value = 0;

  /** @param bytes aligned to 4 @param length of the array that was encoded */
  constructor(bytes: Uint8Array, length: number) {
    this.#length = length;
    const isCut = bytes.byteLength < HEAD_BYTES || bytes.byteLength % WORD_BYTES !== 0;
    const { buffer, byteOffset, byteLength } = isCut ? new Uint8Array(HEAD_BYTES) : bytes;
    const view = new DataView(buffer, byteOffset, HEAD_BYTES);
    this.count = view.getUint32(0, true);
    this.#gapShift = view.getUint8(4);
    this.#magnitudeShift = view.getUint8(5);
    this.#words = new Uint32Array(buffer, byteOffset + HEAD_BYTES, (byteLength - HEAD_BYTES) / WORD_BYTES);
    this.#end = this.#words.length * WORD_BITS;
    this.#left = this.count;
    if (isCut) this.fault = `${bytes.byteLength} bytes are no whole message`;
    else if (this.count > length) this.fault = `${this.count} values differ from zero, there are ${length}`;
    else if (this.#gapShift > LARGEST_SHIFT || this.#magnitudeShift > LARGEST_SHIFT || view.getUint16(6, true) !== 0) {
      this.fault = `shifts ${this.#gapShift} and ${this.#magnitudeShift}, at most ${LARGEST_SHIFT}`;
    }
  }

  /** Hands over one value after the other until one is not taken. @returns whether all were, which those up to a fault are, too */
  every(take: (index: number, value: number) => boolean): boolean {
    const indices = new Int32Array(BATCH);
    const values = new Int32Array(BATCH);
    for (let count = this.read(indices, values); count > 0; count = this.read(indices, values)) {
      for (let at = 0; at < count; at++) if (!take(indices[at], values[at])) return false;
    }
    return true;
  }

  /**
   * Reads some of the next values, and writes where they lie and what they are.
   * @param values as long as `indices`
   * @returns how many: 0 after the last one, and at a fault
   */
  read(indices: Int32Array, values: Int32Array): number {
    if (this.fault !== null) return 0;
    if (this.#left === 0 && Math.ceil(this.#at / WORD_BITS) !== this.#words.length) {
      this.fault = "more follows the last value";
      return 0;
    }
    // Of the values that lie within 32 bits, as nearly all do. Whatever else comes is read by itself.
    const length = this.#length;
    const words = this.#words;
    const whole = words.length - 1;
    const gapShift = this.#gapShift;
    const gapMask = (1 << gapShift) - 1;
    const magnitudeShift = this.#magnitudeShift;
    const magnitudeMask = (1 << magnitudeShift) - 1;
    const most = Math.min(indices.length, this.#left);
    let at = this.#at;
    let index = this.#index;
    let count = 0;
    for (; count < most; count++) {
      const word = at >>> 5;
      if (word >= whole) break;
      const shift = at & 31;
      const window = (words[word] >>> shift) | ((words[word + 1] << (31 - shift)) << 1);
      const gapOnes = onesOf(window);
      const signAt = gapOnes + 1 + gapShift;
      if (signAt + 2 + magnitudeShift > WORD_BITS) break;
      const magnitudeOnes = onesOf(window >>> (signAt + 1));
      const lowAt = signAt + magnitudeOnes + 2;
      if (lowAt + magnitudeShift > WORD_BITS) break;
      // Both lie within the window: no shift overflows.
      const next = index + (gapOnes << gapShift) + ((window >>> (gapOnes + 1)) & gapMask) + 1;
      if (next >= length) break;
      index = next;
      const low = magnitudeShift === 0 ? 0 : (window >>> lowAt) & magnitudeMask;
      const magnitude = (magnitudeOnes << magnitudeShift) + low + 1;
      indices[count] = index;
      values[count] = ((window >>> signAt) & 1) === 1 ? -magnitude : magnitude;
      at += lowAt + magnitudeShift;
    }
    this.#at = at;
    this.#index = index;
    this.#left -= count;
    if (count === most || !this.#readAny()) return count;
    indices[count] = this.#index;
    values[count] = this.#value;
    return count + 1;
  }

  /** The next value, whatever its length; false at a fault. */
  #readAny(): boolean {
    this.#left -= 1;
    this.#index += this.#rice(this.#gapShift) + 1;
    const isNegative = (this.#window() & 1) === 1;
    this.#at += 1;
    const magnitude = this.#rice(this.#magnitudeShift) + 1;
    this.#value = isNegative ? -magnitude : magnitude;
    if (this.#at > this.#end) this.fault = "the message ends within a value";
    else if (this.#index >= this.#length) this.fault = `value ${this.#index} of ${this.#length}`;
    return this.fault === null;
  }

  /** The 32 bits from here on; zeros behind the end, so that every run of ones ends. */
  #window(): number {
    const word = this.#at >>> 5;
    const shift = this.#at & 31;
    if (word >= this.#words.length) return 0;
    const low = this.#words[word] >>> shift;
    return shift === 0 || word + 1 === this.#words.length ? low : low | (this.#words[word + 1] << (WORD_BITS - shift));
  }

  #rice(shift: number): number {
    let ones = 0;
    for (;;) {
      const run = onesOf(this.#window());
      ones += run;
      this.#at += run;
      if (run < WORD_BITS) break;
    }
    this.#at += 1;
    if (shift === 0) return ones;
    const low = this.#window() & (2 ** shift - 1);
    this.#at += shift;
    return ones * 2 ** shift + low;
  }
}

/** What is wrong with a message of `length` values, of which at most `count` may differ from zero and none by more than `largest`. */
export function findSparseFault(bytes: Uint8Array, length: number, count: number, largest: number): string | null {
  const reader = new SparseReader(bytes, length);
  if (reader.count > count) return `${reader.count} values differ from zero, at most ${count} may`;
  let beyond: string | null = null;
  reader.every((index, value) => {
    if (Math.abs(value) > largest) beyond = `value ${index} is ${value}, at most ±${largest}`;
    return beyond === null;
  });
  return beyond ?? reader.fault;
}
