/**
 * onnxruntime-web's WebAssembly module, spoken to directly. The package's own `InferenceSession` copies every input into the
 * module's memory with every run, the weights among them, and every output out of it into a new array. Here tensors are
 * made once over places in that memory, and the rounding kernels work on the gradients where onnxruntime wrote them.
 *
 * The functions are those of onnxruntime/wasm/api.h, which the package's JavaScript calls in the same order
 * (onnxruntime-web/lib/wasm/wasm-core-impl.ts). Package and `.wasm` are pinned to one version and one hash (ort-hash.ts).
 */

import { EngineError } from "../engine.ts";
import type { OnnxRuntime, OnnxSession, PlacedTensor } from "./runtime.ts";

/** Addresses and handles are byte offsets; 0 is none. */
interface OrtModule {
  _malloc(bytes: number): number;
  _free(address: number): void;
  UTF8ToString(address: number): string;
  _OrtInit(threads: number, logLevel: number): number;
  _OrtGetLastError(code: number, message: number): number;
  _OrtCreateSessionOptions(
    optimization: number,
    arena: boolean,
    memoryPattern: boolean,
    executionMode: number,
    profiling: boolean,
    profilePrefix: number,
    logId: number,
    logSeverity: number,
    logVerbosity: number,
    optimizedModelFile: number,
  ): number;
  _OrtReleaseSessionOptions(options: number): number;
  /** Copies what it needs of the model. */
  _OrtCreateSession(model: number, bytes: number, options: number): number | Promise<number>;
  _OrtReleaseSession(session: number): number;
  /** Its values stay where they are. */
  _OrtCreateTensor(type: number, values: number, bytes: number, shape: number, rank: number, location: number): number;
  _OrtReleaseTensor(tensor: number): number;
  _OrtCreateRunOptions(logSeverity: number, logVerbosity: number, terminate: boolean, tag: number): number;
  _OrtReleaseRunOptions(options: number): number;
  /** Outputs that are tensors already are written in place. */
  _OrtRun(
    session: number,
    inputNames: number,
    inputs: number,
    inputCount: number,
    outputNames: number,
    outputCount: number,
    outputs: number,
    options: number,
  ): number | Promise<number>;
}

/** The default export of `onnxruntime-web/ort-wasm-simd-threaded.mjs`, made by Emscripten. */
export type OrtFactory = (options: {
  readonly numThreads: number;
  readonly instantiateWasm: (
    imports: WebAssembly.Imports,
    done: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void,
  ) => void;
}) => Promise<unknown>;

const WORD = 4;
const ALIGNMENT = 16;
const THREADS = 1;
const LOG_ERRORS = 3;
/** GraphOptimizationLevel ORT_ENABLE_ALL. */
const OPTIMIZE_ALL = 99;
const SEQUENTIAL = 0;
const ON_CPU = 1;
/** ONNX's TensorProto.DataType. */
const FLOAT32 = 1;
const INT32 = 6;

/** Throws Error if onnxruntime does not start. */
export async function createModuleRuntime(factory: OrtFactory, wasm: WebAssembly.Module): Promise<OnnxRuntime> {
  const { module, memory } = await instantiate(factory, wasm);

  const fail = (what: string): never => {
    const at = module._malloc(2 * WORD);
    module._OrtGetLastError(at, at + WORD);
    const [, message] = new Uint32Array(memory.buffer, at, 2);
    const text = message === 0 ? "it gives no reason" : module.UTF8ToString(message);
    module._free(at);
    throw new Error(`${what}: ${text}`);
  };

  const allocate = (byteLength: number): number => {
    const address = module._malloc(Math.max(byteLength, ALIGNMENT));
    if (address === 0) throw new EngineError("memory", `onnxruntime has no memory for ${byteLength} bytes more`);
    return address;
  };

  if (module._OrtInit(THREADS, LOG_ERRORS) !== 0) fail("onnxruntime does not start");

  return {
    allocate(byteLength) {
      // Emscripten's malloc aligns to 8 bytes at least.
      const whole = allocate(byteLength + ALIGNMENT);
      const address = Math.ceil(whole / ALIGNMENT) * ALIGNMENT;
      new Uint8Array(memory.buffer, address, byteLength).fill(0);
      return { memory, address, free: () => module._free(whole) };
    },

    async createSession(model) {
      const options = module._OrtCreateSessionOptions(
        OPTIMIZE_ALL,
        false,
        false,
        SEQUENTIAL,
        false,
        0,
        0,
        LOG_ERRORS,
        0,
        0,
      );
      if (options === 0) fail("session options");
      const at = allocate(model.length);
      new Uint8Array(memory.buffer, at, model.length).set(model);
      try {
        const session = await module._OrtCreateSession(at, model.length, options);
        if (session === 0) fail("the model was refused");
        return createSession(session);
      } finally {
        module._free(at);
        module._OrtReleaseSessionOptions(options);
      }
    },
  };

  function createSession(session: number): OnnxSession {
    const allocated: number[] = [];
    const tensors: number[] = [];
    const runOptions = module._OrtCreateRunOptions(LOG_ERRORS, 0, false, 0);
    if (runOptions === 0) fail("run options");

    const keep = (values: ArrayLike<number>, Values: typeof Uint8Array | typeof Uint32Array): number => {
      const address = allocate(values.length * Values.BYTES_PER_ELEMENT);
      allocated.push(address);
      new Values(memory.buffer, address, values.length).set(values);
      return address;
    };
    const place = ({ name, shape, values }: PlacedTensor): number => {
      const type = values instanceof Int32Array ? INT32 : FLOAT32;
      const { byteOffset, byteLength } = values;
      const dimensions = keep(shape, Uint32Array);
      const tensor = module._OrtCreateTensor(type, byteOffset, byteLength, dimensions, shape.length, ON_CPU);
      if (tensor === 0) fail(`tensor ${name} [${shape.join(", ")}]`);
      tensors.push(tensor);
      return tensor;
    };
    const encoder = new TextEncoder();
    const keepNames = (placed: readonly PlacedTensor[]): number =>
      keep(
        placed.map(({ name }) => keep([...encoder.encode(name), 0], Uint8Array)),
        Uint32Array,
      );

    return {
      bind(inputs, outputs) {
        const [inputNames, outputNames] = [keepNames(inputs), keepNames(outputs)];
        const inputTensors = keep(inputs.map(place), Uint32Array);
        const outputTensors = keep(outputs.map(place), Uint32Array);
        return async () => {
          const problem = await module._OrtRun(
            session,
            inputNames,
            inputTensors,
            inputs.length,
            outputNames,
            outputs.length,
            outputTensors,
            runOptions,
          );
          if (problem !== 0) fail("run");
        };
      },
      async release() {
        for (const tensor of tensors) module._OrtReleaseTensor(tensor);
        module._OrtReleaseRunOptions(runOptions);
        module._OrtReleaseSession(session);
        for (const address of allocated) module._free(address);
      },
    };
  }
}

/** The module, and the memory that it made for itself: it is among the imports, and not among what the module shows. */
function instantiate(
  factory: OrtFactory,
  wasm: WebAssembly.Module,
): Promise<{ readonly module: OrtModule; readonly memory: WebAssembly.Memory }> {
  return new Promise((resolve, reject) => {
    let memory: WebAssembly.Memory | undefined;
    const started = factory({
      numThreads: THREADS,
      instantiateWasm(imports, done) {
        memory = Object.values(imports)
          .flatMap((values) => Object.values(values))
          .find((value) => value instanceof WebAssembly.Memory);
        WebAssembly.instantiate(wasm, imports).then((instance) => done(instance, wasm), reject);
      },
    });
    started.then((module) => {
      if (memory === undefined) reject(new Error("onnxruntime's module imports no memory"));
      else resolve({ module: module as OrtModule, memory });
    }, reject);
  });
}
