/**
 * Integers in as few bits as they need: groups of 64, each with a width of its own, the least that holds every value of the
 * group in two's complement; 0 where all are zero. Gradients are uneven (a pixel that is always dark, a unit that is off), so
 * this takes about half of what the widest group needs everywhere.
 *
 *   [widths: u8 × groups, padded to 16 bytes][each group: its values, lowest bits first, padded to 32-bit words]
 */

/** Values that share a width: a full group of width w is 2w words long. */
export const GROUP = 64;

/** Widest value that the kernels unpack: with the up to 7 bits before it, it lies in one 32-bit word from its byte on. */
export const MOST_BITS = 25;

const WORD_BITS = 32;
const WORD_BYTES = 4;

/** Bytes of the widths, where the words begin. */
export const packedWidthsBytes = (count: number): number => Math.ceil(Math.ceil(count / GROUP) / 16) * 16;

const wordsOf = (values: number, width: number): number => Math.ceil((values * width) / WORD_BITS);

/** Bytes of `count` packed values that all have this width. */
export function packedBytes(count: number, width: number): number {
  const whole = Math.floor(count / GROUP);
  const words = whole * wordsOf(GROUP, width) + wordsOf(count % GROUP, width);
  return packedWidthsBytes(count) + words * WORD_BYTES;
}

/** Least width that holds the values from `from` to `to`. */
function widthOf(values: Int32Array, from: number, to: number): number {
  let any = 0;
  let magnitudes = 0;
  for (let at = from; at < to; at++) {
    const value = values[at];
    any |= value;
    magnitudes |= value ^ (value >> 31);
  }
  return any === 0 ? 0 : WORD_BITS + 1 - Math.clz32(magnitudes);
}

/** Packs the values. Throws RangeError for one that needs more than `MOST_BITS`. */
export function pack(values: Int32Array): Uint8Array<ArrayBuffer> {
  const groups = Math.ceil(values.length / GROUP);
  const widths = new Uint8Array(groups);
  let words = 0;
  for (let group = 0, from = 0; group < groups; group++, from += GROUP) {
    const to = Math.min(from + GROUP, values.length);
    const width = widthOf(values, from, to);
    if (width > MOST_BITS) throw new RangeError(`a value needs ${width} bits, at most ${MOST_BITS} are packed`);
    widths[group] = width;
    words += wordsOf(to - from, width);
  }
  const start = packedWidthsBytes(values.length);
  const bytes = new Uint8Array(start + words * WORD_BYTES);
  bytes.set(widths);
  const packed = new Uint32Array(bytes.buffer, start, words);
  let word = 0;
  for (let group = 0, from = 0; group < groups; group++, from += GROUP) {
    const width = widths[group];
    if (width === 0) continue;
    const to = Math.min(from + GROUP, values.length);
    const mask = (1 << width) - 1;
    // Four values at a time, where they fit into a word, as nearly all do.
    const four = 4 * width <= WORD_BITS && to - from === GROUP;
    const step = four ? 4 * width : width;
    let held = 0;
    let bits = 0;
    for (let at = from; at < to; at += four ? 4 : 1) {
      let piece = values[at] & mask;
      if (four) {
        piece |= (values[at + 1] & mask) << width;
        piece |= (values[at + 2] & mask) << (2 * width);
        piece |= (values[at + 3] & mask) << (3 * width);
      }
      held |= piece << bits;
      bits += step;
      if (bits < WORD_BITS) continue;
      packed[word++] = held;
      bits -= WORD_BITS;
      held = bits === 0 ? 0 : piece >>> (step - bits);
    }
    if (bits > 0) packed[word++] = held;
  }
  return bytes;
}

/** Bytes of the words of `count` values, whose groups have these widths. */
export function packedWordsBytes(widths: Uint8Array, count: number): number {
  let words = 0;
  for (let group = 0, left = count; left > 0; group++, left -= GROUP)
    words += wordsOf(Math.min(GROUP, left), widths[group]);
  return words * WORD_BYTES;
}

/**
 * What is wrong with the packing of `count` values of at most `bits` bits, or null: widths in range, and exactly as many
 * bytes as they ask for. What passes can be unpacked without looking at any length again.
 * @param head the first bytes, the widths at least
 * @param byteLength of all of it
 */
export function findPackingFault(head: Uint8Array, byteLength: number, count: number, bits: number): string | null {
  const start = packedWidthsBytes(count);
  if (head.byteLength < start) return `${byteLength} bytes, the widths alone are ${start}`;
  const wide = head.subarray(0, Math.ceil(count / GROUP)).findIndex((width) => width > bits);
  if (wide >= 0) return `group ${wide} is ${head[wide]} bits wide, at most ${bits}`;
  const expected = start + packedWordsBytes(head, count);
  return byteLength === expected ? null : `${byteLength} bytes, the widths ask for ${expected}`;
}

/** Unpacks into `values`. The bytes have no fault (`findPackingFault`) and are aligned to 4. */
export function unpack(bytes: Uint8Array, values: Int32Array): void {
  const start = packedWidthsBytes(values.length);
  const packed = new Uint32Array(bytes.buffer, bytes.byteOffset + start, (bytes.byteLength - start) / WORD_BYTES);
  let word = 0;
  for (let group = 0, from = 0; from < values.length; group++, from += GROUP) {
    const width = bytes[group];
    const to = Math.min(from + GROUP, values.length);
    if (width === 0) {
      values.fill(0, from, to);
      continue;
    }
    const unused = WORD_BITS - width;
    let at = 0;
    for (let index = from; index < to; index++, at += width) {
      const low = word + (at >>> 5);
      const shift = at & 31;
      let value = packed[low] >>> shift;
      if (shift > unused) value |= packed[low + 1] << (WORD_BITS - shift);
      values[index] = (value << unused) >> unused;
    }
    word += wordsOf(to - from, width);
  }
}
