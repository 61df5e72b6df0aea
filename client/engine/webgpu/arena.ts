/** Places values in one buffer so that those alive at the same time do not overlap: first fit by falling size. */

import { alignWords } from "./layout.ts";

export interface Lifetime {
  readonly words: number;
  /** Kernels, by position, that write it first and read it last; both still hold it. */
  readonly from: number;
  readonly to: number;
}

/** Offsets in words, multiples of 4, in the order of `lifetimes`, and the buffer's size. */
export function arrange(lifetimes: readonly Lifetime[]): { offsets: number[]; words: number } {
  const offsets = new Array<number>(lifetimes.length).fill(0);
  const placed: { readonly start: number; readonly end: number; readonly life: Lifetime }[] = [];
  let words = 0;
  const order = lifetimes.map((life, index) => ({ life, index })).sort((a, b) => b.life.words - a.life.words);
  for (const { life, index } of order) {
    const length = alignWords(life.words);
    let start = 0;
    for (const other of placed) {
      if (other.life.to < life.from || other.life.from > life.to) continue;
      if (other.start >= start + length) break;
      start = Math.max(start, other.end);
    }
    const at = placed.findIndex((other) => other.start > start);
    placed.splice(at < 0 ? placed.length : at, 0, { start, end: start + length, life });
    offsets[index] = start;
    words = Math.max(words, start + length);
  }
  return { offsets, words };
}
