/** `commonweight export`: a session's weights as a file. */

import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { type AccessOptions, openApi } from "../access.ts";
import { createCommand, dataOption, parseSession, serverOption } from "../arguments.ts";
import { RefusedError } from "../errors.ts";
import { writeModel } from "../model.ts";

interface ExportOptions extends AccessOptions {
  readonly which: "best" | "latest";
  readonly out: string;
}

async function exportModel(session: string, options: ExportOptions): Promise<void> {
  const { server, id } = parseSession(session);
  const api = openApi({ server: server ?? options.server, data: options.data });
  const described = await api.readSession(id);
  const out = resolve(options.out);
  let { which } = options;
  try {
    await writeModel(api, described, which, out);
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code !== "no-best") throw error;
    which = "latest";
    console.error("nothing was measured on held-out samples yet: these are the latest weights");
    await writeModel(api, described, which, out);
  }
  const tensors = described.definition.graph.parameters.map(({ name, shape }) => `  ${name} [${shape.join(", ")}]`);
  console.log([`${out}: ${which} weights of ${described.definition.title}`, ...tensors].join("\n"));
}

export function exportCommand(): Command {
  const examples = [
    "export http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef -o model.safetensors",
    "export 0123456789abcdef0123456789abcdef --which latest",
  ];
  return createCommand("export", "write a session's weights to a file that PyTorch can load", examples)
    .argument("<session>", "its link, https://host/s/<id>, or its id")
    .addOption(
      new Option("--format <format>", "of the file: tensors have their state_dict names")
        .choices(["safetensors"])
        .default("safetensors"),
    )
    .addOption(
      new Option("--which <which>", "best on held-out samples, or latest").choices(["best", "latest"]).default("best"),
    )
    .option("-o, --out <file>", "the file to write", "model.safetensors")
    .addOption(serverOption())
    .addOption(dataOption())
    .action(exportModel);
}
