/** Build id of kernels.wasm, kept with every logged step. Written by scripts/build-kernels.ts. */
export const KERNELS_BUILD = "5e9b50cba0a66dc9";
