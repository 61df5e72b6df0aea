/**
 * `npm run example`: lists the examples; `npm run example <name>` runs one of them and draws its figure. An example is a file of
 * examples/: a session file, which `commonweight train` trains, or a program, whose default export is a function.
 */

import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type ChartOptions, lineChart } from "../cli/chart/svg.ts";
import { CliError, describe as describeError } from "../cli/errors.ts";
import type { LocalProgress } from "../cli/local.ts";
import { resolveOwnImports } from "../cli/own-modules.ts";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, "examples");

/** What a program's function takes and gives. */
export type Program = (options: { readonly onProgress: (progress: LocalProgress) => void }) => Promise<{
  /** What it found, for people. */
  readonly lines: readonly string[];
  /** SVG files by name. */
  readonly figures: Readonly<Record<string, string>>;
}>;

/** Every example, with the first sentence of the comment that it begins with. */
export function listExamples(): { readonly name: string; readonly about: string }[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".ts"))
    .sort()
    .map((file) => {
      const comment = /^\/\*\*([\s\S]*?)\*\//.exec(readFileSync(join(folder, file), "utf8"))?.[1] ?? "";
      const [paragraph = ""] = comment.split(/\n \*\n/);
      const text = paragraph.replace(/\s*\n \* ?/g, " ").trim();
      const about = text.replace(/\. .*$/, ".").replace(/:$/, ".");
      return { name: file.replace(/\.ts$/, ""), about };
    });
}

/** One line that is written over on a terminal, and a line now and then elsewhere. */
class ProgressLine {
  readonly #isTerminal = process.stderr.isTTY === true;
  #last = performance.now();

  show({ title, step, totalSteps, loss, secondsLeft }: LocalProgress): void {
    const figure = loss === null ? "" : ` · loss ${loss.toFixed(4)}`;
    const left = secondsLeft === null ? "" : ` · ${Math.ceil(secondsLeft)} s left`;
    const line = `${title}: step ${step}/${totalSteps}${figure}${left}`;
    if (this.#isTerminal) process.stderr.write(`\r\x1b[K${line}`);
    else if (performance.now() - this.#last > 2_000) {
      this.#last = performance.now();
      process.stderr.write(`${line}\n`);
    }
  }

  end(): void {
    if (this.#isTerminal) process.stderr.write("\r\x1b[K");
  }
}

function writeFigures(to: string, figures: Readonly<Record<string, string>>): void {
  mkdirSync(to, { recursive: true });
  for (const [name, svg] of Object.entries(figures)) {
    const file = join(to, `${name}.svg`);
    writeFileSync(file, svg);
    console.log(`figure ${relative(process.cwd(), file)}`);
  }
}

async function runProgram(program: Program, to: string): Promise<void> {
  const progress = new ProgressLine();
  const { lines, figures } = await program({ onProgress: (now) => progress.show(now) });
  progress.end();
  for (const line of lines) console.log(line);
  writeFigures(to, figures);
}

interface Losses {
  readonly steps: (readonly [step: number, loss: number])[];
  readonly validation: (readonly [step: number, loss: number])[];
}

/** What `commonweight train --json` prints, as far as a curve needs it. */
type TrainLine =
  | { readonly type: "step"; readonly step: number; readonly loss: number | null }
  | {
      readonly type: "epoch";
      readonly step: number;
      readonly validation: { readonly loss: number | null } | null;
    }
  | { readonly type: "session" | "status" | "finished" };

function takeLine({ steps, validation }: Losses, line: TrainLine): void {
  if (line.type === "step" && line.loss !== null) steps.push([line.step, line.loss]);
  if (line.type === "epoch" && typeof line.validation?.loss === "number") {
    validation.push([line.step, line.validation.loss]);
  }
}

function lossCurve(title: string, { steps, validation }: Losses): string {
  const training = { name: "training, each step", points: steps } as const;
  const heldOut = { name: "held out", points: validation } as const;
  const isPlain = validation.length === 0;
  const series: ChartOptions["series"] = isPlain ? [training] : [{ ...training, style: "faint" }, heldOut];
  return lineChart({ title, xLabel: "step", yLabel: "loss", series });
}

/** Trains a session file as a person would, and draws its curve. */
async function runSession(name: string, title: string, to: string, args: readonly string[]): Promise<void> {
  const command = [join(root, "bin/commonweight.js"), "train", join(folder, `${name}.ts`), "--json", ...args];
  // What is for people is on standard error, and redrawn in place there.
  const child = spawn(process.execPath, command, { stdio: ["inherit", "pipe", "inherit"] });
  const losses: Losses = { steps: [], validation: [] };
  for await (const line of createInterface({ input: child.stdout })) takeLine(losses, JSON.parse(line) as TrainLine);
  const code =
    child.exitCode ?? (await new Promise<number>((done) => child.once("exit", (status) => done(status ?? 1))));
  if (code !== 0) throw new CliError(`commonweight train ended with ${code}`);
  writeFigures(to, { [name]: lossCurve(title, losses) });
}

async function main([name, ...args]: readonly string[]): Promise<void> {
  const examples = listExamples();
  if (name === undefined || name === "--help") {
    console.log("npm run example <name>\n");
    const width = Math.max(...examples.map((example) => example.name.length));
    for (const example of examples) console.log(`  ${example.name.padEnd(width)}  ${example.about}`);
    console.log("\nFigures go to build/examples, or where --figures <folder> says. Of a session file, which trains by");
    console.log(
      "commonweight train, further options are that command's: npm run example mnist -- --engine webgpu,wasm",
    );
    return;
  }
  if (!examples.some((example) => example.name === name)) {
    throw new CliError(`there is no example ${name}: npm run example lists them`);
  }
  const at = args.indexOf("--figures");
  if (at >= 0 && at === args.length - 1) throw new CliError("--figures needs a folder");
  const to = at < 0 ? join(root, "build/examples") : resolve(args[at + 1] ?? "");
  const others = at < 0 ? args : args.toSpliced(at, 2);
  resolveOwnImports();
  const { default: example } = (await import(pathToFileURL(join(folder, `${name}.ts`)).href)) as {
    readonly default: Program | { readonly title: string };
  };
  if (typeof example !== "function") return runSession(name, example.title, to, others);
  if (others.length > 0) throw new CliError(`the example ${name} takes no option but --figures, not ${others[0]}`);
  return runProgram(example, to);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await main(process.argv.slice(2));
    process.exit(0);
  } catch (error) {
    console.error(describeError(error, false));
    process.exit(1);
  }
}
