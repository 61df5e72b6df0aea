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

/** Whether none of four u32 is above the bound. */
@inline
function areWithin(magnitudes: v128, bound: i32): bool {
  const pairs = i32x4.max_u(magnitudes, i32x4.shuffle(magnitudes, magnitudes, 2, 3, 0, 1));
  return max<u32>(i32x4.extract_lane(pairs, 0), i32x4.extract_lane(pairs, 1)) <= <u32>bound;
}

/** Adds four vectors to those in a row from `sums` on. */
@inline
function addFour(sums: usize, a: v128, b: v128, c: v128, d: v128): void {
  const s4 = fourAt(sums);
  s4.a = i32x4.add(s4.a, a);
  s4.b = i32x4.add(s4.b, b);
  s4.c = i32x4.add(s4.c, c);
  s4.d = i32x4.add(s4.d, d);
}

/** Adds 16 i32 to as many sums. Answers the largest magnitudes by lane, unsigned, for the least integer has no opposite. */
@inline
function addLine32(sums: usize, incoming: usize): v128 {
  const i4 = fourAt(incoming);
  const a = i4.a;
  const b = i4.b;
  const c = i4.c;
  const d = i4.d;
  addFour(sums, a, b, c, d);
  return i32x4.max_u(i32x4.max_u(i32x4.abs(a), i32x4.abs(b)), i32x4.max_u(i32x4.abs(c), i32x4.abs(d)));
}

/**
 * sums[i] += incoming[i], both i32. Answers whether all of them were within ±bound; they are added in any case.
 *
 * Four quarters are added side by side: a processor fetches ahead by stream, and one stream alone does not fill the way to a memory that
 * is further off than its caches.
 */
export function addFixed32(sums: usize, incoming: usize, count: i32, bound: i32): bool {
  const end = sums + (<usize>count << 2);
  const quarter = <usize>(count >> 6) << 6;
  let most = i32x4.splat(0);
  for (const quarterEnd = sums + quarter; sums < quarterEnd; sums += FOUR_BYTES) {
    most = i32x4.max_u(most, addLine32(sums, incoming));
    most = i32x4.max_u(most, addLine32(sums + quarter, incoming + quarter));
    most = i32x4.max_u(most, addLine32(sums + 2 * quarter, incoming + 2 * quarter));
    most = i32x4.max_u(most, addLine32(sums + 3 * quarter, incoming + 3 * quarter));
    incoming += FOUR_BYTES;
  }
  incoming += 3 * quarter;
  for (sums += 3 * quarter; sums < end; sums += LANE_BYTES) {
    const values = v128.load(incoming);
    most = i32x4.max_u(most, i32x4.abs(values));
    v128.store(sums, i32x4.add(v128.load(sums), values));
    incoming += LANE_BYTES;
  }
  return areWithin(most, bound);
}

/** Adds 16 i16 to as many sums. Upper halves are read once more, which is one instruction and not two. Answers as `addLine32` does. */
@inline
function addLine16(sums: usize, incoming: usize): v128 {
  const a = v128.load(incoming);
  const b = v128.load(incoming, 16);
  const upperA = v128.load_ext<i16>(incoming, 8);
  const upperB = v128.load_ext<i16>(incoming, 24);
  addFour(sums, i32x4.extend_low_i16x8_s(a), upperA, i32x4.extend_low_i16x8_s(b), upperB);
  return i16x8.max_u(i16x8.abs(a), i16x8.abs(b));
}

/** The same with i16 incoming. */
export function addFixed16(sums: usize, incoming: usize, count: i32, bound: i32): bool {
  const end = sums + (<usize>count << 2);
  const quarter = <usize>(count >> 6) << 6;
  const incomingQuarter = quarter >> 1;
  let most = i16x8.splat(0);
  for (const quarterEnd = sums + quarter; sums < quarterEnd; sums += FOUR_BYTES) {
    most = i16x8.max_u(most, addLine16(sums, incoming));
    most = i16x8.max_u(most, addLine16(sums + quarter, incoming + incomingQuarter));
    most = i16x8.max_u(most, addLine16(sums + 2 * quarter, incoming + 2 * incomingQuarter));
    most = i16x8.max_u(most, addLine16(sums + 3 * quarter, incoming + 3 * incomingQuarter));
    incoming += FOUR_BYTES >> 1;
  }
  incoming += 3 * incomingQuarter;
  for (sums += 3 * quarter; sums < end; sums += LANE_BYTES) {
    const values = v128.load64_zero(incoming);
    most = i16x8.max_u(most, i16x8.abs(values));
    v128.store(sums, i32x4.add(v128.load(sums), i32x4.extend_low_i16x8_s(values)));
    incoming += LANE_BYTES >> 1;
  }
  return areWithin(i32x4.max_u(i32x4.extend_low_i16x8_u(most), i32x4.extend_high_i16x8_u(most)), bound);
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

/** Whether the scalars change each gradient in a way of its own before the optimizer sees it: clamped or with a penalty. */
@inline
function adjustsEach(scalars: usize): bool {
  return (
    load<f32>(scalars, LIMIT << 2) != <f32>Infinity ||
    load<f32>(scalars, L2 << 2) != 0 ||
    load<f32>(scalars, L1 << 2) != 0
  );
}

/** Whether they change gradients at all: as `adjustsEach` says, or all by one factor where their norm is clipped. */
@inline
function adjusts(scalars: usize): bool {
  return load<f32>(scalars, SCALE << 2) != 1 || adjustsEach(scalars);
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

/** w ← keep · w − by. */
@inline
function descend(weight: usize, keep: v128, by: v128): void {
  v128.store(weight, f32x4.sub(f32x4.mul(v128.load(weight), keep), by));
}

/** Own scalars: lr. w ← w − lr · g. */
export function sgd(run: Run): void {
  const weights = run.weights;
  const sums = run.sums;
  const scales = run.scales;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, scales);
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
  const scales = run.scales;
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
    const scale = scaleAt(at, scales);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      const b = f32x4.add(f32x4.mul(v128.load(buffer + at), held), f32x4.mul(g, rest));
      v128.store(buffer + at, b);
      const direction = f32x4.add(f32x4.mul(g, gradientShare), f32x4.mul(b, bufferShare));
      descend(weights + at, keep, f32x4.mul(rate, direction));
    }
  }
}

/**
 * Own scalars: beta1, rest1, beta2, rootOfRest2, rate, eps. m ← β₁·m + rest₁·g;  v ← β₂·v + (rootOfRest₂·g)²;  w ← w − rate · m / (√v + eps):
 * the form of Kingma & Ba's section 2 whose scalars have both corrections in them.
 */
export function adam(run: Run): void {
  if (run.kept || adjustsEach(run.scalars)) adamOf(run, false);
  else if (load<f32>(run.scalars, KEEP << 2) == 1) adamPlain(run);
  else adamPlainDecayed(run);
}

/** The same, and two more scalars: one of the shell's, and least, where the denominator is at least least · |m|. */
export function adamWithin(run: Run): void {
  adamOf(run, true);
}

/** A moment: share · before + by. */
@inline
function moved(before: v128, share: v128, by: v128): v128 {
  return f32x4.add(f32x4.mul(before, share), by);
}

@inline
function squared(values: v128): v128 {
  return f32x4.mul(values, values);
}

/**
 * The step of four vectors in a row whose gradients are multiples of their sums, as nearly all are. Stage by stage, and roots are begun long
 * before anything waits for them: a processor that shares its core with another thread has no more than five vectors under way.
 * @param toFirst what a sum is multiplied by for its part of m; `toRootOfSecond` likewise, before it is squared for v
 * @param decays whether `keep` is anything but 1
 */
@inline
function adamFour(
  at: usize,
  weights: usize,
  m: usize,
  v: usize,
  sums: usize,
  keep: v128,
  beta1: v128,
  toFirst: v128,
  beta2: v128,
  toRootOfSecond: v128,
  rate: v128,
  eps: v128,
  decays: bool,
): void {
  const s4 = fourAt(sums + at);
  const sa = f32x4.convert_i32x4_s(s4.a);
  const sb = f32x4.convert_i32x4_s(s4.b);
  const sc = f32x4.convert_i32x4_s(s4.c);
  const sd = f32x4.convert_i32x4_s(s4.d);
  const v4 = fourAt(v + at);
  const va = moved(v4.a, beta2, squared(f32x4.mul(sa, toRootOfSecond)));
  const vb = moved(v4.b, beta2, squared(f32x4.mul(sb, toRootOfSecond)));
  const vc = moved(v4.c, beta2, squared(f32x4.mul(sc, toRootOfSecond)));
  const vd = moved(v4.d, beta2, squared(f32x4.mul(sd, toRootOfSecond)));
  v4.a = va;
  v4.b = vb;
  v4.c = vc;
  v4.d = vd;
  const ra = f32x4.sqrt(va);
  const rb = f32x4.sqrt(vb);
  const rc = f32x4.sqrt(vc);
  const rd = f32x4.sqrt(vd);
  const m4 = fourAt(m + at);
  const ma = moved(m4.a, beta1, f32x4.mul(sa, toFirst));
  const mb = moved(m4.b, beta1, f32x4.mul(sb, toFirst));
  const mc = moved(m4.c, beta1, f32x4.mul(sc, toFirst));
  const md = moved(m4.d, beta1, f32x4.mul(sd, toFirst));
  m4.a = ma;
  m4.b = mb;
  m4.c = mc;
  m4.d = md;
  const da = f32x4.div(f32x4.mul(rate, ma), f32x4.add(ra, eps));
  const db = f32x4.div(f32x4.mul(rate, mb), f32x4.add(rb, eps));
  const dc = f32x4.div(f32x4.mul(rate, mc), f32x4.add(rc, eps));
  const dd = f32x4.div(f32x4.mul(rate, md), f32x4.add(rd, eps));
  const w4 = fourAt(weights + at);
  const wa = decays ? f32x4.mul(w4.a, keep) : w4.a;
  const wb = decays ? f32x4.mul(w4.b, keep) : w4.b;
  const wc = decays ? f32x4.mul(w4.c, keep) : w4.c;
  const wd = decays ? f32x4.mul(w4.d, keep) : w4.d;
  w4.a = f32x4.sub(wa, da);
  w4.b = f32x4.sub(wb, db);
  w4.c = f32x4.sub(wc, dc);
  w4.d = f32x4.sub(wd, dd);
}

/**
 * The step of one vector.
 * @param values sums, or gradients that are no multiples of them; the factors `toFirst` and `toRootOfSecond` are of either
 * @param least multiple of |m| that is divided by at least, if `isWithin`
 */
@inline
function adamOne(
  at: usize,
  weights: usize,
  m: usize,
  v: usize,
  values: v128,
  keep: v128,
  beta1: v128,
  toFirst: v128,
  beta2: v128,
  toRootOfSecond: v128,
  rate: v128,
  eps: v128,
  least: v128,
  isWithin: bool,
): void {
  const first = moved(v128.load(m + at), beta1, f32x4.mul(values, toFirst));
  const second = moved(v128.load(v + at), beta2, squared(f32x4.mul(values, toRootOfSecond)));
  v128.store(m + at, first);
  v128.store(v + at, second);
  const size = f32x4.add(f32x4.sqrt(second), eps);
  const denominator = isWithin ? f32x4.max(size, f32x4.mul(f32x4.abs(first), least)) : size;
  descend(weights + at, keep, f32x4.div(f32x4.mul(rate, first), denominator));
}

/** Adam where gradients are as their sums say, or all clipped by one factor. */
@inline
function adamOfSums(run: Run, decays: bool): void {
  const weights = run.weights;
  const m = run.state0;
  const v = run.state1;
  const sums = run.sums;
  const scales = run.scales;
  const scalars = run.scalars;
  const end = run.end;
  const clip = scalar(scalars, SCALE);
  const keep = scalar(scalars, KEEP);
  const beta1 = scalar(scalars, OWN);
  const rest1 = scalar(scalars, OWN + 1);
  const beta2 = scalar(scalars, OWN + 2);
  const rootOfRest2 = scalar(scalars, OWN + 3);
  const rate = scalar(scalars, OWN + 4);
  const eps = scalar(scalars, OWN + 5);
  for (let at = run.from; at < end; ) {
    // Decoded, clipped and weighed by one multiplication.
    const scale = f32x4.mul(scaleAt(at, scales), clip);
    const toFirst = f32x4.mul(rest1, scale);
    const toRootOfSecond = f32x4.mul(rootOfRest2, scale);
    const until = blockEnd(at, end);
    for (const whole = at + ((until - at) & ~(FOUR_BYTES - 1)); at < whole; at += FOUR_BYTES) {
      adamFour(at, weights, m, v, sums, keep, beta1, toFirst, beta2, toRootOfSecond, rate, eps, decays);
    }
    for (; at < until; at += LANE_BYTES) {
      const s = f32x4.convert_i32x4_s(v128.load(sums + at));
      adamOne(at, weights, m, v, s, keep, beta1, toFirst, beta2, toRootOfSecond, rate, eps, eps, false);
    }
  }
}

// A function each, for the sake of the registers: a loop shares them with all that its function keeps.
function adamPlain(run: Run): void {
  adamOfSums(run, false);
}

function adamPlainDecayed(run: Run): void {
  adamOfSums(run, true);
}

@inline
function adamOf(run: Run, isWithin: bool): void {
  const weights = run.weights;
  const m = run.state0;
  const v = run.state1;
  const sums = run.sums;
  const scales = run.scales;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjustsEach(scalars);
  const clip = scalar(scalars, SCALE);
  const keep = scalar(scalars, KEEP);
  const beta1 = scalar(scalars, OWN);
  const rest1 = scalar(scalars, OWN + 1);
  const beta2 = scalar(scalars, OWN + 2);
  const rootOfRest2 = scalar(scalars, OWN + 3);
  const rate = scalar(scalars, OWN + 4);
  const eps = scalar(scalars, OWN + 5);
  const least = scalar(scalars, OWN + 7);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, scales);
    const clipped = f32x4.mul(scale, clip);
    const toFirst = isAdjusted ? rest1 : f32x4.mul(rest1, clipped);
    const toRootOfSecond = isAdjusted ? rootOfRest2 : f32x4.mul(rootOfRest2, clipped);
    for (const until = blockEnd(at, end); at < until; at += LANE_BYTES) {
      const g = gradientAt(at, weights, sums, scale, kept, isAdjusted, scalars);
      const values = isAdjusted ? g : f32x4.convert_i32x4_s(v128.load(sums + at));
      adamOne(at, weights, m, v, values, keep, beta1, toFirst, beta2, toRootOfSecond, rate, eps, least, isWithin);
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
  const scales = run.scales;
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
    const scale = scaleAt(at, scales);
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
  const scales = run.scales;
  const kept = run.kept;
  const scalars = run.scalars;
  const end = run.end;
  const isAdjusted = adjusts(scalars);
  const keep = scalar(scalars, KEEP);
  const rate = scalar(scalars, OWN);
  const eps = scalar(scalars, OWN + 1);
  for (let at = run.from; at < end; ) {
    const scale = scaleAt(at, scales);
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
  const scales = run.scales;
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
    const scale = scaleAt(at, scales);
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
