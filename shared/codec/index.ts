export { addCoarse, LARGEST_MULTIPLE, onGrid } from "./coarse.ts";
export {
  CODECS,
  codecNames,
  encodeSums,
  type GradientCodec,
  isExact,
  largestPart,
  largestSum,
  magnitudeBits,
  type SumCodec,
} from "./codecs.ts";
export { advanceEnvelope, announce, createEnvelope } from "./envelope.ts";
export { BLOCK, blockCount, firstNonFinite, measureExponents, NON_FINITE } from "./exponents.ts";
export { accumulateFixed, gridScale } from "./fixed.ts";
export {
  findPackingFault,
  GROUP,
  MOST_BITS,
  pack,
  packedBytes,
  packedWidthsBytes,
  packedWordsBytes,
  unpack,
} from "./packed.ts";
export { roundScalar, SCALAR_UNIT, scalarLimit, scalarValue } from "./scalar.ts";
export {
  encodeSparse,
  findSparseFault,
  planSparse,
  SparseReader,
  type SparseValues,
  sparseBytes,
  sparseMessage,
} from "./sparse.ts";
export {
  addSquares,
  carriesSquares,
  fromBfloat16,
  lastSquares,
  type Matrix,
  matrixOf,
  spreadSquares,
  squaresLength,
  toBfloat16,
} from "./squares.ts";
