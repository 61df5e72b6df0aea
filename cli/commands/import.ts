/** `commonweight import`: a model from PyTorch, looked at whole, and a session file that trains it. */

import { existsSync, mkdirSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";
import type { Command } from "commander";
import { GraphError } from "../../shared/graph/error.ts";
import type { Graph } from "../../shared/graph/ir.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { sizeOf } from "../../shared/graph/tensor.ts";
import { validateGraph } from "../../shared/graph/validate.ts";
import { buildGraph, type InputShape, loss, type Module } from "../../shared/nn/index.ts";
import { checkIndependence } from "../../shared/onnx/independence.ts";
import { MAX_MODEL_BYTES, type OnnxModel, OPSETS } from "../../shared/onnx/model.ts";
import { onnxModule } from "../../shared/onnx/module.ts";
import { dtypeOf } from "../../shared/onnx/tensor.ts";
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

/** One sample of each input, as a session file has them: one is `x`, several have the names of the model's. */
type Inputs = Readonly<Record<string, InputShape>>;

/** Throws CliError where the file leaves more than the batch open. */
function inputsOf(file: string, { inputs }: OnnxModel): Inputs {
  return Object.fromEntries(
    inputs.map(({ name, type, shape }) => {
      const sizes = (shape ?? []).slice(1).map((size, axis) => {
        if (size !== null) return size;
        throw new CliError(
          `${file}: size ${axis + 1} of its input ${name} is left open: export it with dynamic_axes for the batch (axis 0) alone`,
        );
      });
      const dtype = type === 0 || dtypeOf(type) === "float" ? "float32" : "int32";
      return [inputs.length === 1 ? "x" : name, { dtype, shape: sizes } as const];
    }),
  );
}

/** The graph with a loss that any prediction has; also what a coordinator would make of it. */
function buildChecked(model: Module, input: Inputs): Graph {
  const graph = buildGraph({ model, loss: loss.mse(), input });
  validateGraph(JSON.parse(JSON.stringify(graph)), { ...coordinatorBudget, microBatch: MICRO_BATCH });
  return graph;
}

const showShape = ({ shape }: InputShape): string => `[${shape.join(", ")}]`;

/** What a session file says of the inputs: their shapes, and the columns that they are read from. */
function inputSource(inputs: Inputs): { shapes: string; columns: string } {
  const entries = Object.entries(inputs);
  const typed = entries.map(
    ([name, given]) => `${JSON.stringify(name)}: { dtype: ${JSON.stringify(given.dtype)}, shape: ${showShape(given)} }`,
  );
  const [first] = entries;
  const isPlain = entries.length === 1 && first[1].dtype === "float32";
  const names = entries.map(([name]) => `${JSON.stringify(name)}: ${JSON.stringify(name)}`);
  return {
    shapes: isPlain ? showShape(first[1]) : `{ ${typed.join(", ")} }`,
    columns: entries.length === 1 ? 'x: "features"' : `inputs: { ${names.join(", ")} }`,
  };
}

function sessionSource(title: string, model: string, stateDict: string | null, inputs: Inputs): string {
  const options = stateDict === null ? "" : `, { stateDict: safetensors(${JSON.stringify(stateDict)}) }`;
  const names = stateDict === null ? "onnx" : "onnx, safetensors";
  const { shapes, columns } = inputSource(inputs);
  return `/**
 * Trains the model of ${model.replace(/[^\x20-\x7e]|\*\//g, "_")} from its own weights on. Written by commonweight import: the data are yours to
 * name, and the loss and the figures yours to choose.
 */

import { ${names} } from "commonweight/files";
import { dataset, defineSession, loss, optim } from "commonweight/nn";

export default defineSession({
  title: ${JSON.stringify(title)},
  model: onnx(${JSON.stringify(model)}${options}), // the path is relative to this file
  input: ${shapes},
  loss: loss.crossEntropy(), // loss.mse() for numbers, loss.bceWithLogits() for yes and no
  optimizer: optim.adam({ lr: 1e-4 }), // small steps: it has learnt something already
  // What commonweight dataset push prints for your data.
  data: dataset("my-data", { ${columns}, y: "label", train: [0, 800], validation: [800, 1000] }),
  batchSize: 128,
  epochs: 3,
});
`;
}

/** As a path in a session file. */
function pathFrom(folder: string, file: string): string {
  return relative(folder, resolve(file)).replaceAll("\\", "/");
}

function summary(file: string, { opset, nodes, outputs }: OnnxModel, graph: Graph, inputs: Inputs): string[] {
  const tensors = graph.parameters.map(
    ({ name, shape, trainable }) => `  ${plain(name)} [${shape.join(", ")}]${trainable ? "" : ", not trained"}`,
  );
  const count = graph.parameters.reduce((sum, { shape, trainable }) => sum + (trainable ? sizeOf(shape) : 0), 0);
  const several = Object.keys(inputs).length > 1;
  const takes = Object.entries(inputs).map(([name, { dtype, shape }]) =>
    [several ? plain(name) : "", dtype === "int32" ? dtype : "", `[${["N", ...shape].join(", ")}]`]
      .filter((word) => word !== "")
      .join(" "),
  );
  return [
    `${file}: opset ${opset}, ${nodes.length} nodes, here ${graph.nodes.length} with a loss`,
    `takes ${takes.join(", ")}, predicts ${plain(outputs[0]?.name ?? "")}`,
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
  const inputs = inputsOf(file, module.model);
  const graph = about(file, () => buildChecked(module, inputs));
  const isChecked = about(file, () => checkIndependence(graph));
  const folder = dirname(path);
  const source = sessionSource(
    basename(file).replace(/\.onnx$/i, "") || "Imported model",
    pathFrom(folder, file),
    stateDict === undefined ? null : pathFrom(folder, stateDict),
    inputs,
  );
  try {
    mkdirSync(folder, { recursive: true });
    writeWhole(path, source);
  } catch (error) {
    throw new CliError(`cannot write to ${out}: ${messageOf(error)}`, { cause: error });
  }
  console.log(summary(file, module.model, graph, inputs).join("\n"));
  if (!isChecked) console.log("too large to try whether a sample's prediction depends on the others of its batch");
  console.log(`wrote ${out}: name your data in it, then commonweight train ${out}`);
}

export function importCommand(): Command {
  const examples = ["import model.onnx", "import model.onnx -o fine-tuning.ts --state-dict model.safetensors"];
  return createCommand("import", "write a session file that trains a model exported by PyTorch as ONNX", examples)
    .argument(
      "<model.onnx>",
      `opset ${OPSETS.least} to ${OPSETS.most}, weights inside; torch.onnx.export(model.eval(), x, "model.onnx")`,
    )
    .option("-o, --out <file>", "the session file to write", "session.ts")
    .option("--state-dict <file>", "a safetensors file whose names take the place of those that the exporter made up")
    .option("--force", "overwrite what is there", false)
    .action(runImport);
}
