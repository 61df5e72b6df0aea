/**
 * The parts of the rivals' packages that are used: they are installed by the benchmarks alone, and the types of this
 * project are checked without them.
 */

declare module "@jax-js/jax" {
  /** Arrays are owned: handing one to a function uses it up, and `.ref` is one more reference to it. */
  export interface Array {
    readonly ref: Array;
    add(other: Array | number): Array;
    sub(other: Array | number): Array;
    mul(other: Array | number): Array;
    div(other: Array | number): Array;
    neg(): Array;
    sum(axis?: number | readonly number[], options?: { readonly keepdims?: boolean }): Array;
    reshape(shape: readonly number[]): Array;
    max(): Array;
    data(): Promise<Float32Array>;
    dispose(): void;
  }
  export type Device = "wasm" | "webgpu";
  type Tree = readonly Array[];
  export function init(...devices: Device[]): Promise<Device[]>;
  export function defaultDevice(device: Device): Device;
  export function jit<Arguments extends readonly (Array | Tree)[], Result>(
    compute: (...args: Arguments) => Result,
    options?: { readonly device?: Device },
  ): (...args: Arguments) => Result;
  export function valueAndGrad<Rest extends readonly (Array | Tree)[]>(
    loss: (parameters: Tree, ...rest: Rest) => Array,
  ): (parameters: Tree, ...rest: Rest) => [value: Array, gradients: Tree];
  export function blockUntilReady<T extends Array | Tree | readonly [Array, Tree]>(value: T): Promise<T>;
  export const numpy: {
    readonly float32: string;
    readonly int32: string;
    array(
      values: Float32Array | Int32Array,
      options: { readonly shape?: readonly number[]; readonly dtype?: string; readonly device?: Device },
    ): Array;
    matmul(a: Array, b: Array): Array;
    sqrt(x: Array): Array;
    split(x: Array, sections: number, axis: number): Array[];
  };
  export const lax: {
    convGeneralDilated(
      input: Array,
      kernel: Array,
      strides: readonly number[],
      padding: readonly (readonly [number, number])[],
    ): Array;
    reduceWindow(
      input: Array,
      computation: (window: Array) => Array,
      dimensions: readonly number[],
      strides?: readonly number[],
    ): Array;
  };
  export const nn: {
    relu(x: Array): Array;
    gelu(x: Array, options: { readonly approximate: boolean }): Array;
    logSoftmax(x: Array, axis?: number): Array;
    oneHot(x: Array, classes: number): Array;
    standardize(x: Array, axis: number, options: { readonly epsilon: number }): Array;
    dotProductAttention(query: Array, key: Array, value: Array, options: { readonly isCausal: boolean }): Array;
  };
}

declare module "@tensorflow/tfjs-core" {
  export interface Tensor {
    readonly shape: readonly number[];
    data(): Promise<Float32Array>;
    dispose(): void;
  }
  export interface Variable extends Tensor {
    readonly name: string;
  }
  type Padding = "same" | "valid";
  export function setBackend(name: string): Promise<boolean>;
  export function ready(): Promise<void>;
  export function env(): { set(flag: string, value: boolean | number): void };
  export function tidy<T>(compute: () => T): T;
  export function keep<T extends Tensor>(tensor: T): T;
  export function variable(initial: Tensor, trainable: boolean, name?: string): Variable;
  export function tensor(
    values: Float32Array | Int32Array,
    shape: readonly number[],
    dtype: "float32" | "int32",
  ): Tensor;
  export function scalar(value: number): Tensor;
  export function variableGrads(
    loss: () => Tensor,
    variables: readonly Variable[],
  ): { readonly value: Tensor; readonly grads: Readonly<Record<string, Tensor>> };
  export function matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  export function add(a: Tensor, b: Tensor): Tensor;
  export function sub(a: Tensor, b: Tensor): Tensor;
  export function mul(a: Tensor, b: Tensor): Tensor;
  export function relu(x: Tensor): Tensor;
  export function erf(x: Tensor): Tensor;
  export function rsqrt(x: Tensor): Tensor;
  export function softmax(x: Tensor): Tensor;
  export function moments(
    x: Tensor,
    axis: number,
    keepDims: boolean,
  ): { readonly mean: Tensor; readonly variance: Tensor };
  export function reshape(x: Tensor, shape: readonly number[]): Tensor;
  export function transpose(x: Tensor, perm: readonly number[]): Tensor;
  export function split(x: Tensor, parts: number, axis: number): Tensor[];
  export function oneHot(x: Tensor, depth: number): Tensor;
  export function conv2d(x: Tensor, filter: Tensor, strides: number, padding: Padding): Tensor;
  export function maxPool(x: Tensor, size: number, strides: number, padding: Padding): Tensor;
  export enum Reduction {
    SUM = 1,
  }
  interface Optimizer {
    minimize(loss: () => Tensor, returnCost: boolean, variables: readonly Variable[]): Tensor | null;
    dispose(): void;
  }
  export const train: {
    adam(learningRate: number, beta1: number, beta2: number, epsilon: number): Optimizer;
  };
  export const losses: {
    softmaxCrossEntropy(
      labels: Tensor,
      logits: Tensor,
      weights?: number,
      labelSmoothing?: number,
      reduction?: Reduction,
    ): Tensor;
  };
}

declare module "@tensorflow/tfjs-core/dist/register_all_gradients" {}

declare module "@tensorflow/tfjs-backend-webgpu" {}

declare module "@tensorflow/tfjs-backend-wasm" {
  export function setWasmPaths(files: Readonly<Record<string, string>>): void;
}

declare module "*.wasm?url" {
  const address: string;
  export default address;
}
