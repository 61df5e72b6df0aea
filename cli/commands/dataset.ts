/** `commonweight dataset push` and `dataset list`. */

import { Command } from "commander";
import { type AccessOptions, openApi } from "../access.ts";
import { createCommand, dataOption, pairOf, serverOption } from "../arguments.ts";
import { cutDataset, readImageSet } from "../dataset.ts";

interface PushOptions extends AccessOptions {
  readonly idx: readonly string[];
  readonly testIdx?: readonly string[];
}

async function push(name: string, options: PushOptions): Promise<void> {
  const [images, labels] = pairOf(options.idx, "--idx");
  const [testImages, testLabels] =
    options.testIdx === undefined ? [undefined, undefined] : pairOf(options.testIdx, "--test-idx");
  const { manifest, chunks } = cutDataset(name, readImageSet({ images, labels, testImages, testLabels }));
  const isTerminal = process.stdout.isTTY === true;
  await openApi(options).pushDataset(manifest, chunks, (done) => {
    if (isTerminal) process.stdout.write(`\r${done}/${chunks.length} chunks`);
  });
  const splits = Object.entries(manifest.splits).map(([split, [from, to]]) => `${split} [${from}, ${to})`);
  const text = `${name}: ${manifest.samples} samples in ${chunks.length} chunks; ${splits.join(", ")}`;
  console.log(isTerminal ? `\r\x1b[K${text}` : text);
}

async function list(options: AccessOptions): Promise<void> {
  const { datasets } = await openApi(options).listDatasets();
  if (datasets.length === 0) console.log("there are no data sets");
  for (const { name, samples, bytes } of datasets) {
    console.log(`${name}  ${samples} samples  ${(bytes / 1e6).toFixed(1)} MB`);
  }
}

export function datasetCommand(): Command {
  const pushCommand = createCommand(
    "push",
    "push a data set in IDX files, gzipped or not: images become column image, labels column label",
    [
      "dataset push mnist --idx train-images-idx3-ubyte train-labels-idx1-ubyte",
      "dataset push fashion --idx train-images.gz train-labels.gz --test-idx t10k-images.gz t10k-labels.gz",
    ],
  )
    .argument("<name>", "what sessions call it")
    .requiredOption("--idx <files...>", "images and labels to train on")
    .option("--test-idx <files...>", "images and labels for the test, appended after the training ones")
    .addOption(serverOption())
    .addOption(dataOption())
    .action(push);
  const listCommand = createCommand("list", "list the coordinator's data sets", ["dataset list"])
    .addOption(serverOption())
    .addOption(dataOption())
    .action(list);
  return new Command("dataset").description("push and list data sets").addCommand(pushCommand).addCommand(listCommand);
}
