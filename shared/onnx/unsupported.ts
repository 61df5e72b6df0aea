/** ONNX's own ops that are not imported, each with the reason, which errors say. Whatever is neither here nor known is new. */

import type { OnnxNode } from "./model.ts";

const WHY: readonly (readonly [reason: string, ops: string])[] = [
  ["a graph inside of a graph is not read", "If Loop Scan SequenceMap"],
  ["recurrent layers are not supported", "GRU LSTM RNN"],
  [
    "sequences, optional values and text are no tensors",
    "ConcatFromSequence Optional OptionalGetElement OptionalHasElement RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer",
  ],
  [
    "quantized numbers have no gradient: export the model in float32",
    "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear",
  ],
  [
    "random numbers of the model's own would differ from client to client",
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
  ],
  ["shapes that depend on values are not supported", "Compress NonMaxSuppression NonZero Unique"],
  ["bits of whole numbers are no arithmetic of a network", "BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor"],
  ["it has no gradient", "Hardmax IsInf IsNaN Round"],
  ["trigonometric functions of computed values are not supported", "Acos Acosh Asin Asinh Atan Atanh Cosh Sinh Tan"],
  [
    "indices of elements are not supported: Gather of rows is",
    "GatherElements GatherND MaxUnpool OneHot ReverseSequence Scatter ScatterElements ScatterND TopK",
  ],
  [
    "the session adds the loss itself: export the model without it",
    "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
  ],
  [
    "pictures are prepared before training",
    "AffineGrid CenterCropPad DeformConv GridSample ImageDecoder MaxRoiPool Resize RoiAlign Upsample",
  ],
  ["spectra are not supported", "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT"],
  [
    "it is not supported yet",
    "Col2Im CumSum Det Einsum EyeLike GlobalLpPool LRN LpNormalization LpPool MeanVarianceNormalization ReduceProd",
  ],
];

/** By op. https://onnx.ai/onnx/operators/ */
export const UNSUPPORTED: ReadonlyMap<string, string> = new Map(
  WHY.flatMap(([reason, ops]) => ops.split(" ").map((op) => [op, reason] as const)),
);

/** Why a node's op is not supported, to be put behind its name; nothing for one that ONNX does not have. */
export function reasonOf({ op, domain }: Pick<OnnxNode, "op" | "domain">): string {
  const reason = domain === "" ? UNSUPPORTED.get(op) : "it is no op of ONNX itself";
  return reason === undefined ? "" : `: ${reason}`;
}
