/** `commonweight dataset push` and `dataset list`. */

import { Command } from "commander";
import { type AccessOptions, openApi } from "../access.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";
import { plain } from "../foreign-text.ts";
import { pushCommand } from "./push.ts";

async function list(options: AccessOptions): Promise<void> {
  const { datasets } = await openApi(options).listDatasets();
  if (datasets.length === 0) console.log("there are no data sets");
  for (const { name, samples, bytes } of datasets) {
    console.log(`${plain(name)}  ${samples} samples  ${(bytes / 1e6).toFixed(1)} MB`);
  }
}

export function datasetCommand(): Command {
  const listCommand = createCommand("list", "list the coordinator's data sets", ["dataset list"])
    .addOption(serverOption())
    .addOption(dataOption())
    .action(list);
  return new Command("dataset")
    .description("push and list data sets")
    .addCommand(pushCommand())
    .addCommand(listCommand);
}
