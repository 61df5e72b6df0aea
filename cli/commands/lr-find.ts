/** `commonweight lr-find`: its arguments. */

import { type Command, Option } from "commander";
import {
  createCommand,
  dataOption,
  engineOption,
  nodeOption,
  ownServerOption,
  portOption,
  positive,
  seedOption,
  volunteersOption,
  whole,
} from "../arguments.ts";
import { findLearningRate, type LrFindOptions } from "../lr-find.ts";

export function lrFindCommand(): Command {
  const examples = [
    "lr-find examples/mnist.ts",
    "lr-find examples/iris.ts --node --volunteers 1 --from 1e-4 --to 10",
    "lr-find my-session.ts --steps 200 --out rates.svg",
    "lr-find my-session.ts --json > rates.jsonl",
  ];
  return createCommand("lr-find", "measure which learning rate suits a session file, and draw the curve", examples)
    .argument("<session file>", "a module whose default export is defineSession({...})")
    .addOption(new Option("--from <lr>", "the smallest learning rate").argParser(positive).default(1e-6, "1e-6"))
    .addOption(new Option("--to <lr>", "the largest").argParser(positive).default(10, "10"))
    .addOption(
      new Option("--steps <n>", "learning rates that are tried, one a step").argParser(whole(20, 10_000)).default(100),
    )
    .addOption(volunteersOption())
    .addOption(engineOption())
    .addOption(seedOption())
    .addOption(portOption("of the local coordinator; another one is used if it is taken"))
    .option("--json", "one JSON object a line on standard output: session, step, and with all points finished", false)
    .option("--out <file>", "the chart's file", "lr-find.svg")
    .addOption(nodeOption())
    .addOption(ownServerOption())
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
The learning rate grows by the same factor every step, from --from to --to, whatever the file's own rate and schedule. It ends
early where training falls apart: where the smoothed loss is four times its least, or a gradient is not finite. Suggested is the
rate at which the smoothed loss falls most steeply. What the other rule in use says, a tenth of the rate at which it is least, is
told, too.

The test is a session of its own, deleted at the end. What train keeps of the same file stays as it is.`,
    )
    .action((path: string, options: LrFindOptions) => findLearningRate(path, options));
}
