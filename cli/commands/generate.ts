/** `commonweight generate`: a trained model of language continues a text. */

import { type Command, Option } from "commander";
import { createCommand, dataOption, real, serverOption, whole } from "../arguments.ts";
import { plainLines } from "../foreign-text.ts";
import { continueText } from "../generate.ts";
import { openTextModel, type TextModelOptions } from "../text-model.ts";
import { TEXT_DEFAULTS, TEXT_LIMITS, type TextRequest } from "../text-request.ts";

type GenerateOptions = TextModelOptions & TextRequest;

async function runGenerate(what: string | undefined, options: GenerateOptions): Promise<void> {
  const { prompt, length, temperature, topK, seed } = options;
  const model = await openTextModel(what, options);
  let begun = false;
  for await (const piece of continueText(model, prompt, { length, temperature, topK, seed })) {
    process.stdout.write(plainLines(begun ? piece : prompt + piece));
    begun = true;
  }
  process.stdout.write("\n");
}

export function generateCommand(): Command {
  const examples = [
    'generate --prompt "Call me"',
    'generate http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef --prompt "Call me" --which latest',
    'generate examples/char-gpt.ts --prompt "Call me" --weights model.safetensors --length 500 --seed 7',
    'generate checkpoint.safetensors --prompt "Call me" --temperature 0',
  ];
  return createCommand("generate", "let a trained language model continue a text", examples)
    .argument(
      "[session]",
      "a session's link, https://host/s/<id>, or its id; a session file; or a checkpoint file; by default the coordinator's newest session",
    )
    .requiredOption("--prompt <text>", "the beginning, of what the session's vocabulary has")
    .addOption(
      new Option("--length <n>", "tokens to write, which may be characters")
        .argParser(whole(1, TEXT_LIMITS.length))
        .default(TEXT_DEFAULTS.length),
    )
    .addOption(
      new Option("--temperature <t>", "below 1 the likely gets likelier; at 0 the likeliest is taken")
        .argParser(real(0, TEXT_LIMITS.temperature))
        .default(TEXT_DEFAULTS.temperature),
    )
    .addOption(
      new Option("--top-k <k>", "draw from the k likeliest tokens alone")
        .argParser(whole(1, TEXT_LIMITS.topK))
        .default(TEXT_DEFAULTS.topK, "all"),
    )
    .addOption(
      new Option("--seed <n>", "another one gives another text, the same one the same")
        .argParser(whole(0, TEXT_LIMITS.seed))
        .default(TEXT_DEFAULTS.seed),
    )
    .addOption(
      new Option("--which <which>", "weights best on held-out samples, or the latest")
        .choices(["best", "latest"])
        .default("best"),
    )
    .option(
      "--weights <file>",
      "safetensors instead of the session's own weights; of a session file model.safetensors by default",
    )
    .addOption(serverOption())
    .addOption(dataOption())
    .action(runGenerate);
}
