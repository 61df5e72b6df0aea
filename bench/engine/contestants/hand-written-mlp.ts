/**
 * An MLP's loss and gradients as one ONNX graph, written by hand: what somebody who knows onnxruntime would write, and
 * nothing around it. Independent of the automatic differentiation and of the lowerings; it shares only the writer of
 * protobuf messages. Linear layers with ReLU between them, softmax and cross-entropy summed over the batch.
 */

import { ModelWriter } from "../../../client/engine/onnx/model.ts";

export interface HandMadeModel {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Names of inputs besides `x` [N, in] and `y` [N] int32, and of outputs, in the order weight, bias, weight, bias, … */
  readonly parameters: readonly string[];
  readonly gradients: readonly string[];
}

/** @param sizes of the layers, from the input's to the output's */
export function writeHandMadeMlp(sizes: readonly number[], batch: number): HandMadeModel {
  const to = new ModelWriter();
  const layers = sizes.slice(1).map((size, index) => ({ in: sizes[index], out: size, name: `layer${index}` }));
  const classes = sizes[sizes.length - 1];
  to.input("x", "float32", [batch, sizes[0]]);
  to.input("y", "int32", [batch]);
  for (const { in: width, out, name } of layers) {
    to.input(`${name}.weight`, "float32", [out, width]);
    to.input(`${name}.bias`, "float32", [out]);
  }

  /** Input of each layer. */
  const activations = ["x"];
  for (const [index, { name }] of layers.entries()) {
    const sum = to.fresh();
    const operands = [activations[index], `${name}.weight`, `${name}.bias`];
    to.node("Gemm", operands, sum, { transB: { int: 1 } }); // [N, out]
    const isLast = index === layers.length - 1;
    const next = isLast ? sum : to.fresh();
    if (!isLast) to.node("Relu", [sum], next);
    activations.push(next);
  }

  // Loss: −Σ log p of the targets. Its gradient by the logits: p − one-hot.
  const [target, picked, total, log] = [to.fresh(), to.fresh(), to.fresh(), to.fresh()];
  const column = to.initializer(
    Int32Array.from({ length: classes }, (_, at) => at),
    [1, classes],
  );
  const [rows, equal] = [to.fresh(), to.fresh()];
  to.node("Unsqueeze", ["y", to.integers([1])], rows); // [N, 1]
  to.node("Equal", [rows, column], equal); // [N, classes]
  to.node("Cast", [equal], target, { to: { int: 1 } });
  to.node("LogSoftmax", [activations[layers.length]], log, { axis: { int: 1 } });
  to.node("Mul", [log, target], picked);
  to.node("ReduceSum", [picked, to.integers([0, 1])], total, { keepdims: { int: 0 } });
  to.node("Neg", [total], "loss");
  to.output("loss", "float32", []);
  const probability = to.fresh();
  to.node("Exp", [log], probability);
  let gradient = to.fresh();
  to.node("Sub", [probability, target], gradient); // [N, classes]

  for (const [index, { name, in: width, out }] of [...layers.entries()].reverse()) {
    // [out, in] = [N, out]ᵀ · [N, in]
    to.node("Gemm", [gradient, activations[index]], `${name}.weight.gradient`, { transA: { int: 1 } });
    to.output(`${name}.weight.gradient`, "float32", [out, width]);
    to.node("ReduceSum", [gradient, to.integers([0])], `${name}.bias.gradient`, { keepdims: { int: 0 } });
    to.output(`${name}.bias.gradient`, "float32", [out]);
    if (index === 0) break;
    const [back, open, next] = [to.fresh(), to.fresh(), to.fresh()];
    to.node("MatMul", [gradient, `${name}.weight`], back); // [N, in]
    // Behind a ReLU nothing is negative: the sign is 1 where it let through, else 0.
    to.node("Sign", [activations[index]], open);
    to.node("Mul", [back, open], next);
    gradient = next;
  }
  const names = layers.flatMap(({ name }) => [`${name}.weight`, `${name}.bias`]);
  return { bytes: to.finish(), parameters: names, gradients: names.map((name) => `${name}.gradient`) };
}
