/** `commonweight train`: its arguments. */

import { type Command, Option } from "commander";
import {
  createCommand,
  dataOption,
  engineOption,
  nodeOption,
  ownServerOption,
  portOption,
  seedOption,
  volunteersOption,
  whole,
} from "../arguments.ts";
import { type TrainOptions, train } from "../train.ts";

export function trainCommand(): Command {
  const examples = [
    "train examples/mnist.ts",
    "train examples/mnist.ts --engine webgpu,wasm --steps 60",
    "train examples/neural-net.ts --volunteers 1 --json",
    "train --resume checkpoint.safetensors --epochs 20",
    "train my-session.ts --server https://commonweight.example.workers.dev --volunteers 0",
  ];
  return createCommand("train", "train a session file with volunteers on this machine, and write the model", examples)
    .argument(
      "[session file]",
      "a module whose default export is defineSession({...}); with --resume it may be left out",
    )
    .addOption(volunteersOption())
    .addOption(engineOption())
    .addOption(new Option("--epochs <n>", "instead of the file's").argParser(whole(1, 1_000_000)))
    .addOption(new Option("--steps <n>", "stop after so many steps").argParser(whole(1, 16_000_000)))
    .addOption(seedOption())
    .addOption(portOption("of the local coordinator; another one is used if it is taken"))
    .option("--json", "one JSON object a line on standard output: session, step, epoch, finished", false)
    .option("--out <file>", "the model's file (default: model.safetensors)")
    .addOption(nodeOption())
    .option(
      "--resume <file>",
      "go on from a checkpoint (export --format checkpoint) of the same session; it may last longer",
    )
    .option("--fresh", "begin anew, even if an earlier run of the same command can go on", false)
    .addOption(ownServerOption())
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Killed or interrupted, the same command goes on where it stopped. A second one at the same time keeps to itself: its
state is in .commonweight-2, its model in model-2.safetensors.`,
    )
    .action((path: string | undefined, options: TrainOptions) => train(path, options));
}
