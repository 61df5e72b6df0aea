/** onnxruntime-node as a runtime of the engine: its tensors are arrays of the host, which it reads and writes in place. */

import { allocateAlone, type OnnxRuntime, type PlacedTensor } from "./runtime.ts";

type Tensors = Readonly<Record<string, unknown>>;

/** What is used of the package. */
interface OrtPackage {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Readonly<Record<string, unknown>>): Promise<NativeSession>;
  };
  readonly Tensor: new (type: string, values: PlacedTensor["values"], shape: readonly number[]) => unknown;
}

interface NativeSession {
  /** `fetches` are filled. */
  run(feeds: Tensors, fetches: Tensors): Promise<unknown>;
  release(): Promise<void>;
}

const OPTIONS = {
  executionProviders: ["cpu"],
  graphOptimizationLevel: "all",
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  logSeverityLevel: 3,
} as const;

export function wrapNodePackage(module: unknown): OnnxRuntime {
  const { InferenceSession, Tensor } = module as OrtPackage;
  const tensors = (placed: readonly PlacedTensor[]): Tensors =>
    Object.fromEntries(
      placed.map(({ name, shape, values }) => {
        return [name, new Tensor(values instanceof Int32Array ? "int32" : "float32", values, shape)];
      }),
    );
  return {
    allocate: allocateAlone,
    async createSession(model) {
      const session = await InferenceSession.create(model, OPTIONS);
      return {
        bind(inputs, outputs) {
          const [feeds, fetches] = [tensors(inputs), tensors(outputs)];
          return async () => {
            await session.run(feeds, fetches);
          };
        },
        release: () => session.release(),
      };
    },
  };
}
