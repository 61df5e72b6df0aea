export { advanceEnvelope, announce, createEnvelope } from "./envelope.ts";
export { BLOCK, blockCount, firstNonFinite, measureExponents, NON_FINITE } from "./exponents.ts";
export { accumulateFixed, CODECS, encodeSums, gridScale, magnitudeBits } from "./fixed.ts";
export { roundScalar, SCALAR_UNIT, scalarLimit, scalarValue } from "./scalar.ts";
