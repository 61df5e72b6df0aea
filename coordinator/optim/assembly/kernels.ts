/**
 * The inner loops over parameters, in AssemblyScript with 128-bit SIMD. Pointers are byte offsets into the one linear
 * memory, 16-byte aligned; counts are elements, multiples of 4. Plain IEEE operations only, no relaxed SIMD, so that every
 * machine computes the same bits.
 *
 * An optimizer's kernel takes weights, up to three state arrays (0 where the optimizer has none), gradients, a count and
 * the step's scalars: the five that all share (`adjust` and `KEEP`), then its own in the order of optimizers.ts.
 */

const LANE_BYTES: usize = 16;

// Scalars that every optimizer has, by index.
const SCALE: usize = 0;
const LIMIT: usize = 1;
const L2: usize = 2;
const L1: usize = 3;
const KEEP: usize = 4;
/** Index of the first that is the optimizer's own. */
const OWN: usize = 5;

/** sums[i] += incoming[i], both i32. Answers whether all of them were within ±bound; they are added in any case. */
export function addFixed32(sums: usize, incoming: usize, count: i32, bound: i32): bool {
  const end = sums + (<usize>count << 2);
  const most = i32x4.splat(bound);
  let beyond = i32x4.splat(0);
  while (sums < end) {
    const values = v128.load(incoming);
    // The least integer has no opposite: as an unsigned one it is beyond every bound.
    beyond = v128.or(beyond, i32x4.gt_u(i32x4.abs(values), most));
    v128.store(sums, i32x4.add(v128.load(sums), values));
    sums += LANE_BYTES;
    incoming += LANE_BYTES;
  }
  return !v128.any_true(beyond);
}

/** The same with i16 incoming. */
export function addFixed16(sums: usize, incoming: usize, count: i32, bound: i32): bool {
  const end = sums + (<usize>count << 2);
  const most = i32x4.splat(bound);
  let beyond = i32x4.splat(0);
  while (sums < end) {
    const values = v128.load_ext<i16>(incoming);
    beyond = v128.or(beyond, i32x4.gt_u(i32x4.abs(values), most));
    v128.store(sums, i32x4.add(v128.load(sums), values));
    sums += LANE_BYTES;
    incoming += 8;
  }
  return !v128.any_true(beyond);
}

/** sums[i] −= incoming[i], both i32: takes back what was added. */
export function subtractFixed32(sums: usize, incoming: usize, count: i32): void {
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    v128.store(sums, i32x4.sub(v128.load(sums), v128.load(incoming)));
    sums += LANE_BYTES;
    incoming += LANE_BYTES;
  }
}

/** The same with i16 incoming. */
export function subtractFixed16(sums: usize, incoming: usize, count: i32): void {
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    v128.store(sums, i32x4.sub(v128.load(sums), v128.load_ext<i16>(incoming)));
    sums += LANE_BYTES;
    incoming += 8;
  }
}

/**
 * sums[i] += incoming[i], packed as shared/codec/packed.ts says: the widths of its groups of 64, and their words. `lanes` has for
 * each width four vectors: the bytes that four values in a row lie in, what moves each to the top of its lane, and both again for the
 * four that follow, which may begin in the middle of a byte.
 */
export function addPacked(sums: usize, widths: usize, words: usize, count: i32, lanes: usize): void {
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    const width = <i32>load<u8>(widths++);
    const groupEnd = min(sums + 256, end);
    const bits = <i32>((groupEnd - sums) >> 2) * width;
    const next = words + (<usize>((bits + 31) >> 5) << 2);
    if (width == 0) {
      sums = groupEnd;
    } else {
      const vectors = lanes + (<usize>width << 6);
      const bytes = v128.load(vectors);
      const factors = v128.load(vectors, 16);
      const laterBytes = v128.load(vectors, 32);
      const laterFactors = v128.load(vectors, 48);
      const half = <usize>(width >> 1);
      const unused = 32 - width;
      while (sums < groupEnd) {
        const first = i32x4.shr_s(i32x4.mul(i8x16.swizzle(v128.load(words), bytes), factors), unused);
        v128.store(sums, i32x4.add(v128.load(sums), first));
        if (sums + 16 == groupEnd) {
          sums = groupEnd;
          break;
        }
        const second = i32x4.shr_s(i32x4.mul(i8x16.swizzle(v128.load(words + half), laterBytes), laterFactors), unused);
        v128.store(sums, i32x4.add(v128.load(sums, 16), second), 16);
        sums += 32;
        words += width;
      }
    }
    words = next;
  }
}

export { pack } from "../../../shared/codec/assembly/packed";

/** In place: i32 sums become f32 gradients, each block of 256 times its scale. */
export function decode(values: usize, scales: usize, count: i32): void {
  const end = values + (<usize>count << 2);
  while (values < end) {
    const scale = v128.load32_splat(scales);
    const blockEnd = min(values + 1024, end);
    while (values < blockEnd) {
      v128.store(values, f32x4.mul(f32x4.convert_i32x4_s(v128.load(values)), scale));
      values += LANE_BYTES;
    }
    scales += 4;
  }
}

/** Σ g² of what `decode` would make of the sums, which stay as they are: squares and sums in f64, in four lanes of fixed order. */
export function squaredNorm(sums: usize, scales: usize, count: i32): f64 {
  let lower = f64x2.splat(0);
  let upper = f64x2.splat(0);
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    const scale = v128.load32_splat(scales);
    const blockEnd = min(sums + 1024, end);
    while (sums < blockEnd) {
      const values = f32x4.mul(f32x4.convert_i32x4_s(v128.load(sums)), scale);
      const low = f64x2.promote_low_f32x4(values);
      const high = f64x2.promote_low_f32x4(i8x16.shuffle(values, values, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
      lower = f64x2.add(lower, f64x2.mul(low, low));
      upper = f64x2.add(upper, f64x2.mul(high, high));
      sums += LANE_BYTES;
    }
    scales += 4;
  }
  const sum = f64x2.add(lower, upper);
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}

/**
 * Brings what clients hold closer to the weights, in whole units of a grid: q = (w − h) · inverse, rounded and at most ±127, and
 * h ← h + q · unit, where unit is a power of two and inverse is 1 / unit. Writes q as i8; answers how many differ from zero, −1 if
 * a weight is not finite.
 */
export function approach(held: usize, weights: usize, target: usize, count: i32, unit: f32, inverse: f32): i32 {
  const units = f32x4.splat(unit);
  const inverses = f32x4.splat(inverse);
  const most = i32x4.splat(127);
  const least = i32x4.splat(-127);
  const zero = i32x4.splat(0);
  let changed = zero;
  let strange = zero;
  const end = held + (<usize>count << 2);
  while (held < end) {
    const before = v128.load(held);
    const lack = f32x4.sub(v128.load(weights), before);
    // What is not finite leaves something when it is taken from itself.
    strange = v128.or(strange, f32x4.ne(f32x4.sub(lack, lack), f32x4.splat(0)));
    const rounded = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(lack, inverses)));
    const q = i32x4.max_s(i32x4.min_s(rounded, most), least);
    v128.store(held, f32x4.add(before, f32x4.mul(f32x4.convert_i32x4_s(q), units)));
    changed = i32x4.sub(changed, i32x4.ne(q, zero));
    const halves = i16x8.narrow_i32x4_s(q, q);
    v128.store32_lane(target, i8x16.narrow_i16x8_s(halves, halves), 0);
    held += LANE_BYTES;
    weights += LANE_BYTES;
    target += 4;
  }
  if (v128.any_true(strange)) return -1;
  const low = i32x4.extract_lane(changed, 0) + i32x4.extract_lane(changed, 1);
  return low + i32x4.extract_lane(changed, 2) + i32x4.extract_lane(changed, 3);
}

/** Which of the 16 i8 values from here on differ from zero, by bit; of those of the array alone, of which `left` are left. */
@inline
function differing(values: usize, left: i32): i32 {
  const mask = i8x16.bitmask(i8x16.ne(v128.load(values), i8x16.splat(0)));
  return left < 16 ? mask & ((1 << left) - 1) : mask;
}

/** Of i8 values: how many differ from zero, the sum of their magnitudes less one each, and the index of the last, as three i32. */
export function surveySparse(values: usize, count: i32, figures: usize): void {
  let differ = 0;
  let magnitudes = 0;
  let last = -1;
  for (let at = 0; at < count; at += 16) {
    let mask = differing(values + at, count - at);
    if (mask == 0) continue;
    differ += popcnt(mask);
    last = at + 31 - clz(mask);
    for (; mask != 0; mask &= mask - 1) magnitudes += abs(<i32>load<i8>(values + at + ctz(mask))) - 1;
  }
  store<i32>(figures, differ);
  store<i32>(figures, magnitudes, 4);
  store<i32>(figures, last, 8);
}

/** Appends up to 32 bits at bit `at` of words, of which all behind it are written later; answers where the next ones go. */
@inline
function append(words: usize, at: u32, value: u64, bits: u32): u32 {
  const place = words + ((at >>> 5) << 2);
  const before = (at & 31) == 0 ? 0 : <u64>load<u32>(place);
  store<u64>(place, before | (value << <u64>(at & 31)));
  return at + bits;
}

/** Appends a Rice code: see shared/codec/sparse.ts. */
function appendRice(words: usize, start: u32, value: u32, shift: u32): u32 {
  let at = start;
  let ones = value >>> shift;
  for (; ones > 24; ones -= 24) at = append(words, at, (1 << 24) - 1, 24);
  at = append(words, at, (1 << ones) - 1, ones + 1);
  return append(words, at, value & ((1 << shift) - 1), shift);
}

/**
 * Writes the words of a sparse message (shared/codec/sparse.ts) of the i8 values, and up to 8 bytes behind them; answers how many bytes
 * the words take.
 */
export function encodeSparse(values: usize, count: i32, words: usize, gapShift: u32, magnitudeShift: u32): u32 {
  const gapMask: u32 = (1 << gapShift) - 1;
  const magnitudeMask: u32 = (1 << magnitudeShift) - 1;
  let at: u32 = 0;
  let before = -1;
  for (let from = 0; from < count; from += 16) {
    for (let mask = differing(values + from, count - from); mask != 0; mask &= mask - 1) {
      const index = from + ctz(mask);
      const value = <i32>load<i8>(values + index);
      const gap = <u32>(index - before - 1);
      const magnitude = <u32>(abs(value) - 1);
      const isNegative = <u32>(value >>> 31);
      const gapOnes = gap >>> gapShift;
      const magnitudeOnes = magnitude >>> magnitudeShift;
      const signAt = gapOnes + 1 + gapShift;
      const bits = signAt + 1 + magnitudeOnes + 1 + magnitudeShift;
      before = index;
      if (bits < 32) {
        // As nearly all are.
        const first = ((1 << gapOnes) - 1) | ((gap & gapMask) << (gapOnes + 1)) | (isNegative << signAt);
        const second = ((1 << magnitudeOnes) - 1) | ((magnitude & magnitudeMask) << (magnitudeOnes + 1));
        at = append(words, at, <u64>(first | (second << (signAt + 1))), bits);
      } else {
        at = appendRice(words, at, gap, gapShift);
        at = append(words, at, isNegative, 1);
        at = appendRice(words, at, magnitude, magnitudeShift);
      }
    }
  }
  return ((at + 31) >>> 5) << 2;
}

/** Scalar `index`, in all lanes. */
@inline
function scalar(scalars: usize, index: usize): v128 {
  return v128.load32_splat(scalars + (index << 2));
}

/** −1, 0 or 1 by lane. */
@inline
function sign(values: v128): v128 {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  return f32x4.sub(v128.and(f32x4.gt(values, zero), one), v128.and(f32x4.lt(values, zero), one));
}

/** In place: the scaled gradient, clamped to ±limit, plus the penalties' l2 · w + l1 · sign w. */
export function adjust(gradients: usize, weights: usize, count: i32, scalars: usize): void {
  const scale = scalar(scalars, SCALE);
  const limit = scalar(scalars, LIMIT);
  const lower = f32x4.neg(limit);
  const l2 = scalar(scalars, L2);
  const l1 = scalar(scalars, L1);
  const end = gradients + (<usize>count << 2);
  while (gradients < end) {
    const w = v128.load(weights);
    const clamped = f32x4.max(f32x4.min(f32x4.mul(v128.load(gradients), scale), limit), lower);
    const penalties = f32x4.add(f32x4.mul(w, l2), f32x4.mul(sign(w), l1));
    v128.store(gradients, f32x4.add(clamped, penalties));
    gradients += LANE_BYTES;
    weights += LANE_BYTES;
  }
}

/** w ← keep · w − by. */
@inline
function descend(weights: usize, keep: v128, by: v128): void {
  v128.store(weights, f32x4.sub(f32x4.mul(v128.load(weights), keep), by));
}

/** Own scalars: lr. w ← w − lr · g. */
export function sgd(weights: usize, _0: usize, _1: usize, _2: usize, gradients: usize, count: i32, scalars: usize): void {
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    descend(weights, keep, f32x4.mul(rate, v128.load(gradients)));
    weights += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/** Own scalars: lr, momentum, rest, gradientShare, bufferShare. b ← momentum · b + rest · g;  w ← w − lr · (gradientShare · g + bufferShare · b). */
export function momentum(weights: usize, buffer: usize, _1: usize, _2: usize, gradients: usize, count: i32, scalars: usize): void {
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const held = scalar(scalars, OWN + 1);
  const rest = scalar(scalars, OWN + 2);
  const gradientShare = scalar(scalars, OWN + 3);
  const bufferShare = scalar(scalars, OWN + 4);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    const g = v128.load(gradients);
    const b = f32x4.add(f32x4.mul(v128.load(buffer), held), f32x4.mul(g, rest));
    v128.store(buffer, b);
    const direction = f32x4.add(f32x4.mul(g, gradientShare), f32x4.mul(b, bufferShare));
    descend(weights, keep, f32x4.mul(rate, direction));
    weights += LANE_BYTES;
    buffer += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/** Own scalars: beta1, rest1, beta2, rest2, stepSize, inverseRootBias2, eps. m ← β₁·m + rest₁·g;  v ← β₂·v + rest₂·g²;  w ← w − stepSize · m / (√v · inverseRootBias2 + eps). */
export function adam(weights: usize, m: usize, v: usize, _2: usize, gradients: usize, count: i32, scalars: usize): void {
  adamStep(weights, m, v, gradients, count, scalars, false);
}

/** The same, and two more scalars: one of the shell's, and least, where the denominator is at least least · |m|. */
export function adamWithin(weights: usize, m: usize, v: usize, _2: usize, gradients: usize, count: i32, scalars: usize): void {
  adamStep(weights, m, v, gradients, count, scalars, true);
}

@inline
function adamStep(weights: usize, m: usize, v: usize, gradients: usize, count: i32, scalars: usize, isWithin: bool): void {
  const keep = scalar(scalars, KEEP);
  const beta1 = scalar(scalars, OWN);
  const rest1 = scalar(scalars, OWN + 1);
  const beta2 = scalar(scalars, OWN + 2);
  const rest2 = scalar(scalars, OWN + 3);
  const stepSize = scalar(scalars, OWN + 4);
  const inverseRootBias2 = scalar(scalars, OWN + 5);
  const eps = scalar(scalars, OWN + 6);
  const least = scalar(scalars, OWN + 8);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    const g = v128.load(gradients);
    const first = f32x4.add(f32x4.mul(v128.load(m), beta1), f32x4.mul(g, rest1));
    const second = f32x4.add(f32x4.mul(v128.load(v), beta2), f32x4.mul(f32x4.mul(g, g), rest2));
    v128.store(m, first);
    v128.store(v, second);
    const size = f32x4.add(f32x4.mul(f32x4.sqrt(second), inverseRootBias2), eps);
    const denominator = isWithin ? f32x4.max(size, f32x4.mul(f32x4.abs(first), least)) : size;
    descend(weights, keep, f32x4.div(f32x4.mul(stepSize, first), denominator));
    weights += LANE_BYTES;
    m += LANE_BYTES;
    v += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/**
 * Own scalars: lr, alpha, rest, eps, momentum. s ← α·s + rest·g²;  where means are kept a ← α·a + rest·g and the root is of s − a²;
 * d = g / (√s + eps);  where a buffer is kept b ← momentum·b + d and d is b;  w ← w − lr · d.
 */
export function rmsprop(weights: usize, squares: usize, means: usize, buffer: usize, gradients: usize, count: i32, scalars: usize): void {
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const alpha = scalar(scalars, OWN + 1);
  const rest = scalar(scalars, OWN + 2);
  const eps = scalar(scalars, OWN + 3);
  const held = scalar(scalars, OWN + 4);
  const zero = f32x4.splat(0);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    const g = v128.load(gradients);
    let square = f32x4.add(f32x4.mul(v128.load(squares), alpha), f32x4.mul(f32x4.mul(g, g), rest));
    v128.store(squares, square);
    if (means) {
      const mean = f32x4.add(f32x4.mul(v128.load(means), alpha), f32x4.mul(g, rest));
      v128.store(means, mean);
      // Rounding may take a variance of nothing below zero.
      square = f32x4.max(f32x4.sub(square, f32x4.mul(mean, mean)), zero);
      means += LANE_BYTES;
    }
    let direction = f32x4.div(g, f32x4.add(f32x4.sqrt(square), eps));
    if (buffer) {
      direction = f32x4.add(f32x4.mul(v128.load(buffer), held), direction);
      v128.store(buffer, direction);
      buffer += LANE_BYTES;
    }
    descend(weights, keep, f32x4.mul(rate, direction));
    weights += LANE_BYTES;
    squares += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/** Own scalars: lr, eps. s ← s + g²;  w ← w − lr · g / (√s + eps). */
export function adagrad(weights: usize, squares: usize, _1: usize, _2: usize, gradients: usize, count: i32, scalars: usize): void {
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const eps = scalar(scalars, OWN + 1);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    const g = v128.load(gradients);
    const square = f32x4.add(v128.load(squares), f32x4.mul(g, g));
    v128.store(squares, square);
    descend(weights, keep, f32x4.mul(rate, f32x4.div(g, f32x4.add(f32x4.sqrt(square), eps))));
    weights += LANE_BYTES;
    squares += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/** Own scalars: lr, beta1, rest1, beta2, rest2. w ← w − lr · sign(β₁·m + rest₁·g);  m ← β₂·m + rest₂·g. */
export function lion(weights: usize, m: usize, _1: usize, _2: usize, gradients: usize, count: i32, scalars: usize): void {
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const beta1 = scalar(scalars, OWN + 1);
  const rest1 = scalar(scalars, OWN + 2);
  const beta2 = scalar(scalars, OWN + 3);
  const rest2 = scalar(scalars, OWN + 4);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    const g = v128.load(gradients);
    const moment = v128.load(m);
    const direction = sign(f32x4.add(f32x4.mul(moment, beta1), f32x4.mul(g, rest1)));
    v128.store(m, f32x4.add(f32x4.mul(moment, beta2), f32x4.mul(g, rest2)));
    descend(weights, keep, f32x4.mul(rate, direction));
    weights += LANE_BYTES;
    m += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/** averages ← decay · averages + rest · weights. */
export function average(averages: usize, weights: usize, count: i32, decay: f32, rest: f32): void {
  const decays = f32x4.splat(decay);
  const rests = f32x4.splat(rest);
  const end = averages + (<usize>count << 2);
  while (averages < end) {
    v128.store(averages, f32x4.add(f32x4.mul(v128.load(averages), decays), f32x4.mul(v128.load(weights), rests)));
    averages += LANE_BYTES;
    weights += LANE_BYTES;
  }
}
