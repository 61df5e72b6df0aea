/** A model from PyTorch, by the commands alone: imported, trained by a real volunteer, and exported again. */

import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseSafetensors } from "../../cli/importers/safetensors.ts";
import { packageRoot } from "../../cli/root.ts";
import { encodeSafetensors } from "../../cli/safetensors.ts";
import { givenWeights } from "../../shared/graph/index.ts";
import { buildGraph, loss } from "../../shared/nn/index.ts";
import { parseModel } from "../../shared/onnx/model.ts";
import { onnxModule } from "../../shared/onnx/module.ts";
import { EXPORTED, stateDictOf } from "../shared/onnx/cases.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-import-"));
const running = new Set<ChildProcess>();
afterAll(() => {
  for (const child of running) child.kill();
  rmSync(folder, { recursive: true });
});

/** Runs a command in the folder until it ends, or has printed `until`. */
function run(args: readonly string[], until?: string): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, [join(packageRoot, "bin/commonweight.js"), ...args], { cwd: folder });
  running.add(child);
  let text = "";
  return new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data: Buffer) => {
        text += data.toString();
        if (until !== undefined && text.includes(until)) resolve({ code: null, text });
      });
    }
    child.once("close", (code) => {
      running.delete(child);
      resolve({ code, text });
    });
  });
}

const given = EXPORTED["residual-batch-1"]!;

const LR = 0.5;

/** What the command wrote, with data and figures that are ours. */
function choose(): void {
  const source = readFileSync(join(folder, "session.ts"), "utf8")
    .replace(/loss\.crossEntropy\(\)/, "loss.mse()")
    .replace(/optim\.adam\(\{ lr: [^}]*\}\)/, `optim.sgd({ lr: ${LR} })`)
    .replace(/dataset\("my-data".*\)/, 'dataset("rows", { x: "x", y: "y", train: [0, 5] })')
    .replace(/batchSize: \d+/, "batchSize: 5");
  const datasets = {
    rows: { columns: { x: { values: given.x, shape: [6] }, y: { values: given.target, shape: [3] } } },
  };
  const columns = JSON.stringify(datasets).replace(/"values":(\[[^\]]*\])/g, '"values":Float32Array.from($1)');
  writeFileSync(join(folder, "ready.ts"), `${source}\nexport const datasets = ${columns};\n`);
}

describe("a model that PyTorch exported", () => {
  it("is imported, trained by a volunteer from its own weights on, and exported for PyTorch and onnxruntime", async () => {
    copyFileSync(join(packageRoot, "test/fixtures/onnx/residual-batch-1.onnx"), join(folder, "model.onnx"));
    const bytes = readFileSync(join(folder, "model.onnx"));
    const module = onnxModule(new Uint8Array(bytes), { stateDict: stateDictOf(given) });
    const graph = buildGraph({ model: module, loss: loss.mse(), input: given.input });
    writeFileSync(join(folder, "names.safetensors"), encodeSafetensors(graph, givenWeights(graph)!, { format: "pt" }));

    const imported = await run(["import", "model.onnx", "--state-dict", "names.safetensors"]);
    expect(imported.text).toContain("takes [N, 6], predicts scores");
    expect(imported.text).toContain("wrote session.ts");
    expect(imported.code).toBe(0);
    const again = await run(["import", "model.onnx"]);
    expect(again).toMatchObject({ code: 1 });
    expect(again.text).toContain("session.ts would be overwritten");

    const dev = await run(["dev", "--port", "0"], "coordinator http");
    const server = /coordinator (http\S+)/.exec(dev.text)![1]!;
    const secret = readFileSync(join(folder, ".commonweight/admin-secret"), "utf8").trim();
    process.env.COMMONWEIGHT_ADMIN_SECRET = secret;
    choose();
    const options = ["--server", server, "--node", "--volunteers", "1", "--engine", "wasm", "--steps", "1"];
    const moved = await run(["train", "ready.ts", ...options, "--data", "mine", "--out", "moved.safetensors"]);
    expect(moved, moved.text).toMatchObject({ code: 0 });
    const after = parseSafetensors(new Uint8Array(readFileSync(join(folder, "moved.safetensors"))), "moved");
    // One step of gradient descent is −lr times PyTorch's gradient.
    for (const [name, gradient] of Object.entries(given.gradients)) {
      const before = given.stateDict[name]!.values;
      const step = Array.from(after.get(name)!.values, (value, at) => (before[at]! - value) / LR);
      const error = Math.hypot(...step.map((value, at) => value - gradient[at]!)) / Math.hypot(...gradient);
      expect(error, name).toBeLessThan(1e-4);
    }

    const exported = await run([
      "export",
      "--format",
      "onnx",
      "--which",
      "latest",
      "--server",
      server,
      "-o",
      "out.onnx",
    ]);
    expect(exported, exported.text).toMatchObject({ code: 0 });
    const { initializers } = parseModel(new Uint8Array(readFileSync(join(folder, "out.onnx"))));
    const leave = initializers.find(({ name }) => name === "leave.weight")!;
    expect(Array.from(leave.data)).toEqual(Array.from(after.get("leave.weight")!.values));
  });
});
