export { dropoutScale, dropoutThreshold, fillDropoutMask } from "./dropout.ts";
export { type Domain, deriveKey, type Key, uniformFloat } from "./keys.ts";
export { epochKey, Permutation, permuteIndex, sampleIndex } from "./permutation.ts";
export { threefry2x32 } from "./threefry.ts";
