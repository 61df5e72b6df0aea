/** Build id of kernels.wasm, kept with every logged step. Written by scripts/build-kernels.ts. */
export const KERNELS_BUILD = "abc34f268a3b3bf1";
