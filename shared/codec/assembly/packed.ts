/**
 * `pack` of ../packed.ts in AssemblyScript with 128-bit SIMD: the same bytes. Pointers are byte offsets into the one linear memory,
 * 16-byte aligned; counts are elements, multiples of 4. No relaxed SIMD.
 */

const LANE_BYTES: usize = 16;

/** Largest magnitude of some values, an opposite counting as one less; nothing but zeros is −1. */
@inline
function largestOf(values: usize, end: usize): i32 {
  let any = i32x4.splat(0);
  let magnitudes = i32x4.splat(0);
  while (values < end) {
    const vector = v128.load(values);
    any = v128.or(any, vector);
    magnitudes = v128.or(magnitudes, v128.xor(vector, i32x4.shr_s(vector, 31)));
    values += LANE_BYTES;
  }
  if (!v128.any_true(any)) return -1;
  return (
    i32x4.extract_lane(magnitudes, 0) |
    i32x4.extract_lane(magnitudes, 1) |
    i32x4.extract_lane(magnitudes, 2) |
    i32x4.extract_lane(magnitudes, 3)
  );
}

/** Four i32 of `width` bits side by side, at most 16 of them each. */
@inline
function quad(values: usize, mask: v128, width: i64): u64 {
  const bits = v128.and(v128.load(values), mask);
  const pairs = v128.or(v128.and(bits, i64x2.splat(0xffffffff)), i64x2.shr_u(bits, <i32>(32 - width)));
  return i64x2.extract_lane(pairs, 0) | (i64x2.extract_lane(pairs, 1) << (2 * width));
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
    const mask = i32x4.splat((1 << width) - 1);
    // Four values may end in the middle of a byte, eight never do.
    const half = <usize>(width >> 1);
    const odd = (width & 1) << 2;
    for (; sums + 32 <= groupEnd; sums += 32) {
      const first = quad(sums, mask, width);
      const second = quad(sums + 16, mask, width);
      store<u64>(words, first);
      store<u64>(words + half, odd == 0 ? second : (second << 4) | (first >> <u64>(half << 3)));
      words += width;
    }
    if (sums < groupEnd) {
      store<u64>(words, quad(sums, mask, width));
      sums = groupEnd;
    }
    words = next;
  }
  return <i32>(words - start);
}
