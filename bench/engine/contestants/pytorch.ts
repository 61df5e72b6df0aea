/** PyTorch, where Debian's python3-torch or another one is: a process of `pytorch.py`, outside of the browser. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bindShape } from "../../../shared/graph/index.ts";
import { Conversation } from "../../harness/python.ts";
import type { Contestant } from "../../harness/race.ts";
import { createTrial, type Stepper } from "../trial.ts";
import type { Problem } from "../workloads.ts";

const SCRIPT = new URL("./pytorch.py", import.meta.url).pathname;
function writeProblem(folder: string, { network, graph, batch, weights, inputs }: Problem): void {
  writeFileSync(join(folder, "weights.bin"), weights);
  for (const name of ["x", "y"]) writeFileSync(join(folder, `${name}.bin`), inputs[name]);
  const parameters = graph.parameters.map(({ name, shape, offset }) => ({ name, shape, offset }));
  const shape = bindShape(graph.inputs[0].shape, batch);
  writeFileSync(join(folder, "problem.json"), JSON.stringify({ network, shape, parameters }));
}

async function createPyTorchStepper(problem: Problem, threads: number): Promise<Stepper> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-pytorch-"));
  writeProblem(folder, problem);
  let python: Conversation;
  try {
    python = await Conversation.start(SCRIPT, [folder, String(threads)]);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
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
    async dispose() {
      python.end();
      rmSync(folder, { recursive: true, force: true });
    },
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
