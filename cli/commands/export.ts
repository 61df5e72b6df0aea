/** `commonweight export`: a session's weights, all that it needs to go on elsewhere, or the record of its training, as a file. */

import { mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { type AccessOptions, openSession } from "../access.ts";
import type { CoordinatorApi, SessionDescription } from "../api.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";
import { parseCheckpoint } from "../checkpoint.ts";
import { CliError, messageOf, RefusedError } from "../errors.ts";
import { plain } from "../foreign-text.ts";
import { encodeCsv, encodeJsonLines, type Measurement, readRecord } from "../metric-files.ts";
import { type MODEL_FORMATS, writeModel } from "../model.ts";
import { writeWhole } from "../state.ts";
import { encodeEvents, eventFileName } from "../tensorboard.ts";

interface ExportOptions extends AccessOptions {
  readonly format: Format;
  readonly which: "best" | "latest";
  readonly out?: string;
}

interface Target {
  readonly api: CoordinatorApi;
  readonly session: SessionDescription;
  readonly which: ExportOptions["which"];
  /** Full path. */
  readonly out: string;
}

/** Throws CliError where the folder cannot be made. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new CliError(`cannot write to ${folder}: ${messageOf(error)}`, { cause: error });
  }
}

function exportModel(format: keyof typeof MODEL_FORMATS): (target: Target) => Promise<void> {
  return async ({ api, session, which, out }) => {
    makeFolder(dirname(out));
    let written = which;
    try {
      await writeModel(api, session, which, out, format);
    } catch (error) {
      if (!(error instanceof RefusedError) || error.code !== "no-best") throw error;
      written = "latest";
      console.error("nothing was measured on held-out samples yet: these are the latest weights");
      await writeModel(api, session, written, out, format);
    }
    const { graph, title } = session.definition;
    const tensors = graph.parameters.map(({ name, shape }) => `  ${plain(name)} [${shape.join(", ")}]`);
    console.log([`${out}: ${written} weights of ${plain(title)}`, ...tensors].join("\n"));
  };
}

/** What came is checked as if it were anybody's: a file that cannot be read later is of no use. */
async function exportCheckpoint({ api, session, out }: Target): Promise<void> {
  const file = await api.readCheckpoint(session.id);
  const { head } = parseCheckpoint(file, "what the coordinator sent");
  makeFolder(dirname(out));
  // It holds what only the session's owner may see.
  writeWhole(out, file, 0o600);
  console.log(
    `${out}: ${plain(session.definition.title)} after ${head.state.step} steps; commonweight train --resume goes on from it`,
  );
}

/** Throws CliError where there is nothing to write yet. */
async function readMeasurements({ api, session }: Target): Promise<Measurement[]> {
  const record = await readRecord(api, session.id);
  if (record.length === 0) throw new CliError("no step is done yet: there is nothing to export");
  return record;
}

function exportText(encode: (record: readonly Measurement[]) => string): (target: Target) => Promise<void> {
  return async (target) => {
    const record = await readMeasurements(target);
    makeFolder(dirname(target.out));
    writeWhole(target.out, encode(record));
    console.log(`${target.out}: ${record.length} measurements of ${plain(target.session.definition.title)}`);
  };
}

/** TensorBoard looks for its files in a folder. */
async function exportEvents(target: Target): Promise<void> {
  const record = await readMeasurements(target);
  makeFolder(target.out);
  const file = join(target.out, eventFileName(record, target.session.id));
  writeWhole(file, encodeEvents(record));
  console.log(`${file}: ${record.length} measurements; tensorboard --logdir ${target.out} shows them`);
}

const FORMATS = {
  safetensors: { out: "model.safetensors", run: exportModel("safetensors") },
  onnx: { out: "model.onnx", run: exportModel("onnx") },
  checkpoint: { out: "checkpoint.safetensors", run: exportCheckpoint },
  csv: { out: "metrics.csv", run: exportText(encodeCsv) },
  jsonl: { out: "metrics.jsonl", run: exportText(encodeJsonLines) },
  tensorboard: { out: "runs", run: exportEvents },
} as const satisfies Record<string, { out: string; run: (target: Target) => Promise<void> }>;

type Format = keyof typeof FORMATS;

async function runExport(link: string | undefined, options: ExportOptions): Promise<void> {
  const { api, id } = await openSession(link, options);
  const format = FORMATS[options.format];
  const session = await api.readSession(id);
  await format.run({ api, session, which: options.which, out: resolve(options.out ?? format.out) });
}

export function exportCommand(): Command {
  const examples = [
    "export --format csv",
    "export --format onnx -o model.onnx",
    "export --format checkpoint -o moons.safetensors   # train --resume moons.safetensors goes on from it",
    "export http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef -o model.safetensors",
    "export 0123456789abcdef0123456789abcdef --which latest",
    "export 0123456789abcdef0123456789abcdef --format csv -o metrics.csv",
    "export 0123456789abcdef0123456789abcdef --format tensorboard -o runs/moons",
  ];
  return createCommand(
    "export",
    "write a session's weights, all of its state, or losses and metrics, to a file",
    examples,
  )
    .argument("[session]", "its link, https://host/s/<id>, or its id; by default the coordinator's newest")
    .addOption(
      new Option(
        "--format <format>",
        "safetensors are weights that PyTorch can load, onnx a model that onnxruntime can run, checkpoint all that train --resume needs; the others are losses and metrics",
      )
        .choices(Object.keys(FORMATS))
        .default("safetensors"),
    )
    .addOption(
      new Option("--which <which>", "of the weights: best on held-out samples, or latest")
        .choices(["best", "latest"])
        .default("best"),
    )
    .option(
      "-o, --out <file>",
      "the file to write, for tensorboard the folder (default: model.safetensors, model.onnx, checkpoint.safetensors, metrics.csv, metrics.jsonl, runs)",
    )
    .addOption(serverOption())
    .addOption(dataOption())
    .action(runExport);
}
