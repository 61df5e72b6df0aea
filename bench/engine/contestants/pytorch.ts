/** PyTorch, where Debian's python3-torch or another one is: a process of `pytorch.py`, outside of the browser. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { bindShape } from "../../../shared/graph/index.ts";
import { type Contestant, Refusal } from "../../harness/race.ts";
import { createTrial, type Stepper } from "../trial.ts";
import type { Problem } from "../workloads.ts";

const SCRIPT = new URL("./pytorch.py", import.meta.url).pathname;
const HINT = "PyTorch is not here: on Debian, apt-get install python3-torch";

/** Python that is asked; a virtual environment's by PYTHON. */
const interpreter = (): string => process.env.PYTHON ?? "/usr/bin/python3";

function writeProblem(folder: string, { network, graph, batch, weights, inputs }: Problem): void {
  writeFileSync(join(folder, "weights.bin"), weights);
  for (const name of ["x", "y"]) writeFileSync(join(folder, `${name}.bin`), inputs[name]);
  const parameters = graph.parameters.map(({ name, shape, offset }) => ({ name, shape, offset }));
  const shape = bindShape(graph.inputs[0].shape, batch);
  writeFileSync(join(folder, "problem.json"), JSON.stringify({ network, shape, parameters }));
}

/** Lines in, lines out, one answer a question. */
class Conversation {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error("a child process without its output");
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  /** The next line. Throws Refusal `unavailable` when there is none. */
  async listen(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Refusal("unavailable", HINT);
    return value;
  }

  ask(question: string): Promise<string> {
    this.#child.stdin?.write(`${question}\n`);
    return this.listen();
  }

  end(): void {
    this.#child.stdin?.end();
  }
}

async function createPyTorchStepper(problem: Problem, threads: number): Promise<Stepper> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-pytorch-"));
  writeProblem(folder, problem);
  const child = spawn(interpreter(), [SCRIPT, folder, String(threads)], { stdio: ["pipe", "pipe", "ignore"] });
  child.on("error", () => {}); // its output ends, which says so
  const python = new Conversation(child);
  const dispose = async (): Promise<void> => {
    python.end();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await python.listen();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    async step() {
      await python.ask("step");
    },
    async gradient() {
      await python.ask("gradient");
      const { buffer, byteOffset, byteLength } = readFileSync(join(folder, "gradient.bin"));
      return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
    },
    dispose,
  };
}

export function pyTorchContestant(
  name: string,
  threads: number,
  problem: Problem,
  reference: Float32Array,
): Contestant {
  const create = (given: Problem): Promise<Stepper> => createPyTorchStepper(given, threads);
  return createTrial({ name, ours: false, create, problem, reference });
}
