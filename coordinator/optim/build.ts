/** Build id of kernels.wasm, kept with every logged step. Written by scripts/build-kernels.ts. */
export const KERNELS_BUILD = "be2e18a34f33f0f0";
