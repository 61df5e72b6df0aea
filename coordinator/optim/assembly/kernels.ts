/**
 * The inner loops over parameters, in AssemblyScript with 128-bit SIMD. Pointers are byte offsets into the one linear
 * memory, 16-byte aligned; counts are elements, multiples of 4. Plain IEEE operations only, no relaxed SIMD, so that every
 * machine computes the same bits.
 *
 * An optimizer's kernel takes a run, and reads each sum of it once: decoding, clipping, penalties and the update are one pass. Of the
 * step's scalars the first five are shared by all of them (`adjusts` and `KEEP`), its own follow in the order of optimizers.ts.
 */

/** A run of the flat space, in bytes, and what lies where the space begins. The shell writes one as ten u32. */
@unmanaged
class Run {
  from: usize;
  end: usize;
  weights: usize;
  /** Up to three arrays of state; 0 where the optimizer has none. */
  state0: usize;
  state1: usize;
  state2: usize;
  sums: usize;
  /** Of blocks of 256. */
  scales: usize;
  /** Where the mean gradient is kept; 0 for nowhere. */
  kept: usize;
  scalars: usize;
}

const LANE_BYTES: usize = 16;

/** Four vectors in a row: their places are immediate offsets of one address. */
@unmanaged
class Four {
  a: v128;
  b: v128;
  c: v128;
  d: v128;
}

const FOUR_BYTES: usize = 64;

@inline
function fourAt(address: usize): Four {
  return changetype<Four>(address);
}

// Scalars that every optimizer has, by index.
const SCALE: usize = 0;
const LIMIT: usize = 1;
const L2: usize = 2;
const L1: usize = 3;
const KEEP: usize = 4;
/** Index of the first that is the optimizer's own. */
const OWN: usize = 5;

/** The largest of four i32. */
@inline
function largest(lanes: v128): i32 {
  const pairs = i32x4.max_s(lanes, i32x4.shuffle(lanes, lanes, 2, 3, 0, 1));
  return max(i32x4.extract_lane(pairs, 0), i32x4.extract_lane(pairs, 1));
}

/** Whether values are within ±bound of which these are the extremes by lane, at least zero and at most zero. */
@inline
function areWithin(most: v128, least: v128, bound: i32): bool {
  const lowest = ~largest(v128.not(least));
  // The least integer has no opposite: as an unsigned one it is beyond every bound.
  return <u32>largest(most) <= <u32>bound && <u32>-lowest <= <u32>bound;
}

/** sums[i] += incoming[i], both i32. Answers whether all of them were within ±bound; they are added in any case. */
export function addFixed32(sums: usize, incoming: usize, count: i32, bound: i32): bool {
  const end = sums + (<usize>count << 2);
  const wholeEnd = end - (<usize>(count & 15) << 2);
  let most = i32x4.splat(0);
  let least = i32x4.splat(0);
  while (sums < wholeEnd) {
    const a = v128.load(incoming);
    const b = v128.load(incoming, 16);
    const c = v128.load(incoming, 32);
    const d = v128.load(incoming, 48);
    most = i32x4.max_s(most, i32x4.max_s(i32x4.max_s(a, b), i32x4.max_s(c, d)));
    least = i32x4.min_s(least, i32x4.min_s(i32x4.min_s(a, b), i32x4.min_s(c, d)));
    v128.store(sums, i32x4.add(v128.load(sums), a));
    v128.store(sums, i32x4.add(v128.load(sums, 16), b), 16);
    v128.store(sums, i32x4.add(v128.load(sums, 32), c), 32);
    v128.store(sums, i32x4.add(v128.load(sums, 48), d), 48);
    sums += 64;
    incoming += 64;
  }
  while (sums < end) {
    const values = v128.load(incoming);
    most = i32x4.max_s(most, values);
    least = i32x4.min_s(least, values);
    v128.store(sums, i32x4.add(v128.load(sums), values));
    sums += LANE_BYTES;
    incoming += LANE_BYTES;
  }
  return areWithin(most, least, bound);
}

/** The same with i16 incoming. */
export function addFixed16(sums: usize, incoming: usize, count: i32, bound: i32): bool {
  const end = sums + (<usize>count << 2);
  const wholeEnd = end - (<usize>(count & 15) << 2);
  let most = i16x8.splat(0);
  let least = i16x8.splat(0);
  while (sums < wholeEnd) {
    const a = v128.load(incoming);
    const b = v128.load(incoming, 16);
    most = i16x8.max_s(most, i16x8.max_s(a, b));
    least = i16x8.min_s(least, i16x8.min_s(a, b));
    v128.store(sums, i32x4.add(v128.load(sums), v128.load_ext<i16>(incoming)));
    v128.store(sums, i32x4.add(v128.load(sums, 16), v128.load_ext<i16>(incoming, 8)), 16);
    v128.store(sums, i32x4.add(v128.load(sums, 32), v128.load_ext<i16>(incoming, 16)), 32);
    v128.store(sums, i32x4.add(v128.load(sums, 48), v128.load_ext<i16>(incoming, 24)), 48);
    sums += 64;
    incoming += 32;
  }
  while (sums < end) {
    const values = v128.load64_zero(incoming);
    most = i16x8.max_s(most, values);
    least = i16x8.min_s(least, values);
    v128.store(sums, i32x4.add(v128.load(sums), i32x4.extend_low_i16x8_s(values)));
    sums += LANE_BYTES;
    incoming += 8;
  }
  return areWithin(
    i32x4.max_s(i32x4.extend_low_i16x8_s(most), i32x4.extend_high_i16x8_s(most)),
    i32x4.min_s(i32x4.extend_low_i16x8_s(least), i32x4.extend_high_i16x8_s(least)),
    bound,
  );
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

/** Σ g² of the mean gradient, the sums times the scale of their block of 256: squares and sums in f64, in four lanes of fixed order. */
export function squaredNorm(sums: usize, scales: usize, count: i32): f64 {
  let lower = f64x2.splat(0);
  let upper = f64x2.splat(0);
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    const scale = v128.load32_splat(scales);
    const blockEnd = min(sums + 1024, end);
    while (sums < blockEnd) {
      const values = decoded(v128.load(sums), scale);
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

/** Whether the scalars change a gradient before the optimizer sees it: clipped, clamped or with a penalty. */
@inline
function adjusts(scalars: usize): bool {
  return (
    load<f32>(scalars) != 1 ||
    load<f32>(scalars, LIMIT << 2) != <f32>Infinity ||
    load<f32>(scalars, L2 << 2) != 0 ||
    load<f32>(scalars, L1 << 2) != 0
  );
}

/** The scaled gradient, clamped to ±limit, plus the penalties' l2 · w + l1 · sign w. */
@inline
function adjusted(mean: v128, w: v128, scalars: usize): v128 {
  const limit = scalar(scalars, LIMIT);
  const clamped = f32x4.max(f32x4.min(f32x4.mul(mean, scalar(scalars, SCALE)), limit), f32x4.neg(limit));
  const penalties = f32x4.add(f32x4.mul(w, scalar(scalars, L2)), f32x4.mul(sign(w), scalar(scalars, L1)));
  return f32x4.add(clamped, penalties);
}

/** Where the block of 256 ends that `at` lies in, or the run before it does. */
@inline
function blockEnd(at: usize, end: usize): usize {
  return min((at | 1023) + 1, end);
}

/** What the sums of the block are multiplied by that `at` lies in, in all lanes. */
@inline
function scaleAt(at: usize, scales: usize): v128 {
  return v128.load32_splat(scales + ((at >> 10) << 2));
}

/** The mean gradient that sums of one block stand for. */
@inline
function decoded(sums: v128, scale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(sums), scale);
}

/** The gradient of the four parameters at `at`, as the optimizer is to see it: their sums times their block's scale. */
@inline
function gradientAt(
  at: usize,
  weights: usize,
  sums: usize,
  scale: v128,
  kept: usize,
  isAdjusted: bool,
  scalars: usize,
): v128 {
  const mean = decoded(v128.load(sums + at), scale);
  if (kept) v128.store(kept + at, mean);
  return isAdjusted ? adjusted(mean, v128.load(weights + at), scalars) : mean;
}

/** keep · w − by. */
@inline
function descended(w: v128, keep: v128, by: v128): v128 {
  return f32x4.sub(f32x4.mul(w, keep), by);
}

/** w ← keep · w − by. */
@inline
function descend(weight: usize, keep: v128, by: v128): void {
  v128.store(weight, descended(v128.load(weight), keep, by));
}

/** Own scalars: lr. w ← w − lr · g. */
export function sgd(run: Run): void {
  const weights = run.weights;
  const sums = run.sums;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, run.scales);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      descend(weights + at, keep, f32x4.mul(rate, gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars)));
    }
  }
}

/** Own scalars: lr, momentum, rest, gradientShare, bufferShare. b ← momentum · b + rest · g;  w ← w − lr · (gradientShare · g + bufferShare · b). */
export function momentum(run: Run): void {
  const weights = run.weights;
  const buffer = run.state0;
  const sums = run.sums;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const held = scalar(scalars, OWN + 1);
  const rest = scalar(scalars, OWN + 2);
  const gradientShare = scalar(scalars, OWN + 3);
  const bufferShare = scalar(scalars, OWN + 4);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, run.scales);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      const b = f32x4.add(f32x4.mul(v128.load(buffer + at), held), f32x4.mul(g, rest));
      v128.store(buffer + at, b);
      const direction = f32x4.add(f32x4.mul(g, gradientShare), f32x4.mul(b, bufferShare));
      descend(weights + at, keep, f32x4.mul(rate, direction));
    }
  }
}

/** Own scalars: beta1, rest1, beta2, rest2, stepSize, inverseRootBias2, eps. m ← β₁·m + rest₁·g;  v ← β₂·v + rest₂·g²;  w ← w − stepSize · m / (√v · inverseRootBias2 + eps). */
export function adam(run: Run): void {
  adamStep(run, false);
}

/** The same, and two more scalars: one of the shell's, and least, where the denominator is at least least · |m|. */
export function adamWithin(run: Run): void {
  adamStep(run, true);
}

/** √v · inverseRootBias2 + eps. */
@inline
function adamSize(v: v128, inverseRootBias2: v128, eps: v128): v128 {
  return f32x4.add(f32x4.mul(f32x4.sqrt(v), inverseRootBias2), eps);
}

/** A moment: share · before + rest · by. */
@inline
function mixed(before: v128, share: v128, by: v128, rest: v128): v128 {
  return f32x4.add(f32x4.mul(before, share), f32x4.mul(by, rest));
}

/**
 * The step of four vectors in a row whose gradients are as their sums say, as nearly all are. Stage by stage: with one vector at a time a
 * third of the instructions are addresses and branches.
 */
@inline
function adamFour(
  at: usize,
  weights: usize,
  m: usize,
  v: usize,
  sums: usize,
  scale: v128,
  keep: v128,
  beta1: v128,
  rest1: v128,
  beta2: v128,
  rest2: v128,
  stepSize: v128,
  inverseRootBias2: v128,
  eps: v128,
): void {
  const w4 = fourAt(weights + at);
  const m4 = fourAt(m + at);
  const v4 = fourAt(v + at);
  const s4 = fourAt(sums + at);
  const ga = decoded(s4.a, scale);
  const gb = decoded(s4.b, scale);
  const gc = decoded(s4.c, scale);
  const gd = decoded(s4.d, scale);
  const ma = mixed(m4.a, beta1, ga, rest1);
  const mb = mixed(m4.b, beta1, gb, rest1);
  const mc = mixed(m4.c, beta1, gc, rest1);
  const md = mixed(m4.d, beta1, gd, rest1);
  m4.a = ma;
  m4.b = mb;
  m4.c = mc;
  m4.d = md;
  const va = mixed(v4.a, beta2, f32x4.mul(ga, ga), rest2);
  const vb = mixed(v4.b, beta2, f32x4.mul(gb, gb), rest2);
  const vc = mixed(v4.c, beta2, f32x4.mul(gc, gc), rest2);
  const vd = mixed(v4.d, beta2, f32x4.mul(gd, gd), rest2);
  v4.a = va;
  v4.b = vb;
  v4.c = vc;
  v4.d = vd;
  const da = f32x4.div(f32x4.mul(stepSize, ma), adamSize(va, inverseRootBias2, eps));
  const db = f32x4.div(f32x4.mul(stepSize, mb), adamSize(vb, inverseRootBias2, eps));
  const dc = f32x4.div(f32x4.mul(stepSize, mc), adamSize(vc, inverseRootBias2, eps));
  const dd = f32x4.div(f32x4.mul(stepSize, md), adamSize(vd, inverseRootBias2, eps));
  w4.a = descended(w4.a, keep, da);
  w4.b = descended(w4.b, keep, db);
  w4.c = descended(w4.c, keep, dc);
  w4.d = descended(w4.d, keep, dd);
}

@inline
function adamStep(run: Run, isWithin: bool): void {
  const weights = run.weights;
  const m = run.state0;
  const v = run.state1;
  const sums = run.sums;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const beta1 = scalar(scalars, OWN);
  const rest1 = scalar(scalars, OWN + 1);
  const beta2 = scalar(scalars, OWN + 2);
  const rest2 = scalar(scalars, OWN + 3);
  const stepSize = scalar(scalars, OWN + 4);
  const inverseRootBias2 = scalar(scalars, OWN + 5);
  const eps = scalar(scalars, OWN + 6);
  const least = scalar(scalars, OWN + 8);
  const isPlain = !isWithin && !isAdjusted && !kept;
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, run.scales);
    const until = blockEnd(at, end);
    if (isPlain) {
      for (const whole = at + ((until - at) & ~(FOUR_BYTES - 1)); at < whole; at += FOUR_BYTES) {
        adamFour(at, weights, m, v, sums, scale, keep, beta1, rest1, beta2, rest2, stepSize, inverseRootBias2, eps);
      }
    }
    for (; at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      const first = mixed(v128.load(m + at), beta1, g, rest1);
      const second = mixed(v128.load(v + at), beta2, f32x4.mul(g, g), rest2);
      v128.store(m + at, first);
      v128.store(v + at, second);
      const size = adamSize(second, inverseRootBias2, eps);
      const denominator = isWithin ? f32x4.max(size, f32x4.mul(f32x4.abs(first), least)) : size;
      descend(weights + at, keep, f32x4.div(f32x4.mul(stepSize, first), denominator));
    }
  }
}

/**
 * Own scalars: lr, alpha, rest, eps, momentum. s ← α·s + rest·g²;  where means are kept a ← α·a + rest·g and the root is of s − a²;
 * d = g / (√s + eps);  where a buffer is kept b ← momentum·b + d and d is b;  w ← w − lr · d.
 */
export function rmsprop(run: Run): void {
  const weights = run.weights;
  const squares = run.state0;
  const means = run.state1;
  const buffer = run.state2;
  const sums = run.sums;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const alpha = scalar(scalars, OWN + 1);
  const rest = scalar(scalars, OWN + 2);
  const eps = scalar(scalars, OWN + 3);
  const held = scalar(scalars, OWN + 4);
  const zero = f32x4.splat(0);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, run.scales);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      let square = f32x4.add(f32x4.mul(v128.load(squares + at), alpha), f32x4.mul(f32x4.mul(g, g), rest));
      v128.store(squares + at, square);
      if (means) {
        const mean = f32x4.add(f32x4.mul(v128.load(means + at), alpha), f32x4.mul(g, rest));
        v128.store(means + at, mean);
        // Rounding may take a variance of nothing below zero.
        square = f32x4.max(f32x4.sub(square, f32x4.mul(mean, mean)), zero);
      }
      let direction = f32x4.div(g, f32x4.add(f32x4.sqrt(square), eps));
      if (buffer) {
        direction = f32x4.add(f32x4.mul(v128.load(buffer + at), held), direction);
        v128.store(buffer + at, direction);
      }
      descend(weights + at, keep, f32x4.mul(rate, direction));
    }
  }
}

/** Own scalars: lr, eps. s ← s + g²;  w ← w − lr · g / (√s + eps). */
export function adagrad(run: Run): void {
  const weights = run.weights;
  const squares = run.state0;
  const sums = run.sums;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const eps = scalar(scalars, OWN + 1);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, run.scales);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      const square = f32x4.add(v128.load(squares + at), f32x4.mul(g, g));
      v128.store(squares + at, square);
      descend(weights + at, keep, f32x4.mul(rate, f32x4.div(g, f32x4.add(f32x4.sqrt(square), eps))));
    }
  }
}

/** Own scalars: lr, beta1, rest1, beta2, rest2. w ← w − lr · sign(β₁·m + rest₁·g);  m ← β₂·m + rest₂·g. */
export function lion(run: Run): void {
  const weights = run.weights;
  const m = run.state0;
  const sums = run.sums;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const beta1 = scalar(scalars, OWN + 1);
  const rest1 = scalar(scalars, OWN + 2);
  const beta2 = scalar(scalars, OWN + 3);
  const rest2 = scalar(scalars, OWN + 4);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, run.scales);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      const moment = v128.load(m + at);
      const direction = sign(f32x4.add(f32x4.mul(moment, beta1), f32x4.mul(g, rest1)));
      v128.store(m + at, f32x4.add(f32x4.mul(moment, beta2), f32x4.mul(g, rest2)));
      descend(weights + at, keep, f32x4.mul(rate, direction));
    }
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
