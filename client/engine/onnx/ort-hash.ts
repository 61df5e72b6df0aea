/** SHA-256 of onnxruntime-web 1.30.0's ort-wasm-simd-threaded.wasm: what a coordinator serves must be this file. */
export const ORT_WASM_SHA256 = "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2";
