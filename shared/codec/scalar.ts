/**
 * Scalar sums (loss, weight, metrics) as integers: each micro-batch's value is rounded to units of 2⁻²⁴ before adding,
 * so that early stopping and schedules decide alike whoever computed what.
 */

export const SCALAR_UNIT = 2 ** -24;

/** Bits of magnitude of a sum on the wire, less one. */
const SUM_BITS = 62;

const ROUND = 1.5 * 2 ** 52;

/**
 * Largest magnitude of one micro-batch's value, in units: so many of them cannot overflow a 64-bit sum, whoever adds which. It
 * depends on the whole piece of work and not on a share of it, so that any sharding gives the same sum.
 * @param microBatches of the step, or of the held-out split
 */
export const scalarLimit = (microBatches: number): number =>
  2 ** (SUM_BITS - Math.ceil(Math.log2(Math.max(microBatches, 1))));

/** Nearest integer number of units, ties to even. What is beyond the limit, or not finite, becomes it with its sign (NaN: plus). */
export function roundScalar(value: number, limit: number): bigint {
  const units = value / SCALAR_UNIT;
  const size = Math.abs(units);
  if (!(size < limit)) return BigInt(units < 0 ? -limit : limit);
  return BigInt(size < 2 ** 51 ? units + ROUND - ROUND : Math.trunc(units));
}

/** The value of a sum of units. */
export const scalarValue = (units: bigint): number => Number(units) * SCALAR_UNIT;
