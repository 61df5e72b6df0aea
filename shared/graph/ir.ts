/**
 * The intermediate representation: one graph is one model together with its loss (invariant I7).
 *
 * Values are numbered implicitly, in this order: graph inputs, then parameters, then nodes. A node has one output and
 * may only read values with a smaller number, so a graph is a list that is executed from top to bottom, and cycles
 * cannot be written down. Shapes are not stored: they follow from the inputs (see `shapes.ts`).
 *
 * Left out on purpose: fused ops (fusion belongs to the WGSL planner), control flow, and anything that fetches.
 */

export const IR_VERSION = 1;

/** Element types. Integers carry class indices and tokens; no arithmetic is done on them. */
export type DType = "float32" | "int32";

/** A static size, or `"N"`: the micro-batch size, which is fixed when a plan is compiled. Only a leading dimension may be N. */
export type Dimension = number | "N";

/** Index of a value: inputs, then parameters, then nodes. */
export type ValueId = number;

export interface GraphInput {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dimension[];
  /** What the data layer feeds it with. `weight` is the per-sample weight [N]: 0 marks padding. */
  readonly role: "feature" | "target" | "weight";
}

/** How a parameter's first values follow from the session's seed; `bound` and `std` are in the parameter's own unit. */
export type Initializer =
  | { readonly kind: "uniform"; readonly bound: number }
  | { readonly kind: "normal"; readonly std: number }
  | { readonly kind: "constant"; readonly value: number }
  /** Not from the seed: the values travel beside the graph (see `given.ts`). */
  | { readonly kind: "given" }
  /** sin and cos in turn along the last axis, for positions along the first: see `sinusoidalPositions`. */
  | { readonly kind: "sinusoidal" };

export interface Parameter {
  /** PyTorch `state_dict` name, such as `0.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Offset of the first element in the flat parameter array, in floats; a multiple of 4 (16 bytes). */
  readonly offset: number;
  /** False for buffers: no gradient is made and the optimizer leaves it alone. */
  readonly trainable: boolean;
  readonly init: Initializer;
  /** Further names of the same tensor (tied weights). */
  readonly aliases?: readonly string[];
  /** Optimizer group, `"default"` if absent. */
  readonly group?: string;
}

/** Attributes by op. Names and meanings are ONNX's; flags are booleans and axes are non-negative. */
export interface OpAttributes {
  /** A float32 scalar of shape []. */
  Constant: { readonly value: number };
  /** A float32 vector of shape [values.length]: ONNX's Constant of `value_floats`. */
  ConstantVector: { readonly values: readonly number[] };
  /** Inverted-dropout mask [N, ...shape]: 0 with `probability`, else 1/(1−probability). Not an ONNX op: see shared/random. */
  DropoutMask: { readonly probability: number; readonly layer: number; readonly shape: readonly number[] };
  /** A·B, or with three inputs A·B + C; C of shape [columns] is broadcast over the rows. */
  Gemm: { readonly transA: boolean; readonly transB: boolean };
  Add: Record<never, never>;
  Sub: Record<never, never>;
  Mul: Record<never, never>;
  Div: Record<never, never>;
  Max: Record<never, never>;
  Neg: Record<never, never>;
  Abs: Record<never, never>;
  /** −1, 0 or 1. */
  Sign: Record<never, never>;
  Exp: Record<never, never>;
  Log: Record<never, never>;
  Erf: Record<never, never>;
  Tanh: Record<never, never>;
  Sigmoid: Record<never, never>;
  /** log(1 + eˣ), computed without overflow. */
  Softplus: Record<never, never>;
  Relu: Record<never, never>;
  LeakyRelu: { readonly alpha: number };
  Softmax: { readonly axis: number };
  LogSoftmax: { readonly axis: number };
  ReduceSum: { readonly axes: readonly number[]; readonly keepdims: boolean };
  ReduceMax: { readonly axes: readonly number[]; readonly keepdims: boolean };
  /** int32 index of the first largest value; the axis is removed. */
  ArgMax: { readonly axis: number };
  /** int32 [...] → float32 [..., depth] of zeros and ones; an index outside [0, depth) gives a row of zeros. */
  OneHot: { readonly depth: number };
  /** int32 → float32, or float32 → int32 without its fraction: masks as numbers, and numbers as indices. No gradient. */
  Cast: { readonly to: DType };
  /** −1 at most once; 0 copies the input's dimension. */
  Reshape: { readonly shape: readonly number[] };
  Transpose: { readonly perm: readonly number[] };
  /** Broadcast to `shape`; "N" is the micro-batch. */
  Expand: { readonly shape: readonly Dimension[] };
  /** Inputs [N, C, …], weights [M, C/group, …kernel] and perhaps bias [M] → [N, M, …]; over one or two spatial axes. */
  Conv: WindowAttributes & { readonly group: number };
  /** The adjoint of Conv: inputs [N, C, …], weights [C, M/group, …kernel] and perhaps bias [M] → [N, M, …]. */
  ConvTranspose: WindowAttributes & { readonly group: number; readonly output_padding: readonly number[] };
  /** The largest of each window; padding never is. */
  MaxPool: PoolAttributes;
  /**
   * Not an ONNX op: inputs of MaxPool and the cotangent of its output → the cotangent of its input. Each window gives
   * to the first of its largest elements in row-major order, as in PyTorch.
   */
  MaxPoolGrad: PoolAttributes;
  /** The mean of each window: of all its elements, or of those that are no padding. No dilations. */
  AveragePool: Omit<PoolAttributes, "dilations"> & { readonly count_include_pad: boolean };
  /** By axis from `starts` to before `ends`, every `steps`-th; all of them within the input. */
  Slice: {
    readonly starts: readonly number[];
    readonly ends: readonly number[];
    readonly axes: readonly number[];
    readonly steps: readonly number[];
  };
  /** Zeros before and after, for every axis: first all begins, then all ends. */
  Pad: { readonly pads: readonly number[] };
  Concat: { readonly axis: number };
  /** A·B of the last two axes; the axes before them broadcast as in NumPy. Both operands have at least two axes. */
  MatMul: Record<never, never>;
  Sqrt: Record<never, never>;
  /** The last two axes' triangle, the diagonal with it; zeros elsewhere. */
  Trilu: { readonly upper: boolean };
  /** Rows of a table [depth, …rest] by int32 indices [...]: [..., …rest]. An index outside [0, depth) gives zeros. */
  Gather: Record<never, never>;
  /** Not an ONNX op, Gather's adjoint: int32 indices [...] and rows [..., …rest] → their sums by index, [depth, …rest]. */
  GatherGrad: { readonly depth: number };
}

/** How windows lie over spatial axes; `pads` has first all begins, then all ends. */
export interface WindowAttributes {
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations: readonly number[];
}

export interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[];
}

export type OpName = keyof OpAttributes;

/** One node of any op; `Node<"Gemm">` narrows the attributes. */
export type Node<Op extends OpName = OpName> = Op extends OpName
  ? { readonly op: Op; readonly inputs: readonly ValueId[]; readonly attributes: OpAttributes[Op] }
  : never;

export interface GraphOutputs {
  /** The model's output, such as logits [N, classes]. */
  readonly prediction: ValueId;
  /** Σ over the micro-batch of weight × loss: a scalar []. */
  readonly loss: ValueId;
  /** Σ of the weights, the loss's denominator: a scalar []. The coordinator divides once. */
  readonly weight: ValueId;
  /** Further scalar sums by name, such as `correct`; what is shown follows from them. Sorted by name on the wire. */
  readonly metrics: Readonly<Record<string, ValueId>>;
  /** Sums that are tables of a fixed shape, such as `confusion`: computed on held-out samples only. Sorted by name on the wire. */
  readonly tables?: Readonly<Record<string, { readonly value: ValueId; readonly shape: readonly number[] }>>;
  /** Most that one sample can add to the weight; the number of its targets if absent. */
  readonly largestWeight?: number;
}

export interface Graph {
  readonly irVersion: typeof IR_VERSION;
  readonly inputs: readonly GraphInput[];
  readonly parameters: readonly Parameter[];
  readonly nodes: readonly Node[];
  readonly outputs: GraphOutputs;
}

/** A graph with its backward pass appended by `differentiate`. */
export interface TrainingGraph extends Graph {
  /** ∂loss/∂parameter by parameter index, of the parameter's shape; null where it is not trainable or not reached. */
  readonly gradients: readonly (ValueId | null)[];
}
