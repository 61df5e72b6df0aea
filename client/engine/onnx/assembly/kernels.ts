/**
 * `accumulateFixed` and `measureExponents` of shared/codec and `expandBytes` of ../../bytes.ts, which say what is computed, in
 * AssemblyScript with 128-bit SIMD: the same bits, four values at a time. Pointers are byte offsets into the one linear memory, 16-byte
 * aligned; counts are elements, multiples of 4. No relaxed SIMD.
 */

const LANE_BYTES: usize = 16;

/** Bytes of a block of 256 values. */
const BLOCK_BYTES: usize = 1024;

/** Writes the values of so many bytes: each times `scale`, plus `offset`, in float64, rounded once. */
export function expand(bytes: usize, values: usize, count: i32, scale: f64, offset: f64): void {
  const end = values + (<usize>count << 2);
  const factor = f64x2.splat(scale);
  const summand = f64x2.splat(offset);
  while (values < end) {
    const integers = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(bytes)));
    const low = f64x2.convert_low_i32x4_u(integers);
    const high = f64x2.convert_low_i32x4_u(v128.shuffle<i64>(integers, integers, 1, 1));
    const first = f32x4.demote_f64x2_zero(f64x2.add(f64x2.mul(low, factor), summand));
    const second = f32x4.demote_f64x2_zero(f64x2.add(f64x2.mul(high, factor), summand));
    v128.store(values, v128.shuffle<i64>(first, second, 0, 2));
    bytes += 4;
    values += LANE_BYTES;
  }
}

/** Largest magnitude of a block as the bits of its float32. */
@inline
function largestOf(values: usize, end: usize): u32 {
  const magnitude = i32x4.splat(0x7fffffff);
  let largest = i32x4.splat(0);
  while (values < end) {
    largest = i32x4.max_u(largest, v128.and(v128.load(values), magnitude));
    values += LANE_BYTES;
  }
  return max(
    max<u32>(i32x4.extract_lane(largest, 0), i32x4.extract_lane(largest, 1)),
    max<u32>(i32x4.extract_lane(largest, 2), i32x4.extract_lane(largest, 3)),
  );
}

/** Raises each block's maximum to the exponent byte seen in it. */
export function measure(gradient: usize, maxima: usize, count: i32): void {
  const end = gradient + (<usize>count << 2);
  while (gradient < end) {
    const blockEnd = min(gradient + BLOCK_BYTES, end);
    const exponent = largestOf(gradient, blockEnd) >>> 23;
    if (exponent > load<u8>(maxima)) store<u8>(maxima, exponent);
    gradient = blockEnd;
    maxima += 1;
  }
}

/**
 * Adds the gradient, rounded to the grid of each block's announced exponent, to the sums, and raises the maxima.
 * @param bits magnitude bits q
 * @returns how many values were clamped to ±(2^q − 1)
 */
export function accumulate(gradient: usize, announced: usize, sums: usize, maxima: usize, count: i32, bits: i32): i32 {
  return round(gradient, announced, sums, maxima, count, bits, false);
}

/** The same, to sums of zero, which need not be there. */
export function start(gradient: usize, announced: usize, sums: usize, maxima: usize, count: i32, bits: i32): i32 {
  return round(gradient, announced, sums, maxima, count, bits, true);
}

/** Constant where it is inlined. */
@inline
function sumOf(sums: usize, integers: v128, isFirst: bool): v128 {
  return isFirst ? integers : i32x4.add(v128.load(sums), integers);
}

@inline
function round(
  gradient: usize,
  announced: usize,
  sums: usize,
  maxima: usize,
  count: i32,
  bits: i32,
  isFirst: bool,
): i32 {
  const end = gradient + (<usize>count << 2);
  const infinite = i32x4.splat(0x7f800000);
  const magnitude = i32x4.splat(0x7fffffff);
  // 2^q, which is what is first clamped, as float32.
  const beyond = i32x4.splat((bits + 127) << 23);
  const most = i32x4.splat(<i32>((<u32>1 << bits) - 1));
  const least = i32x4.neg(most);
  let clamped = i32x4.splat(0);
  while (gradient < end) {
    const blockEnd = min(gradient + BLOCK_BYTES, end);
    const exponent = largestOf(gradient, blockEnd) >>> 23;
    if (exponent > load<u8>(maxima)) store<u8>(maxima, exponent);
    // 2^(q − (E − 126)), a normal float32 for every exponent that may be announced.
    const grid = <u32>load<u8>(announced);
    const scale = i32x4.splat((bits - (<i32>grid - 126) + 127) << 23);
    if (exponent == 0) {
      if (isFirst) memory.fill(sums, 0, blockEnd - gradient);
      sums += blockEnd - gradient;
      gradient = blockEnd;
    } else if (exponent < grid) {
      // All are finite and below 2^(q − 1) on the grid, where nothing is clamped.
      while (gradient < blockEnd) {
        const rounded = f32x4.nearest(f32x4.mul(v128.load(gradient), scale));
        v128.store(sums, sumOf(sums, i32x4.trunc_sat_f32x4_s(rounded), isFirst));
        gradient += LANE_BYTES;
        sums += LANE_BYTES;
      }
    } else {
      while (gradient < blockEnd) {
        const values = v128.load(gradient);
        const finite = i32x4.lt_s(v128.and(values, magnitude), infinite);
        // A product by a power of two is exact, overflows to what is clamped, or is far below a half.
        const rounded = f32x4.nearest(f32x4.mul(v128.and(values, finite), scale));
        clamped = i32x4.sub(clamped, f32x4.ge(f32x4.abs(rounded), beyond));
        const integers = i32x4.max_s(i32x4.min_s(i32x4.trunc_sat_f32x4_s(rounded), most), least);
        v128.store(sums, sumOf(sums, integers, isFirst));
        gradient += LANE_BYTES;
        sums += LANE_BYTES;
      }
    }
    announced += 1;
    maxima += 1;
  }
  return (
    i32x4.extract_lane(clamped, 0) +
    i32x4.extract_lane(clamped, 1) +
    i32x4.extract_lane(clamped, 2) +
    i32x4.extract_lane(clamped, 3)
  );
}
