import { describe, expect, it } from "vitest";
import { heldOutOf } from "../../client/page/held-out.ts";
import { dataset, defineSession, type Loss, loss, nn, optim } from "../../shared/nn/index.ts";

const heldOut = (made: Loss) =>
  heldOutOf(
    defineSession({
      title: "Held out",
      model: nn.linear(2, 3),
      input: [2],
      loss: made,
      optimizer: optim.sgd({ lr: 0.1 }),
      data: dataset("data", { x: "x", y: "y", train: [0, 8], validation: [8, 10] }),
      batchSize: 4,
      epochs: 1,
    }),
  );

describe("the held-out figure on the page", () => {
  it("is what the session was asked to measure, else accuracy, else the loss", () => {
    const names = [
      loss.crossEntropy({ metrics: ["perplexity"] }),
      loss.crossEntropy({ metrics: ["top2"] }),
      loss.mse({ metrics: ["mae", "r2"] }),
      loss.l1({ metrics: ["mae"] }),
      loss.mse(),
    ].map((made) => heldOut(made).name);
    expect(names).toEqual(["perplexity", "accuracy", "R²", "mean absolute error", "loss"]);
  });

  it("is missing where it could not be measured, and never another one in its place", () => {
    const { of, format } = heldOut(loss.mse({ metrics: ["r2"] }));
    expect(of({ loss: 2, metrics: {} })).toBeNull();
    expect(format(of({ loss: 2, metrics: { r2: 0.75 } })!)).toBe("0.750");
    expect(heldOut(loss.mse()).of({ loss: 2, metrics: {} })).toBe(2);
  });
});
