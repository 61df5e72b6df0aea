/** `commonweight import`: a model from PyTorch, looked at whole, and a session file that trains it. */

import { existsSync, mkdirSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";
import type { Command } from "commander";
import { GraphError } from "../../shared/graph/error.ts";
import type { Graph } from "../../shared/graph/ir.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { sizeOf } from "../../shared/graph/tensor.ts";
import { validateGraph } from "../../shared/graph/validate.ts";
import { buildGraph, loss, type Module } from "../../shared/nn/index.ts";
import { checkIndependence } from "../../shared/onnx/independence.ts";
import { MAX_MODEL_BYTES, type OnnxModel } from "../../shared/onnx/model.ts";
import { onnxModule } from "../../shared/onnx/module.ts";
import { coordinatorBudget } from "../../workers/limits.ts";
import { createCommand } from "../arguments.ts";
import { CliError, messageOf } from "../errors.ts";
import { plain } from "../foreign-text.ts";
import { readFile } from "../importers/file.ts";
import { parseSafetensors } from "../importers/safetensors.ts";
import { writeWhole } from "../state.ts";

interface ImportOptions {
  readonly out: string;
  readonly stateDict?: string;
  readonly force: boolean;
}

/** Samples of the micro-batch that the coordinator's checks are tried with. */
const MICRO_BATCH = 32;

/** Throws CliError naming the file for what the reader or the checks refuse. */
function about<T>(file: string, look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new CliError(`${file}: ${error.message}`, { cause: error });
  }
}

/** Shape of a sample. Throws CliError where the file leaves more than the batch open. */
function sampleShape(file: string, { inputs }: OnnxModel): number[] {
  const shape = inputs[0]?.shape ?? [];
  return shape.slice(1).map((size, axis) => {
    if (size !== null) return size;
    throw new CliError(
      `${file}: size ${axis + 1} of its input ${inputs[0]?.name} is left open: export it with dynamic_axes for the batch (axis 0) alone`,
    );
  });
}

/** The graph with a loss that any prediction has; also what a coordinator would make of it. */
function buildChecked(model: Module, input: readonly number[]): Graph {
  const graph = buildGraph({ model, loss: loss.mse(), input });
  validateGraph(JSON.parse(JSON.stringify(graph)), { ...coordinatorBudget, microBatch: MICRO_BATCH });
  return graph;
}

function sessionSource(title: string, model: string, stateDict: string | null, input: readonly number[]): string {
  const options = stateDict === null ? "" : `, { stateDict: safetensors(${JSON.stringify(stateDict)}) }`;
  const names = stateDict === null ? "onnx" : "onnx, safetensors";
  return `/**
 * Trains the model of ${model.replace(/[^\x20-\x7e]|\*\//g, "_")} from its own weights on. Written by commonweight import: the data are yours to
 * name, and the loss and the figures yours to choose.
 */

import { ${names} } from "commonweight/files";
import { dataset, defineSession, loss, optim } from "commonweight/nn";

export default defineSession({
  title: ${JSON.stringify(title)},
  model: onnx(${JSON.stringify(model)}${options}), // the path is relative to this file
  input: [${input.join(", ")}],
  loss: loss.crossEntropy(), // loss.mse() for numbers, loss.bceWithLogits() for yes and no
  optimizer: optim.adam({ lr: 1e-4 }), // small steps: it has learnt something already
  // What commonweight dataset push prints for your data.
  data: dataset("my-data", { x: "features", y: "label", train: [0, 800], validation: [800, 1000] }),
  batchSize: 128,
  epochs: 3,
});
`;
}

/** As a path in a session file. */
function pathFrom(folder: string, file: string): string {
  return relative(folder, resolve(file)).replaceAll("\\", "/");
}

function summary(file: string, { opset, nodes, outputs }: OnnxModel, graph: Graph, input: readonly number[]): string[] {
  const tensors = graph.parameters.map(
    ({ name, shape, trainable }) => `  ${plain(name)} [${shape.join(", ")}]${trainable ? "" : ", not trained"}`,
  );
  const count = graph.parameters.reduce((sum, { shape, trainable }) => sum + (trainable ? sizeOf(shape) : 0), 0);
  return [
    `${file}: opset ${opset}, ${nodes.length} nodes, here ${graph.nodes.length} with a loss`,
    `takes [N, ${input.join(", ")}], predicts ${plain(outputs[0]?.name ?? "")}`,
    `${count} trained numbers in ${parameterLength(graph)} places:`,
    ...tensors,
  ];
}

function runImport(file: string, { out, stateDict, force }: ImportOptions): void {
  const path = resolve(out);
  if (existsSync(path) && !force)
    throw new CliError(`${out} would be overwritten: choose another one with -o, or say --force`);
  const names = stateDict === undefined ? undefined : parseSafetensors(readFile(stateDict, MAX_MODEL_BYTES), stateDict);
  const module = about(file, () =>
    onnxModule(readFile(file, MAX_MODEL_BYTES), names === undefined ? {} : { stateDict: names }),
  );
  const input = sampleShape(file, module.model);
  const graph = about(file, () => buildChecked(module, input));
  const isChecked = about(file, () => checkIndependence(graph));
  const folder = dirname(path);
  const source = sessionSource(
    basename(file).replace(/\.onnx$/i, "") || "Imported model",
    pathFrom(folder, file),
    stateDict === undefined ? null : pathFrom(folder, stateDict),
    input,
  );
  try {
    mkdirSync(folder, { recursive: true });
    writeWhole(path, source);
  } catch (error) {
    throw new CliError(`cannot write to ${out}: ${messageOf(error)}`, { cause: error });
  }
  console.log(summary(file, module.model, graph, input).join("\n"));
  if (!isChecked) console.log("too large to try whether a sample's prediction depends on the others of its batch");
  console.log(`wrote ${out}: name your data in it, then commonweight train ${out}`);
}

export function importCommand(): Command {
  const examples = ["import model.onnx", "import model.onnx -o fine-tuning.ts --state-dict model.safetensors"];
  return createCommand("import", "write a session file that trains a model exported by PyTorch as ONNX", examples)
    .argument("<model.onnx>", 'opset 13 to 18, weights inside; torch.onnx.export(model.eval(), x, "model.onnx")')
    .option("-o, --out <file>", "the session file to write", "session.ts")
    .option("--state-dict <file>", "a safetensors file whose names take the place of those that the exporter made up")
    .option("--force", "overwrite what is there", false)
    .action(runImport);
}
