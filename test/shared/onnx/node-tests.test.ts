import { describe, expect, it } from "vitest";
import { GraphError } from "../../../shared/graph/index.ts";
import { IMPORTED } from "../../../shared/onnx/module.ts";
import { UNSUPPORTED } from "../../../shared/onnx/unsupported.ts";
import { type Feeding, feedingsOf, load, NODE_TESTS, type NodeTest, run } from "./node-tests.ts";

const HALF = 10;
/** Of a number, at most: float32 weights against what ONNX computed in float32, or rounded to 11 bits. */
const TOLERANCE = { single: 1e-5, half: 1e-3 } as const;

/** Written out by ONNX itself with a π of six digits. */
const ROUGH = /window_/;

/** Tests of imported ops that are about something that is not imported: names or their ends, and what is refused. */
const REFUSED: readonly (readonly [reason: string, complaint: string | null, names: readonly string[]])[] = [
  ["three spatial axes", "1 to 2 spatial axes", ["test_convtranspose_3d"]],
  ["three spatial axes, too large for the fixture", null, ["test_averagepool_3d_default", "test_maxpool_3d_default"]],
  [
    "statistics of the batch",
    "export the model after model.eval()",
    ["test_batchnorm_epsilon_training_mode", "test_batchnorm_example_training_mode"],
  ],
  [
    "indices of the largest",
    "its output of indices",
    ["test_maxpool_with_argmax_2d_precomputed_pads", "test_maxpool_with_argmax_2d_precomputed_strides"],
  ],
  [
    "tensors without elements",
    "has no numbers",
    [
      "test_reshape_allowzero_reordered",
      "test_split_zero_size_splits",
      "test_split_zero_size_splits_opset18 (since 18)",
      ...["l1", "l2", "max", "min", "sum_square"].map((name) => `test_reduce_${name}_empty_set (since 18)`),
      ...["l1", "l2", "sum_square"].map((name) => `test_reduce_${name}_empty_set_expanded (since 18)`),
      "test_reduce_max_empty_set_bool (since 18)",
    ],
  ],
  ["tensors without elements", "nothing is left of it", ["test_slice_start_out_of_bounds"]],
  [
    "random masks of ONNX's own generator: dropout is the session's",
    null,
    ["", "_default", "_default_mask", "_mask"].map((name) => `test_training_dropout${name}`),
  ],
  [
    "bfloat16 and text, which NumPy's arrays do not hold",
    null,
    ["BFLOAT16_to_FLOAT", "FLOAT_to_BFLOAT16", "FLOAT_to_STRING", "STRING_to_FLOAT"].flatMap((name) =>
      ["test_cast_", "test_castlike_", "test_castlike_"].map((op, at) => `${op}${name}${at === 2 ? "_expanded" : ""}`),
    ),
  ],
  ["text", null, ["test_equal_string (since 18)", "test_equal_string_broadcast (since 18)"]],
  ["sequences and optional values", null, ["test_identity_opt", "test_identity_sequence"]],
];

const refusalOf = (name: string) => REFUSED.find(([, , names]) => names.includes(name));

/** Where a client's numbers may not be what ONNX allows: why, by test and input. */
const NOT_FED: Readonly<Record<string, number>> = {
  // A client's indices are tokens and classes: what is below 0 is no row, and is not counted from the end.
  test_gather_negative_indices: 1,
};

const isImported = (op: string): boolean => IMPORTED.computed.has(op) || IMPORTED.folded.has(op);
const isTried = ({ name, ops }: NodeTest): boolean => ops.every(isImported) && refusalOf(name) === undefined;

/** Throws what is wrong with the outputs; GraphErrors are thrown as they are. */
function expectOutputs(test: NodeTest, feeding: Feeding): void {
  const loaded = load(test);
  const results = run(loaded, feeding);
  for (const [index, { name, shape, data }] of loaded.expected.entries()) {
    const got = results.find((result) => result.name === name);
    if (got === undefined) throw new Error(`${test.name}: there is no output ${name}`);
    expect(got.shape, test.name).toEqual(shape);
    const isRough = loaded.model.outputs[index]!.type === HALF || ROUGH.test(test.name);
    const tolerance = isRough ? TOLERANCE.half : TOLERANCE.single;
    const wrong = data.findIndex((expected, at) => {
      const value = got.data[at]!;
      if (Object.is(value, expected) || value === expected) return false;
      return !(Math.abs(value - expected) <= tolerance * Math.max(1, Math.abs(expected)));
    });
    if (wrong >= 0)
      throw new Error(`${test.name}, ${String(feeding)}: ${name}[${wrong}] is ${got.data[wrong]}, not ${data[wrong]}`);
  }
}

/** Whether it was computed: false where a GraphError refused it. */
function passes(test: NodeTest, feeding: Feeding): boolean {
  try {
    expectOutputs(test, feeding);
    return true;
  } catch (error) {
    if (error instanceof GraphError) return false;
    throw error;
  }
}

const byOp = new Map<string, NodeTest[]>();
for (const test of NODE_TESTS.filter(isTried)) {
  const op = test.ops.length === 1 ? test.ops[0]! : "what ONNX itself writes out";
  byOp.set(op, [...(byOp.get(op) ?? []), test]);
}

/** What any exported MLP, CNN and transformer may have. */
const NETWORKS =
  "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool MatMul Gemm Gather Slice Concat Split Where Sqrt Pow Expand Pad LayerNormalization GroupNormalization InstanceNormalization BatchNormalization Gelu Softmax LogSoftmax ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 Trilu Identity Cast Dropout Erf Softplus Elu HardSigmoid HardSwish Relu LeakyRelu Sigmoid Tanh Add Sub Mul Div Neg Exp Log Abs Reshape Transpose Flatten Squeeze Unsqueeze Clip PRelu";

describe("ONNX's own node tests", () => {
  it("are of ops that are imported, or listed with the reason why not, and none is both", () => {
    const ops = new Set(NODE_TESTS.flatMap((test) => test.ops));
    const unknown = [...ops].filter((op) => !op.includes(".") && !isImported(op) && !UNSUPPORTED.has(op));
    expect(unknown).toEqual([]);
    expect([...UNSUPPORTED.keys()].filter(isImported)).toEqual([]);
    expect(NETWORKS.split(" ").filter((op) => !IMPORTED.computed.has(op))).toEqual([]);
  });

  for (const [op, tests] of [...byOp].sort(([a], [b]) => (a < b ? -1 : 1))) {
    it(`${op}: ${tests.length} give what ONNX says, of weights and of constants, and of what a client feeds or not at all`, () => {
      let fed = 0;
      for (const test of tests) {
        for (const feeding of feedingsOf(load(test))) {
          if (typeof feeding === "string") {
            // What is only folded takes no weights.
            if (feeding === "weights" && test.ops.some((name) => IMPORTED.folded.has(name))) passes(test, feeding);
            else expectOutputs(test, feeding);
          } else if (!feeding.includes(NOT_FED[test.name] ?? -1) && passes(test, feeding)) fed += 1;
        }
      }
      if (NETWORKS.split(" ").includes(op)) expect(fed, `${op} of what a client feeds`).toBeGreaterThan(0);
    });
  }

  for (const [reason, complaint, names] of REFUSED) {
    it(`are refused where they are about ${reason}: ${names.length} of ${complaint ?? "no data"}`, () => {
      for (const name of names) {
        const test = NODE_TESTS.find((other) => other.name === name)!;
        expect(test?.ops.every(isImported), name).toBe(true);
        if (complaint === null) continue;
        const refused = () => run(load(test), "weights");
        expect(refused, name).toThrow(GraphError);
        expect(refused, name).toThrow(complaint);
      }
    });
  }

  it("are all accounted for", () => {
    const count = (holds: (test: NodeTest) => boolean): number => NODE_TESTS.filter(holds).length;
    const tried = count(isTried);
    const refused = count(({ name }) => refusalOf(name) !== undefined);
    const other = count(({ ops }) => !ops.every(isImported));
    console.log(
      `${NODE_TESTS.length} node tests: ${tried} passed, ${refused} refused by name, ${other} of ops that are not imported`,
    );
    expect(tried + refused + other).toBe(NODE_TESTS.length);
    expect(tried).toBeGreaterThan(650);
  });
});
