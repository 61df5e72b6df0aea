/**
 * Makes of a drawing what MNIST's images were made of: ink cut out, scaled so that its longer side is 20 of 28 pixels, and
 * moved so that its centre of mass is in the middle (https://yann.lecun.com/exdb/mnist). A network that learned such
 * images reads a drawing wherever and however large it was drawn. A real MNIST image comes out as it went in.
 */

/** Part of the picture's side that the ink's longer side takes. */
const FILLED = 20 / 28;

/** Half-open ranges of the columns and rows with ink. */
interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Where the ink is and its centre of mass; null where there is none. */
function measure(ink: ArrayLike<number>, size: number): (Box & { readonly x: number; readonly y: number }) | null {
  let [left, right, top, bottom, mass, sumX, sumY] = [size, 0, size, 0, 0, 0, 0];
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const value = ink[row * size + column];
      if (value === 0) continue;
      left = Math.min(left, column);
      right = Math.max(right, column + 1);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row + 1);
      mass += value;
      sumX += value * (column + 0.5);
      sumY += value * (row + 0.5);
    }
  }
  return mass === 0 ? null : { left, right, top, bottom, x: sumX / mass, y: sumY / mass };
}

/**
 * Start of the first cell: on the grid of the ink's own edge, so that the centre of mass is in the cell after the middle,
 * where all of MNIST's images have it (between 14 and 15 of 28).
 */
function alignedStart(edge: number, centre: number, step: number, side: number): number {
  return edge - Math.round((side + 1) / 2 - (centre - edge) / step) * step;
}

/** By cell, the source pixels that it covers and how much of each. */
function coverage(start: number, step: number, side: number, size: number): { index: number; part: number }[][] {
  return Array.from({ length: side }, (_, cell) => {
    const [from, to] = [start + cell * step, start + (cell + 1) * step];
    const covered: { index: number; part: number }[] = [];
    for (let index = Math.max(0, Math.floor(from)); index < Math.min(size, Math.ceil(to)); index++) {
      covered.push({ index, part: (Math.min(to, index + 1) - Math.max(from, index)) / step });
    }
    return covered;
  });
}

/**
 * Bytes [side, side] of a drawing, row by row; all zero if it is empty.
 * @param ink [size, size], 0 for paper to 255 for ink
 */
export function pictureOf(ink: ArrayLike<number>, size: number, side: number): Uint8Array {
  const picture = new Uint8Array(side * side);
  const box = measure(ink, size);
  if (box === null) return picture;
  // Source pixels a cell; ink of a few pixels is not blown up to fill the picture.
  const step = Math.max(Math.max(box.right - box.left, box.bottom - box.top) / (side * FILLED), size / (side * 4));
  const columns = coverage(alignedStart(box.left, box.x, step, side), step, side, size);
  const rows = coverage(alignedStart(box.top, box.y, step, side), step, side, size);
  for (const [row, coveredRows] of rows.entries()) {
    for (const [column, coveredColumns] of columns.entries()) {
      let sum = 0;
      for (const { index: y, part: height } of coveredRows) {
        for (const { index: x, part: width } of coveredColumns) sum += ink[y * size + x] * width * height;
      }
      picture[row * side + column] = Math.round(sum);
    }
  }
  return picture;
}
