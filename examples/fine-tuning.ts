/**
 * Fine-tuning: a network that reads upright digits comes as an ONNX file and learns to read tilted ones from a few hundred
 * examples, better than a network that begins anew with the same budget.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onnx } from "commonweight/files";
import { type DatasetSource, type LocalProgress, type LocalSession, lineChart, startLocal } from "commonweight/local";
import { dataset, defineSession, loss, type Module, nn, optim } from "commonweight/nn";
import { accuracyOf, type Digits, features, PIXELS, readDigits, rotate } from "./data/digits.ts";

const DEGREES = 30;

const network = (): Module => nn.sequential(nn.linear(PIXELS, 64), nn.gelu(), nn.linear(64, 10));

const columnsOf = ({ image, label }: Digits): DatasetSource => ({
  columns: { image: { values: image, shape: [PIXELS] }, label: { values: label, shape: [] } },
});

function describe(title: string, model: Module, name: string, samples: number, steps: number) {
  const batchSize = Math.min(128, samples);
  return defineSession({
    title,
    model,
    input: [PIXELS],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 2e-3 }),
    data: dataset(name, { x: { column: "image", scale: 1 / 255 }, y: "label", train: [0, samples] }),
    batchSize,
    epochs: Math.ceil(steps / Math.ceil(samples / batchSize)),
    maxSteps: steps,
  });
}

const lossesOf = async (session: LocalSession): Promise<(readonly [number, number])[]> =>
  (await session.metrics()).steps.map(({ step, loss }) => [step, loss ?? Number.NaN] as const);

export interface Options {
  /** Upright digits that the first network learns from, and its steps. */
  readonly upright?: number;
  readonly lessons?: number;
  /** Tilted digits to learn from, and the steps that either network has for them. */
  readonly tilted?: number;
  readonly budget?: number;
  /** Tilted digits of the test. */
  readonly tested?: number;
  readonly onProgress?: (progress: LocalProgress) => void;
}

export default async function fineTuning(options: Options = {}) {
  const { upright = 12_000, lessons = 200, tilted = 200, budget = 30, tested = 2_000, onProgress = () => {} } = options;
  await using local = await startLocal({ clients: 2 });
  const datasets = {
    upright: columnsOf(readDigits("train", 0, upright)),
    tilted: columnsOf(rotate(readDigits("train", upright, tilted), DEGREES)),
  };
  const test = rotate(readDigits("t10k", 0, tested), DEGREES);
  const read = async (session: LocalSession): Promise<number> =>
    accuracyOf(await session.predict({ x: features(test) }), test);

  // Any model that PyTorch exported would do in the place of this file.
  const folder = mkdtempSync(join(tmpdir(), "commonweight-fine-tuning-"));
  const file = join(folder, "upright.onnx");
  try {
    const teacher = await local.create(describe("upright digits", network(), "upright", upright, lessons), {
      datasets,
    });
    await teacher.train({ onProgress });
    await teacher.save(file);

    const tuned = await local.create(describe("fine-tuning", onnx(file), "tilted", tilted, budget), { datasets });
    const before = await read(tuned);
    await tuned.train({ onProgress });
    const after = await read(tuned);
    const fresh = await local.create(describe("from scratch", network(), "tilted", tilted, budget), { datasets });
    await fresh.train({ onProgress });
    const scratch = await read(fresh);

    const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;
    return {
      before,
      after,
      scratch,
      lines: [
        `${tested} unseen digits, tilted by ${DEGREES}°, of which are read`,
        `by the imported network                      ${percent(before)}`,
        `fine-tuned, ${budget} steps on ${tilted} tilted digits    ${percent(after)}`,
        `from scratch, ${budget} steps on the same digits   ${percent(scratch)}`,
      ],
      figures: {
        "fine-tuning": lineChart({
          title: `Learning to read digits tilted by ${DEGREES}°`,
          xLabel: "step",
          yLabel: "training loss",
          series: [
            { name: "from an ONNX file", points: await lossesOf(tuned) },
            { name: "from scratch", points: await lossesOf(fresh) },
          ],
        }),
      },
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
