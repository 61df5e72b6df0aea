/** The part of onnxruntime that the engine uses; onnxruntime-web and onnxruntime-node both satisfy it. */

export interface OnnxTensor {
  readonly data: unknown;
}

export interface OnnxSession {
  run(feeds: Readonly<Record<string, OnnxTensor>>): Promise<Readonly<Record<string, OnnxTensor>>>;
  release(): Promise<void>;
}

export interface OnnxRuntime {
  readonly kind: "wasm" | "native";
  createSession(model: Uint8Array): Promise<OnnxSession>;
  createTensor(type: "float32" | "int32", data: Float32Array | Int32Array, shape: readonly number[]): OnnxTensor;
}

/** What both packages export. */
interface OrtModule {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<OnnxSession>;
  };
  readonly Tensor: new (
    type: "float32" | "int32",
    data: Float32Array | Int32Array,
    shape: readonly number[],
  ) => OnnxTensor;
}

/** Wraps a loaded module. Sessions are single-threaded: that is what makes their bits the same everywhere. */
export function wrapRuntime(kind: OnnxRuntime["kind"], module: unknown): OnnxRuntime {
  const ort = module as OrtModule;
  const options = {
    executionProviders: [kind === "wasm" ? "wasm" : "cpu"],
    graphOptimizationLevel: "all",
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  };
  return {
    kind,
    createSession: (model) => ort.InferenceSession.create(model, options),
    createTensor: (type, data, shape) => new ort.Tensor(type, data, shape),
  };
}

/** Settings of onnxruntime-web that must be made before its first session. */
export interface WebSettings {
  /** Bytes of its `.wasm`; where absent the package finds its own file. */
  readonly wasmBinary?: ArrayBuffer;
}

/** Wraps the `onnxruntime-web/wasm` module, single-threaded and in the calling thread. */
export function wrapWebRuntime(module: unknown, { wasmBinary }: WebSettings): OnnxRuntime {
  const { env } = module as { env: { wasm: Record<string, unknown>; logLevel: string } };
  env.wasm.numThreads = 1;
  env.wasm.proxy = false;
  env.logLevel = "error";
  if (wasmBinary !== undefined) env.wasm.wasmBinary = wasmBinary;
  return wrapRuntime("wasm", module);
}
