/**
 * What a client reads and writes for every step, in AssemblyScript. Pointers are byte offsets into the one linear memory. One change is
 * read at a time: `open`, then `change` for one part of the weights after the other, then `isWhole`.
 */

export { pack } from "../../../shared/codec/assembly/packed";

/** Of a message of shared/codec/sparse.ts. */
const HEAD_BYTES: usize = 8;
const LARGEST_SHIFT: u32 = 24;
/** Known of the bits from anywhere on, where 64 are loaded from the byte that it lies in. */
const KNOWN: u32 = 57;
/** Index of no weight. */
const NONE: u32 = 0xffffffff;

let words: usize = 0;
/** In bits, as positions are. */
let end: u32 = 0;
let position: u32 = 0;
let length: u32 = 0;
let gapShift: u32 = 0;
let magnitudeShift: u32 = 0;
let unit: f32 = 0;
/** Values that were not read yet. */
let left: u32 = 0;
/** Where the value that was read last goes, and what is added there. */
let next: u32 = NONE;
let amount: f32 = 0;

/** The 57 bits and more from here on. What follows the message is zero, so that every run of ones ends. */
@inline
function bitsAt(at: u32): u64 {
  return load<u64>(words + (at >>> 3)) >>> (at & 7);
}

function rice(shift: u32): u64 {
  let ones: u64 = 0;
  for (;;) {
    const run = min<u32>(<u32>ctz(~bitsAt(position)), KNOWN);
    ones += run;
    position += run;
    if (run < KNOWN) break;
  }
  position += 1;
  const low = bitsAt(position) & ((<u64>1 << shift) - 1);
  position += shift;
  return (ones << shift) + low;
}

/** Reads the next value, whatever its length; false where there is something wrong with it. */
function readAny(before: i64): bool {
  const at = <u64>(before + 1) + rice(gapShift);
  const isNegative = (bitsAt(position) & 1) == 1;
  position += 1;
  const magnitude = <f32>(rice(magnitudeShift) + 1) * unit;
  if (position > end || at >= length) return false;
  next = <u32>at;
  amount = isNegative ? -magnitude : magnitude;
  return true;
}

/**
 * Begins to read a message, behind which 16 bytes are zero. Answers false where there is something wrong with it, as all functions here
 * do: what was computed is then of no use.
 * @param size bytes of the message, a multiple of 4 @param values of the array that was encoded @param multiple of what they are given in
 */
export function open(message: usize, size: u32, values: u32, multiple: f32): bool {
  if (size < HEAD_BYTES) return false;
  words = message + HEAD_BYTES;
  end = (size - <u32>HEAD_BYTES) << 3;
  position = 0;
  length = values;
  left = load<u32>(message);
  gapShift = load<u8>(message, 4);
  magnitudeShift = load<u8>(message, 5);
  unit = multiple;
  next = NONE;
  if (left > length || gapShift > LARGEST_SHIFT || magnitudeShift > LARGEST_SHIFT || load<u16>(message, 6) != 0) return false;
  if (left == 0) return true;
  left -= 1;
  // Before the first one lies −1.
  return readAny(-1);
}

/** Adds what belongs to the weights `from` to `to`, which begin at `weights`. Parts are in order. */
export function change(weights: usize, from: u32, to: u32): bool {
  const gapMask = (<u64>1 << gapShift) - 1;
  const magnitudeMask = (<u64>1 << magnitudeShift) - 1;
  while (next < to) {
    const place = weights + (<usize>(next - from) << 2);
    store<f32>(place, load<f32>(place) + amount);
    if (left == 0) {
      next = NONE;
      return true;
    }
    left -= 1;
    const bits = bitsAt(position);
    const gapOnes = <u32>ctz(~bits);
    const signAt = gapOnes + 1 + gapShift;
    const magnitudeOnes = <u32>ctz(~(bits >>> (signAt + 1)));
    const lowAt = signAt + magnitudeOnes + 2;
    if (lowAt + magnitudeShift > KNOWN) {
      if (!readAny(next)) return false;
      continue;
    }
    const at = next + 1 + (gapOnes << gapShift) + <u32>((bits >>> (gapOnes + 1)) & gapMask);
    position += lowAt + magnitudeShift;
    if (position > end || at >= length) return false;
    const low = <u32>((bits >>> lowAt) & magnitudeMask);
    const magnitude = <f32>((magnitudeOnes << magnitudeShift) + low + 1) * unit;
    next = at;
    amount = ((bits >>> signAt) & 1) == 1 ? -magnitude : magnitude;
  }
  return true;
}

/** Whether every value was read, and nothing follows. */
export function isWhole(): bool {
  return left == 0 && next == NONE && ((position + 31) & ~31) == end;
}
