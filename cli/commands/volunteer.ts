/** `commonweight volunteer`: its arguments. */

import { type Command, Option } from "commander";
import { createCommand, whole } from "../arguments.ts";
import type { VolunteerCommandOptions } from "../volunteer.ts";

export function volunteerCommand(): Command {
  const examples = [
    "volunteer http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef",
    "volunteer https://host/s/0123456789abcdef0123456789abcdef --engine wasm --workers 4",
    'volunteer https://host/s/0123456789abcdef0123456789abcdef --share 25 --name "Ada, third floor"',
  ];
  return createCommand("volunteer", "take part in a session from Node, without a browser", examples)
    .argument("<url>", "the session's link, https://host/s/<id>")
    .addOption(
      new Option("--engine <kind>", "auto, wasm or native (needs onnxruntime-node)")
        .choices(["auto", "wasm", "native"])
        .default("auto"),
    )
    .addOption(new Option("--workers <n>", "threads; by default all cores but one").argParser(whole(1, 256)))
    .addOption(
      new Option("--share <percent>", "of the time; below 100 it also eases off while the machine is slow")
        .argParser(whole(1, 100))
        .default(100),
    )
    .option("--name <name>", "shown to everyone for credit; without one you are an id")
    .option("--quiet", "say nothing but errors", false)
    .action(
      async (
        url: string,
        { share, ...options }: Omit<VolunteerCommandOptions, "share"> & { readonly share: number },
      ) => {
        const { volunteer } = await import("../volunteer.ts");
        await volunteer(url, { ...options, share: share / 100 });
      },
    );
}
