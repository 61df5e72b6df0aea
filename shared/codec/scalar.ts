/**
 * Scalar sums (loss, weight, metrics) as integers: each micro-batch's value is rounded to units of 2⁻²⁴ before adding,
 * so that early stopping and schedules decide alike whoever computed what.
 */

export const SCALAR_UNIT = 2 ** -24;

/** Largest magnitude that is kept: 2³⁸ as a value. What lies beyond, or is not finite, becomes this with its sign (NaN: plus). */
const LARGEST = 2n ** 62n;

const ROUND = 1.5 * 2 ** 52;

/** Nearest integer number of units, ties to even. */
export function roundScalar(value: number): bigint {
  const units = value / SCALAR_UNIT;
  if (Math.abs(units) < 2 ** 51) return BigInt(units + ROUND - ROUND);
  if (Math.abs(units) < 2 ** 62) return BigInt(Math.trunc(units));
  return units < 0 ? -LARGEST : LARGEST;
}

/** The value of a sum of units. */
export const scalarValue = (units: bigint): number => Number(units) * SCALAR_UNIT;
