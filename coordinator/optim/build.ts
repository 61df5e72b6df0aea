/** Build id of kernels.wasm, kept with every logged step. Written by scripts/build-kernels.ts. */
export const KERNELS_BUILD = "1c1a823d09aa64e6";
