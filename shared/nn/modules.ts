/** All of `nn`: layers by subject. */

export { elu, logSoftmax, silu, softmax, softplus } from "./activations.ts";
export * from "./attention.ts";
export * from "./convolution.ts";
export * from "./embedding.ts";
export * from "./layers.ts";
export * from "./normalization.ts";
export { parallel, permute, reshape, slice } from "./parts.ts";
export * from "./pooling.ts";
export * from "./positions.ts";
export { meanOverTokens } from "./tokens.ts";
