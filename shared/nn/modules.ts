/** All of `nn`: layers by subject. */

export * from "./attention.ts";
export * from "./embedding.ts";
export * from "./layers.ts";
export * from "./normalization.ts";
export * from "./positions.ts";
