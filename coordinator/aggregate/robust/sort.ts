/**
 * Sorts every coordinate of a slice's rows at once, by a network of compare-and-exchange: Batcher's odd-even merge sort (Knuth,
 * TAOCP 3, 5.2.2, algorithm M), which takes the same exchanges whatever the values. Faster than sorting column by column.
 */

type Exchange = readonly [lower: number, higher: number];

function network(count: number): Exchange[] {
  const exchanges: Exchange[] = [];
  const top = 2 ** Math.max(0, Math.ceil(Math.log2(count)) - 1);
  for (let span = top; span >= 1; span /= 2) {
    let [width, offset, distance] = [top, 0, span];
    for (;;) {
      for (let at = 0; at + distance < count; at++) if ((at & span) === offset) exchanges.push([at, at + distance]);
      if (width === span) break;
      distance = width - span;
      width /= 2;
      offset = span;
    }
  }
  return exchanges;
}

/** Of `count` rows: afterwards row i holds each coordinate's value of rank i. Zeros of both signs are equal. */
export function sorter(count: number): (rows: readonly Float64Array[]) => void {
  const exchanges = count < 2 ? [] : network(count);
  return (rows) => {
    for (const [lower, higher] of exchanges) {
      const [one, other] = [rows[lower], rows[higher]];
      for (let at = 0; at < one.length; at++) {
        const [low, high] = [one[at], other[at]];
        if (low <= high) continue;
        one[at] = high;
        other[at] = low;
      }
    }
  };
}
