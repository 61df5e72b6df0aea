/**
 * `pack` of ../packed.ts in AssemblyScript with 128-bit SIMD: the same bytes. Pointers are byte offsets into the one linear memory,
 * 16-byte aligned; counts are elements, multiples of 4. No relaxed SIMD.
 */

const LANE_BYTES: usize = 16;

/** Largest magnitude of some values, an opposite counting as one less; nothing but zeros is −1. */
@inline
function largestOf(values: usize, end: usize): i32 {
  let most = i32x4.splat(0);
  let least = i32x4.splat(0);
  for (; values + 64 <= end; values += 64) {
    const a = v128.load(values);
    const b = v128.load(values, 16);
    const c = v128.load(values, 32);
    const d = v128.load(values, 48);
    most = i32x4.max_s(most, i32x4.max_s(i32x4.max_s(a, b), i32x4.max_s(c, d)));
    least = i32x4.min_s(least, i32x4.min_s(i32x4.min_s(a, b), i32x4.min_s(c, d)));
  }
  for (; values < end; values += LANE_BYTES) {
    const vector = v128.load(values);
    most = i32x4.max_s(most, vector);
    least = i32x4.min_s(least, vector);
  }
  if (!v128.any_true(v128.or(most, least))) return -1;
  const magnitudes = v128.or(most, v128.xor(least, i32x4.shr_s(least, 31)));
  return (
    i32x4.extract_lane(magnitudes, 0) |
    i32x4.extract_lane(magnitudes, 1) |
    i32x4.extract_lane(magnitudes, 2) |
    i32x4.extract_lane(magnitudes, 3)
  );
}

/** Four i32 of `width` bits side by side, at most 16 of them each. */
@inline
function quad(values: usize, mask: i32, width: i64): u64 {
  const bits = v128.and(v128.load(values), i32x4.splat(mask));
  const pairs = v128.or(v128.and(bits, i64x2.splat(0xffffffff)), i64x2.shr_u(bits, <i32>(32 - width)));
  return i64x2.extract_lane(pairs, 0) | (i64x2.extract_lane(pairs, 1) << (2 * width));
}

/** Widest value of which a pair's factors are signed 16-bit integers. */
const MOST_PAIRED: i32 = 14;

/** Eight i32 of at most MOST_PAIRED bits as two runs of four, side by side: `fields` has their bits, `factors` 1 and 2^width in turn. */
@inline
function eight(values: usize, fields: v128, factors: v128, width: i32): v128 {
  const bits = v128.and(i16x8.narrow_i32x4_s(v128.load(values), v128.load(values, 16)), fields);
  const pairs = i32x4.dot_i16x8_s(bits, factors);
  const lower = v128.and(pairs, i64x2.splat(0xffffffff));
  return v128.or(lower, i64x2.shr_u(v128.xor(pairs, lower), 32 - 2 * width));
}

/**
 * Packs the sums as shared/codec/packed.ts has it. Answers how many bytes the words take; −1 where a sum needs more than 16 bits, and
 * then what was written is of no use.
 */
export function pack(sums: usize, widths: usize, words: usize, count: i32): i32 {
  const end = sums + (<usize>count << 2);
  const start = words;
  while (sums < end) {
    const groupEnd = min(sums + 256, end);
    const largest = largestOf(sums, groupEnd);
    if (largest >= 32768) return -1;
    const width = largest < 0 ? 0 : 33 - clz(largest);
    store<u8>(widths++, <u8>width);
    const bits = <i32>((groupEnd - sums) >> 2) * width;
    const next = words + (<usize>((bits + 31) >> 5) << 2);
    if (width == 0) {
      sums = groupEnd;
      continue;
    }
    // Of the last group the last word may have more bits than values.
    if (groupEnd - sums < 256) memory.fill(words, 0, next - words);
    const mask = (1 << width) - 1;
    const wholeEnd = groupEnd - ((groupEnd - sums) & 31);
    // Four values may end in the middle of a byte, eight never do.
    const half = <usize>(width >> 1);
    const odd = (width & 1) << 2;
    const fields = i16x8.splat(<i16>mask);
    const factors = i32x4.splat((1 << (width + 16)) | 1);
    if (width <= 8) {
      for (; sums < wholeEnd; sums += 32) {
        const fours = eight(sums, fields, factors, width);
        store<u64>(words, i64x2.extract_lane(fours, 0) | (i64x2.extract_lane(fours, 1) << (4 * width)));
        words += width;
      }
    } else {
      for (; sums < wholeEnd; sums += 32) {
        let first: u64, second: u64;
        if (width <= MOST_PAIRED) {
          const fours = eight(sums, fields, factors, width);
          first = i64x2.extract_lane(fours, 0);
          second = i64x2.extract_lane(fours, 1);
        } else {
          first = quad(sums, mask, width);
          second = quad(sums + 16, mask, width);
        }
        store<u64>(words, first);
        store<u64>(words + half, odd == 0 ? second : (second << 4) | (first >> <u64>(half << 3)));
        words += width;
      }
    }
    if (sums < groupEnd) {
      store<u64>(words, quad(sums, mask, width));
      sums = groupEnd;
    }
    words = next;
  }
  return <i32>(words - start);
}
