/** Attention and the transformer's block, with PyTorch's parameters. Batch first: [N, T, E]. */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import { dropout, gelu, linear, relu } from "./layers.ts";
import { buildChild, type GraphWriter, type Module } from "./module.ts";
import { layerNorm } from "./normalization.ts";
import { requireSize, showRow } from "./sizes.ts";
import { unpadded } from "./tokens.ts";

/** Options of `multiheadAttention`. */
export interface AttentionOptions {
  /** Position t sees positions up to t. */
  readonly causal?: boolean;
  /** Of the attention weights. */
  readonly dropout?: number;
  readonly bias?: boolean;
  /** Name of an int32 input [N, T], PyTorch's `key_padding_mask`: positions where it is not 0 are seen by none. */
  readonly paddingMask?: string;
}

/** Added to a score it leaves a weight of exactly 0, unless the whole row is masked: then no NaN comes of it, unlike −∞. */
const MASKED = -1e9;

/** [T, T]: 0 where a row's position sees a column's, else MASKED. */
function causalMask(to: GraphWriter, length: number): ValueId {
  const ones = to.emit("Expand", [to.constant(1)], { shape: [length, length] });
  const hidden = to.emit("Sub", [to.constant(1), to.emit("Trilu", [ones], { upper: false })], {});
  return to.emit("Mul", [hidden, to.constant(MASKED)], {});
}

/** [N, 1, 1, T]: 0 where the mask is 0, else MASKED. */
function keyMask(to: GraphWriter, name: string, length: number): ValueId {
  const seen = unpadded(to, "multiheadAttention", name, length); // [N, T, 1]
  const hidden = to.emit("Mul", [to.emit("Sub", [to.constant(1), seen], {}), to.constant(MASKED)], {});
  return to.emit("Reshape", [hidden], { shape: [-1, 1, 1, length] });
}

/** Number `index` of three values that are stacked along the first axis. */
function third(to: GraphWriter, stack: ValueId, index: number): ValueId {
  const part = to.emit("Slice", [stack], { starts: [index], ends: [index + 1], axes: [0], steps: [1] });
  const [, , ...rest] = to.shapeOf(stack);
  return to.emit("Reshape", [part], { shape: [-1, ...rest] }); // [N, H, T, d]
}

/**
 * Self-attention [N, T, embedDim] → [N, T, embedDim]: softmax(Q·Kᵀ/√d + masks)·V by head, d = embedDim / numHeads
 * (arXiv 1706.03762). Parameters as in PyTorch: in_proj_weight [3·embedDim, embedDim] (Xavier uniform) and in_proj_bias
 * (zeros), out_proj.weight and out_proj.bias (zeros).
 * https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
 */
export function multiheadAttention(
  embedDim: number,
  numHeads: number,
  { causal = false, dropout: probability = 0, bias = true, paddingMask }: AttentionOptions = {},
): Module {
  requireSize("multiheadAttention's size", embedDim);
  requireSize("multiheadAttention's number of heads", numHeads);
  if (embedDim % numHeads !== 0) {
    throw new GraphError("attribute", `multiheadAttention: ${embedDim} does not divide into ${numHeads} heads`);
  }
  const width = embedDim / numHeads;
  const dropWeights = dropout(probability);
  return {
    kind: "multiheadAttention",
    build(to, input) {
      const shape = to.shapeOf(input);
      if (shape.length !== 3 || shape[2] !== embedDim) {
        throw new GraphError(
          "shape",
          `layer ${to.path} (multiheadAttention): expected input [N, T, ${embedDim}], got ${showRow(shape)}`,
        );
      }
      const length = shape[1];
      const zeros = { kind: "constant", value: 0 } as const;
      const xavier = { kind: "uniform", bound: Math.sqrt(6 / (4 * embedDim)) } as const;
      const rows = to.emit("Reshape", [input], { shape: [-1, embedDim] }); // [N·T, E]
      const inWeight = to.parameter("in_proj_weight", [3 * embedDim, embedDim], xavier);
      const operands = bias ? [rows, inWeight, to.parameter("in_proj_bias", [3 * embedDim], zeros)] : [rows, inWeight];
      const projected = to.emit("Gemm", operands, { transA: false, transB: true }); // [N·T, 3·E]
      const parts = to.emit("Reshape", [projected], { shape: [-1, length, 3, numHeads, width] });
      const stack = to.emit("Transpose", [parts], { perm: [2, 0, 3, 1, 4] }); // [3, N, H, T, d]
      const query = to.emit("Mul", [third(to, stack, 0), to.constant(1 / Math.sqrt(width))], {});
      const key = to.emit("Transpose", [third(to, stack, 1)], { perm: [0, 1, 3, 2] }); // [N, H, d, T]

      let scores = to.emit("MatMul", [query, key], {}); // [N, H, T, T]
      if (causal) scores = to.emit("Add", [scores, causalMask(to, length)], {});
      if (paddingMask !== undefined) scores = to.emit("Add", [scores, keyMask(to, paddingMask, length)], {});
      const weights = dropWeights.build(to, to.emit("Softmax", [scores], { axis: 3 }));
      const mixed = to.emit("MatMul", [weights, third(to, stack, 2)], {}); // [N, H, T, d]

      const heads = to.emit("Transpose", [mixed], { perm: [0, 2, 1, 3] });
      const joined = to.emit("Reshape", [heads], { shape: [-1, length, embedDim] });
      return to.within("out_proj", () => {
        const out = linear(embedDim, embedDim, { bias, biasInit: zeros });
        return out.build(to, joined);
      });
    },
  };
}

/** Options of `transformerBlock`. */
export interface TransformerOptions extends Omit<AttentionOptions, "bias"> {
  /** Width of the inner layer of the feed-forward part. */
  readonly dimFeedforward?: number;
  readonly activation?: "relu" | "gelu";
  /** Normalizes before attention and feed-forward part instead of after: trains more steadily (arXiv 2002.04745). */
  readonly normFirst?: boolean;
  readonly layerNormEps?: number;
}

/**
 * Attention, then two linear layers, each with dropout, a residual connection and a layer norm: [N, T, dModel] → the same.
 * Parameters and defaults as in nn.TransformerEncoderLayer: self_attn, linear1, linear2, norm1, norm2; with `causal` it is
 * the block of a language model.
 * https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html
 */
export function transformerBlock(
  dModel: number,
  numHeads: number,
  {
    dimFeedforward = 2048,
    dropout: probability = 0.1,
    activation = "relu",
    normFirst = false,
    layerNormEps = 1e-5,
    causal = false,
    paddingMask,
  }: TransformerOptions = {},
): Module {
  const attention = multiheadAttention(dModel, numHeads, {
    causal,
    dropout: probability,
    ...(paddingMask === undefined ? {} : { paddingMask }),
  });
  const linear1 = linear(dModel, dimFeedforward);
  const linear2 = linear(dimFeedforward, dModel);
  const norm = layerNorm(dModel, { eps: layerNormEps });
  const drop = dropout(probability);
  const activate = activation === "gelu" ? gelu() : relu();
  return {
    kind: "transformerBlock",
    build(to, input) {
      const attend = (x: ValueId): ValueId => drop.build(to, buildChild(to, attention, "self_attn", x));
      const feed = (x: ValueId): ValueId => {
        const inner = drop.build(to, activate.build(to, buildChild(to, linear1, "linear1", x)));
        return drop.build(to, buildChild(to, linear2, "linear2", inner));
      };
      const sublayer = (x: ValueId, name: string, part: (x: ValueId) => ValueId): ValueId =>
        normFirst
          ? to.emit("Add", [x, part(buildChild(to, norm, name, x))], {})
          : buildChild(to, norm, name, to.emit("Add", [x, part(x)], {}));
      return sublayer(sublayer(input, "norm1", attend), "norm2", feed);
    },
  };
}
