/** The command line: what can be asked, and its help. */

import { writeFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { CoordinatorApi } from "./api.ts";
import { startCoordinator } from "./coordinator.ts";
import { cutDataset, readImageSet } from "./dataset.ts";
import { CliError, messageOf } from "./errors.ts";
import { encodeSafetensors } from "./safetensors.ts";
import { openState } from "./state.ts";
import { type TrainOptions, train } from "./train.ts";
import type { VolunteerEngine } from "./volunteers.ts";

const ENGINES = ["auto", "webgpu", "wasm"] as const;

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
    }
    return value;
  };
}

function engineList(text: string): VolunteerEngine[] {
  return text.split(",").map((name) => {
    const engine = ENGINES.find((known) => known === name.trim());
    if (engine === undefined) throw new InvalidArgumentError(`engines are ${ENGINES.join(", ")}`);
    return engine;
  });
}

const dataOption = (): Option =>
  new Option("--data <folder>", "where the local coordinator keeps its storage and secret").default(".commonweight");
const serverOption = (): Option =>
  new Option("--server <url>", "a running coordinator").default("http://127.0.0.1:8787");

/** The secret of a coordinator that is not started here. */
const adminSecret = (): string | undefined => process.env.COMMONWEIGHT_ADMIN_SECRET;

function trainCommand(): Command {
  return new Command("train")
    .description("train a session file with volunteers on this machine, and write the model")
    .argument("<session file>", "a module whose default export is defineSession({...})")
    .addOption(new Option("--volunteers <n>", "how many to start").argParser(whole(1, 64)).default(2))
    .addOption(
      new Option("--engine <list>", "auto, webgpu or wasm; a comma list assigns engines to volunteers in order")
        .argParser(engineList)
        .default(["auto"], "auto"),
    )
    .addOption(new Option("--epochs <n>", "instead of the file's").argParser(whole(1, 1_000_000)))
    .addOption(new Option("--steps <n>", "stop after so many steps").argParser(whole(1, 16_000_000)))
    .addOption(new Option("--seed <n>", "instead of the file's").argParser(whole(0, 0xffffffff)))
    .addOption(
      new Option("--port <n>", "of the local coordinator; another one is used if it is taken").argParser(
        whole(0, 65535),
      ),
    )
    .option("--json", "one JSON object a line on standard output: session, step, epoch, finished", false)
    .option("--out <file>", "the model's file", "model.safetensors")
    .option("--node", "volunteers as Node processes, even if there is a browser", false)
    .option("--fresh", "begin anew, even if an earlier run of the same command can go on", false)
    .addOption(
      new Option(
        "--server <url>",
        "use a running coordinator (its secret in COMMONWEIGHT_ADMIN_SECRET) instead of a local one",
      ),
    )
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Examples:
  commonweight train examples/mnist.ts
  commonweight train examples/mnist.ts --engine webgpu,wasm --steps 60
  commonweight train examples/neural-net.ts --volunteers 1 --json`,
    )
    .action((path: string, options: TrainOptions) => train(path, options));
}

function devCommand(): Command {
  return new Command("dev")
    .description("run a local coordinator that keeps its state, until it is interrupted")
    .addOption(new Option("--port <n>", "to listen on").argParser(whole(0, 65535)))
    .addOption(dataOption())
    .action(async ({ port, data }: { port?: number; data: string }) => {
      const state = openState(data);
      const coordinator = await startCoordinator({ state, port, say: (line) => console.log(line) });
      console.log(`coordinator ${coordinator.url}`);
      console.log(
        `admin secret in ${state.path}/admin-secret (export COMMONWEIGHT_ADMIN_SECRET="$(cat ${state.path}/admin-secret)")`,
      );
      await new Promise<void>((resolve) => {
        process.once("SIGINT", resolve);
        process.once("SIGTERM", resolve);
      });
      await coordinator.stop();
      state.release();
    });
}

function volunteerCommand(): Command {
  return new Command("volunteer")
    .description("take part in a session from Node, without a browser")
    .argument("<url>", "the session's link, https://host/s/<id>")
    .addOption(
      new Option("--engine <kind>", "auto, wasm or native (needs onnxruntime-node)")
        .choices(["auto", "wasm", "native"])
        .default("auto"),
    )
    .addOption(new Option("--workers <n>", "threads").argParser(whole(1, 256)))
    .option("--quiet", "say nothing but errors", false)
    .action(
      async (
        url: string,
        { engine, workers, quiet }: { engine: "auto" | "wasm" | "native"; workers?: number; quiet: boolean },
      ) => {
        const { volunteer } = await import("./volunteer.ts");
        await volunteer(url, { engine, workers, quiet });
      },
    );
}

function datasetCommand(): Command {
  const push = new Command("push")
    .description("push a data set in IDX files (gzipped or not): images as column image, labels as column label")
    .argument("<name>")
    .requiredOption("--idx <images> <labels...>", "the training images and labels")
    .option("--test-idx <images> <labels...>", "test images and labels, appended after the training ones")
    .addOption(serverOption())
    .action(async (name: string, { idx, testIdx, server }: { idx: string[]; testIdx?: string[]; server: string }) => {
      const [images, labels] = pairOf(idx, "--idx");
      const [testImages, testLabels] = testIdx === undefined ? [undefined, undefined] : pairOf(testIdx, "--test-idx");
      const { manifest, chunks } = cutDataset(name, readImageSet({ images, labels, testImages, testLabels }));
      const api = new CoordinatorApi(server, adminSecret());
      await api.pushDataset(manifest, chunks, (done) => {
        if (process.stdout.isTTY) process.stdout.write(`\r${done}/${chunks.length} chunks`);
      });
      console.log(`${process.stdout.isTTY ? "\r" : ""}${name}: ${manifest.samples} samples in ${chunks.length} chunks`);
    });
  const list = new Command("list")
    .description("list the coordinator's data sets")
    .addOption(serverOption())
    .action(async ({ server }: { server: string }) => {
      const { datasets } = await new CoordinatorApi(server, adminSecret()).listDatasets();
      if (datasets.length === 0) console.log("there are no data sets");
      for (const { name, samples, bytes } of datasets)
        console.log(`${name}  ${samples} samples  ${(bytes / 1e6).toFixed(1)} MB`);
    });
  return new Command("dataset").description("push and list data sets").addCommand(push).addCommand(list);
}

function pairOf(files: readonly string[], option: string): [string, string] {
  const [images, labels] = files;
  if (files.length !== 2 || images === undefined || labels === undefined) {
    throw new CliError(`${option} takes two files: images, then labels`);
  }
  return [images, labels];
}

function exportCommand(): Command {
  return new Command("export")
    .description("write a session's weights to a file")
    .argument("<session>", "id, or link https://host/s/<id>")
    .addOption(new Option("--format <format>").choices(["safetensors"]).default("safetensors"))
    .addOption(
      new Option("--which <which>", "best on held-out samples, or latest").choices(["best", "latest"]).default("best"),
    )
    .option("-o, --out <file>", "the file to write", "model.safetensors")
    .addOption(serverOption())
    .action(
      async (session: string, { which, out, server }: { which: "best" | "latest"; out: string; server: string }) => {
        const link = /^(https?:\/\/.+)\/s\/([0-9a-f]+)$/.exec(session);
        const [base, id] = link === null ? [server, session] : [link[1] ?? server, link[2] ?? session];
        const api = new CoordinatorApi(base, adminSecret());
        const { definition, parameters } = await api.readSession(id);
        const weights = await api.readWeights(id, which, parameters);
        writeFileSync(
          out,
          encodeSafetensors(definition.graph, weights, { format: "pt", session: id, title: definition.title }),
        );
        console.log(
          `${out}: ${definition.graph.parameters.map(({ name, shape }) => `${name} [${shape.join(", ")}]`).join(", ")}`,
        );
      },
    );
}

export async function main(args: readonly string[]): Promise<void> {
  const program = new Command("commonweight")
    .description("Train neural networks in the browsers of whoever wants to help.")
    .option("--debug", "show where an error came from")
    .addCommand(trainCommand())
    .addCommand(devCommand())
    .addCommand(volunteerCommand())
    .addCommand(datasetCommand())
    .addCommand(exportCommand());
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    const expected = error instanceof CliError && program.opts<{ debug?: boolean }>().debug !== true;
    console.error(expected ? `error: ${messageOf(error)}` : error);
    process.exitCode = 1;
  }
}
