/**
 * Federated: five clients, each with digits of its own that never leave it, and each with two of the ten digits only. Together
 * they train a network that reads all ten; alone none can.
 */

import { type LocalProgress, type LocalSession, lineChart, startLocal } from "commonweight/local";
import { defineSession, localData, loss, nn, optim } from "commonweight/nn";
import { accuracyOf, features, only, PIXELS, readDigits } from "./data/digits.ts";

const OWNED = [
  [0, 1],
  [2, 3],
  [4, 5],
  [6, 7],
  [8, 9],
] as const;

/** The coordinator names the columns, and never sees one: volunteers are assigned counts, not samples. */
const describe = (title: string, steps: number) =>
  defineSession({
    title,
    model: nn.sequential(nn.linear(PIXELS, 32), nn.relu(), nn.linear(32, 10)),
    input: [PIXELS],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 2e-3 }),
    data: localData({
      x: { column: "image", scale: 1 / 255 },
      y: "label",
      columns: [
        { name: "image", dtype: "uint8", shape: [PIXELS] },
        { name: "label", dtype: "uint8", shape: [] },
      ],
      samplesPerEpoch: 100 * steps,
    }),
    batchSize: 100,
    microBatch: 10,
    epochs: 1,
  });

export interface Options {
  /** Digits that are shared out among the clients. */
  readonly samples?: number;
  readonly steps?: number;
  readonly tested?: number;
  readonly onProgress?: (progress: LocalProgress) => void;
}

export default async function federated(options: Options = {}) {
  const { samples = 4_000, steps = 120, tested = 2_000, onProgress = () => {} } = options;
  await using local = await startLocal();
  const all = readDigits("train", 0, samples);
  const shares = OWNED.map((digits) => {
    const { image, label } = only(all, digits);
    return { image, label };
  });

  const test = readDigits("t10k", 0, tested);
  const read = async (session: LocalSession): Promise<number> =>
    accuracyOf(await session.predict({ x: features(test) }), test);

  // Each share goes to one volunteer of this process, as joinTraining(link, { data }) would take it in a browser.
  const joint = await local.create(describe("together", steps));
  await joint.train({ data: shares, onProgress });
  const together = await read(joint);
  const alone = await Promise.all(
    shares.map(async (share, i) => {
      const session = await local.create(describe(`alone with ${OWNED[i]?.join(" and ")}`, steps));
      await session.train({ data: [share], onProgress });
      return read(session);
    }),
  );

  const percent = (part: number): string => `${(part * 100).toFixed(1)} %`.padStart(7);
  return {
    together,
    alone,
    lines: [
      `${tested} unseen digits of all ten kinds, of which are read after ${steps} steps`,
      `by the network of all five clients  ${percent(together)}`,
      ...alone.map((accuracy, i) => `by that of ${OWNED[i]?.join(" and ")} alone             ${percent(accuracy)}`),
    ],
    figures: {
      federated: lineChart({
        title: "Five clients, each with two of the ten digits",
        xLabel: "client",
        yLabel: "part of all test digits that its network reads",
        yRange: [0, 1],
        series: [
          { name: "together", points: alone.map((_, i) => [i + 1, together] as const) },
          { name: "each alone", points: alone.map((accuracy, i) => [i + 1, accuracy] as const), style: "dots" },
        ],
      }),
    },
  };
}
