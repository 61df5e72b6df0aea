import { describe, expect, it } from "vitest";
import { dataset, defineSession, loss, nn, optim } from "../../../shared/nn/index.ts";
import type { EarlyStopping } from "../../../shared/session/definition.ts";
import { judge } from "../../../shared/session/early-stopping.ts";
import { parseDefinition } from "../../../shared/session/validate.ts";

const rule = (given: Partial<EarlyStopping>): EarlyStopping => ({
  metric: "loss",
  patience: 2,
  minimumChange: 0,
  restoreBest: true,
  ...given,
});

/** The number of evaluations after which it stops, and the ones that were best when they were made. */
function run(values: readonly (number | null)[], given: EarlyStopping | undefined) {
  const evaluations = values.map((value) =>
    given === undefined || given.metric === "loss"
      ? { loss: value, metrics: {} }
      : { loss: 1, metrics: value === null ? {} : { [given.metric]: value } },
  );
  const best: number[] = [];
  for (let count = 1; count <= evaluations.length; count++) {
    const { isBest, stops } = judge(evaluations.slice(0, count), given);
    if (isBest) best.push(count);
    if (stops) return { stopsAfter: count, best };
  }
  return { stopsAfter: null, best };
}

describe("early stopping", () => {
  it("stops after `patience` evaluations without a lower loss", () => {
    expect(run([3, 2, 2.5, 1, 1, 1.5, 0], rule({}))).toEqual({ stopsAfter: 6, best: [1, 2, 4] });
    expect(run([3, 2, 2.5, 1, 1, 0.5], rule({}))).toEqual({ stopsAfter: null, best: [1, 2, 4, 6] });
    expect(run([3, 3], rule({ patience: 1 }))).toEqual({ stopsAfter: 2, best: [1] });
  });

  it("wants changes above the minimum, though smaller ones still make the best weights", () => {
    expect(run([3, 2.95, 2.9, 1], rule({ minimumChange: 0.2 }))).toEqual({ stopsAfter: 3, best: [1, 2, 3] });
    expect(run([3, 2.9, 2.75, 2.6, 2.5], rule({ minimumChange: 0.2 })).stopsAfter).toBeNull();
  });

  it("knows that accuracy, top-k and R² should rise, and errors and perplexity fall", () => {
    for (const metric of ["correct", "top5", "r2"]) {
      expect(run([0.1, 0.2, 0.2, 0.1], rule({ metric })), metric).toEqual({ stopsAfter: 4, best: [1, 2] });
    }
    for (const metric of ["mae", "perplexity"]) {
      expect(run([0.2, 0.1, 0.2, 0.1], rule({ metric })), metric).toEqual({ stopsAfter: 4, best: [1, 2] });
    }
  });

  it("takes what could not be measured for no gain", () => {
    expect(run([null, null, 1], rule({}))).toEqual({ stopsAfter: 2, best: [] });
    expect(run([1, null, null], rule({}))).toEqual({ stopsAfter: 3, best: [1] });
  });

  it("never stops a session that does not ask for it, and still finds the best weights", () => {
    expect(run([1, 2, 2, 2, 2, 0.5], undefined)).toEqual({ stopsAfter: null, best: [1, 6] });
  });

  it("is refused without held-out samples, and for a figure that the session has not", () => {
    const parse = (validation: readonly [number, number], metric: string) => () =>
      parseDefinition(
        defineSession({
          title: "Stops",
          model: nn.linear(2, 3),
          input: [2],
          loss: loss.crossEntropy({ metrics: ["top2"] }),
          optimizer: optim.sgd({ lr: 0.1 }),
          data: dataset("data", { x: "x", y: "y", train: [0, 8], validation }),
          batchSize: 4,
          epochs: 10,
          earlyStopping: { patience: 3, metric },
        }),
        { parameters: 1000, nodes: 100 },
      );
    expect(parse([8, 10], "top2")().earlyStopping).toEqual(rule({ patience: 3, metric: "top2" }));
    expect(parse([8, 8], "loss")).toThrow("no samples are held out");
    expect(parse([8, 10], "r2")).toThrow("no figure r2; there are loss, correct, top2");
  });
});
