/** Every quick example is run, and what it claims is looked for in what it finds. */

import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";
import activations from "../../examples/activations.ts";
import federated from "../../examples/federated.ts";
import fineTuning from "../../examples/fine-tuning.ts";
import perceptron from "../../examples/perceptron.ts";
import universalApproximation from "../../examples/universal-approximation.ts";
import { listExamples } from "../../scripts/example.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-examples-"));
afterAll(() => rmSync(folder, { recursive: true }));

const committed = (name: string): string => readFileSync(join(packageRoot, `docs/figures/${name}.svg`), "utf8");

/** `npm run example …`, in a folder of its own. */
const runExample = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, [join(packageRoot, "scripts/example.ts"), ...args], { cwd: folder });

describe("the examples", () => {
  it("a perceptron finds the line between two classes, and draws what the documentation shows", async () => {
    const { before, after, accuracy, figures } = await perceptron();
    expect(accuracy).toBe(1);
    // The line that the points were parted by, 0.8 x₁ − 0.6 x₂ + 0.15, up to a factor.
    expect(after.w1 / after.w2).toBeCloseTo(0.8 / -0.6, 0);
    expect(after.b / after.w2).toBeCloseTo(0.15 / -0.6, 0);
    expect(before).not.toEqual(after);
    expect(figures.perceptron).toBe(committed("perceptron"));
  });

  it("universal approximation: the error falls with the width", async () => {
    const { fits, figures } = await universalApproximation({ widths: [1, 4, 16, 64], steps: 80 });
    const errors = fits.map(({ error }) => error);
    console.log(`errors by width 1, 4, 16, 64: ${errors.map((error) => error.toFixed(4)).join(", ")}`);
    for (const [i, error] of errors.slice(1).entries()) expect(error).toBeLessThan(errors[i]! * 0.8);
    expect(errors.at(-1)).toBeLessThan(errors[0]! / 20);
    expect(Object.keys(figures)).toEqual(["universal-approximation", "universal-approximation-fits"]);
  });

  it("activations: gradients vanish through sigmoids alone, and ReLU units die of large rates", async () => {
    const { gradients, deaths } = await activations({ rates: [0.3, 10], steps: 20 });
    const ratios = new Map(gradients.map(({ name, norms }) => [name, norms[0]! / norms.at(-1)!]));
    expect([...ratios.keys()]).toEqual(["sigmoid", "tanh", "ReLU", "leaky ReLU", "GELU"]);
    for (const [name, ratio] of ratios) {
      if (name === "sigmoid") expect(ratio).toBeLessThan(1e-4);
      else expect(ratio, name).toBeGreaterThan(1e-2);
    }
    const [small, large] = deaths.map(({ dead }) => dead);
    expect(small).toBeLessThan(0.2);
    expect(large).toBeGreaterThan(0.5);
  });

  it("fine-tuning: better than the network that was imported, and than one that begins anew", async () => {
    const options = { upright: 6_000, lessons: 90, tested: 1_000 };
    const { before, after, scratch, lines } = await fineTuning(options);
    console.log(lines.join("\n"));
    expect(after).toBeGreaterThan(before + 0.05);
    expect(after).toBeGreaterThan(scratch + 0.03);
  });

  it("federated: together the clients read all digits, alone none can", async () => {
    const { together, alone, lines } = await federated({ samples: 2_000, steps: 120, tested: 1_000 });
    console.log(lines.join("\n"));
    expect(alone).toHaveLength(5);
    for (const accuracy of alone) expect(accuracy).toBeLessThan(0.25);
    expect(together).toBeGreaterThan(0.6);
  });
});

describe("npm run example", () => {
  it("lists every example with what it shows", async () => {
    const { stdout } = await runExample();
    const names = readdirSync(join(packageRoot, "examples")).filter((file) => file.endsWith(".ts"));
    expect(listExamples().map(({ name }) => `${name}.ts`)).toEqual(names.sort());
    for (const { name, about } of listExamples()) {
      expect(about, name).toMatch(/^[^*\n]{40,260}\.$/);
      expect(stdout).toContain(`${name} `);
      expect(stdout).toContain(about);
    }
  });

  it("runs a program and writes its figure", async () => {
    const { stdout } = await runExample("perceptron", "--figures", "figures");
    expect(stdout).toMatch(/^after {3}.* on the right side: 100\.0 %$/m);
    expect(stdout).toContain("figure figures/perceptron.svg");
    expect(readFileSync(join(folder, "figures/perceptron.svg"), "utf8")).toBe(committed("perceptron"));
  });

  it("trains a session file by the command line and draws its curve", async () => {
    const options = ["--node", "--volunteers", "1", "--engine", "wasm", "--steps", "12"];
    const { stdout, stderr } = await runExample("iris", "--figures", "figures", ...options);
    expect(stderr).toContain("finished: 12 steps");
    expect(stdout).toContain("figure figures/iris.svg");
    const svg = readFileSync(join(folder, "figures/iris.svg"), "utf8");
    expect(svg).toContain("held out");
    const [curve] = [...svg.matchAll(/<path d="M[^"]*" fill="none"/g)].map(([path]) => path).slice(-2);
    expect(curve!.match(/L/g)).toHaveLength(11);
  });

  const mistakes: Readonly<Record<string, [string[], string]>> = {
    "an example that is none": [["perceptrons"], "there is no example perceptrons: npm run example lists them"],
    "an option that a program does not take": [["perceptron", "--steps", "3"], "takes no option but --figures"],
    "figures without a folder": [["perceptron", "--figures"], "--figures needs a folder"],
  };
  it.each(Object.entries(mistakes))("says that there is a mistake: %s", async (_, [args, message]) => {
    await expect(runExample(...args)).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
  });
});
