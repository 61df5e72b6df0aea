/** The package declares no types for this file of its own. */
declare module "onnxruntime-web/ort-wasm-simd-threaded.mjs" {
  const factory: import("./module.ts").OrtFactory;
  export default factory;
}
