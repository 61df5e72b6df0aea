/**
 * The grid of the next step. For each block the coordinator keeps an envelope: the exponent of the largest gradient of
 * late, which follows a rise at once (but by at most 3 bits a step, so that a liar cannot ruin the grid) and decays by one
 * bit every 8 steps. What is announced is the envelope plus 2 bits of headroom. Bytes in, bytes out, integer arithmetic only:
 * replaying the observed maxima gives the same grids.
 */

const HEADROOM = 2;
const LARGEST_RISE = 3;
const DECAY_INTERVAL = 8;

/** Announced exponents stay where 2^(q − (E − 126)) and its inverse are ordinary float32 values. */
export const ANNOUNCED_RANGE = { least: 40, most: 250 } as const;

/** Envelope after the calibration pass. Shape [blocks]; 0 marks a block whose gradient was zero throughout. */
export const createEnvelope = (maxima: Uint8Array): Uint8Array => maxima.slice();

/** Envelope after a step (counted from 1) whose largest exponents were `maxima`. */
export function advanceEnvelope(envelope: Uint8Array, maxima: Uint8Array, step: number): Uint8Array {
  const decay = step % DECAY_INTERVAL === 0 ? 1 : 0;
  return envelope.map((held, block) => {
    const seen = maxima[block];
    if (held === 0) return seen;
    return Math.min(Math.max(seen, held - decay, 1), held + LARGEST_RISE);
  });
}

/** What is taken for the largest exponent while no gradient was seen at all, as when all targets are ignored: |value| < 2. */
const UNSEEN = 127;

/** Exponents to announce. A block never seen different from zero gets the coarsest grid of all, so that its first values fit. */
export function announce(envelope: Uint8Array): Uint8Array {
  let coarsest = 0;
  for (const held of envelope) if (held > coarsest) coarsest = held;
  if (coarsest === 0) coarsest = UNSEEN;
  const { least, most } = ANNOUNCED_RANGE;
  return envelope.map((held) => Math.min(Math.max((held === 0 ? coarsest : held) + HEADROOM, least), most));
}
