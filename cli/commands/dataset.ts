/** `commonweight dataset push`, `dataset list` and `dataset delete`. */

import { Command } from "commander";
import { type AccessOptions, openApi } from "../access.ts";
import { createCommand, dataOption, serverOption, yesOption } from "../arguments.ts";
import { confirm } from "../confirm.ts";
import { plain } from "../foreign-text.ts";
import { pushCommand } from "./push.ts";

async function list(options: AccessOptions): Promise<void> {
  const { datasets } = await openApi(options).listDatasets();
  if (datasets.length === 0) console.log("there are no data sets");
  for (const { name, samples, bytes } of datasets) {
    console.log(`${plain(name)}  ${samples} samples  ${(bytes / 1e6).toFixed(1)} MB`);
  }
}

interface DeleteOptions extends AccessOptions {
  readonly force: boolean;
  readonly yes: boolean;
}

async function remove(name: string, options: DeleteOptions): Promise<void> {
  await confirm(`This deletes data set ${plain(name)}; those who need it later have to push it again.`, options);
  const { deletedChunks } = await openApi(options).deleteDataset(name, options.force);
  console.log(`${plain(name)} is deleted, with ${deletedChunks} chunks that no other data set has`);
}

export function datasetCommand(): Command {
  const listCommand = createCommand("list", "list the coordinator's data sets", ["dataset list"])
    .addOption(serverOption())
    .addOption(dataOption())
    .action(list);
  const deleteCommand = createCommand("delete", "delete a data set that no session trains on", [
    "dataset delete digits",
    "dataset delete digits --yes --server https://commonweight.example.workers.dev",
  ])
    .argument("<name>", "what sessions call it")
    .option("--force", "even if a session that is not over trains on it: that session cannot go on", false)
    .addOption(yesOption())
    .addOption(serverOption())
    .addOption(dataOption())
    .action(remove);
  return new Command("dataset")
    .description("push, list and delete data sets")
    .addCommand(pushCommand())
    .addCommand(listCommand)
    .addCommand(deleteCommand);
}
