/**
 * Sums of squared gradients by row and by column of each parameter. With them an optimizer that divides by a gradient's usual size
 * knows it where the gradient itself comes in rare, coarse pieces, whose own squares would say something else: v of row i and
 * column j is taken for rowᵢ · columnⱼ / Σ rows.
 *
 * Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018.
 */

/** One parameter as a matrix: its first dimension, and all others as one. A vector's values are rows of one column. */
export interface Matrix {
  /** In the flat space, in floats. */
  readonly offset: number;
  readonly rows: number;
  readonly columns: number;
}

/** Steps of the beginning at which all results carry squares, and how often later ones do. */
const FIRST_STEPS = 16;
const INTERVAL = 8;

/** Whether the results of a step, counted from 0, carry squares. */
export const carriesSquares = (step: number): boolean => step < FIRST_STEPS || step % INTERVAL === 0;

/** The last step at or before this one whose results carry squares, and how many steps after the one before that it is. */
export function lastSquares(step: number): { readonly step: number; readonly gap: number } {
  if (step < FIRST_STEPS) return { step, gap: 1 };
  const last = step - (step % INTERVAL);
  if (last < FIRST_STEPS) return { step: FIRST_STEPS - 1, gap: 1 };
  return { step: last, gap: last === FIRST_STEPS ? 1 : INTERVAL };
}

export const matrixOf = (offset: number, shape: readonly number[]): Matrix => {
  const [rows = 1, ...others] = shape;
  return { offset, rows, columns: others.reduce((size, dimension) => size * dimension, 1) };
};

/** Sums of one matrix; those of rows of one value say all that those of its column would. */
const sumsOf = ({ rows, columns }: Matrix): number => (columns === 1 ? rows : rows + columns);

/** How many sums there are: those of the first matrix's rows, of its columns, then the next one's. */
export const squaresLength = (matrices: readonly Matrix[]): number =>
  matrices.reduce((length, matrix) => length + sumsOf(matrix), 0);

/** Adds each value to the sums of its row and its column. @param squareAt of the flat space */
export function addSquares(matrices: readonly Matrix[], squareAt: (at: number) => number, squares: Float64Array): void {
  let first = 0;
  for (const matrix of matrices) {
    const { offset, rows, columns } = matrix;
    let at = offset;
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let column = 0; column < columns; column++) {
        const square = squareAt(at++);
        sum += square;
        if (columns > 1) squares[first + rows + column] += square;
      }
      squares[first + row] += sum;
    }
    first += sumsOf(matrix);
  }
}

/** The upper halves of float32, to the nearest: 8 bits of exponent, which squares need, and 7 of the fraction, which are enough for them. */
export function toBfloat16(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(Float32Array.from(values).buffer);
  return Uint16Array.from(words, (word) => Math.min((word + 0x8000) >>> 16, 0xffff));
}

export const fromBfloat16 = (halves: Uint16Array): Float32Array<ArrayBuffer> =>
  new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);

/** target ← the matrix whose rows and columns have these sums, and which is otherwise as even as can be. */
export function spreadSquares(matrices: readonly Matrix[], squares: ArrayLike<number>, target: Float32Array): void {
  let first = 0;
  for (const matrix of matrices) {
    const { offset, rows, columns } = matrix;
    let total = 0;
    for (let row = 0; row < rows; row++) total += squares[first + row];
    let at = offset;
    for (let row = 0; row < rows; row++) {
      const sum = squares[first + row];
      if (columns === 1) target[at++] = sum;
      else {
        const share = total === 0 ? 0 : sum / total;
        for (let column = 0; column < columns; column++) target[at++] = share * squares[first + rows + column];
      }
    }
    first += sumsOf(matrix);
  }
}
