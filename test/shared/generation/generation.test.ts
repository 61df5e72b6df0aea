import { describe, expect, it } from "vitest";
import {
  chooseToken,
  GenerationError,
  generate,
  languageModelOf,
  requireCausal,
} from "../../../shared/generation/index.ts";
import { type Graph, initialize, runReference } from "../../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn } from "../../../shared/nn/index.ts";
import { deriveKey, threefry2x32, uniformFloat } from "../../../shared/random/index.ts";

const WINDOW = 6;
const VOCABULARY = 5;

function tinyGpt(causal: boolean): Graph {
  const tokens = nn.embedding(VOCABULARY, 8, { std: 0.4 });
  const block = nn.transformerBlock(8, 2, { dimFeedforward: 16, dropout: 0, normFirst: true, causal });
  const head = nn.linear(8, VOCABULARY, { bias: false, weightOf: tokens });
  return build(nn.sequential(tokens, nn.learnedPositions(WINDOW, 8, { std: 1 }), block, nn.layerNorm(8), head));
}

function build(model: Module): Graph {
  return buildGraph({
    model,
    loss: loss.crossEntropy({ classAxis: -1 }),
    input: { x: { dtype: "int32", shape: [WINDOW] } },
  });
}

const graph = tinyGpt(true);
const model = languageModelOf(graph);
const weights = initialize(graph, 3);

/** The oracle on one window, [window, vocabulary]. */
const predictWith =
  (of: Graph, flat: Float32Array) =>
  async (x: ArrayLike<number>): Promise<Float64Array> =>
    runReference(of, 1, { x, weight: [1] }, flat)[of.outputs.prediction];

const predict = predictWith(graph, weights);

async function all(tokens: AsyncIterable<number>): Promise<number[]> {
  const collected: number[] = [];
  for await (const token of tokens) collected.push(token);
  return collected;
}

/** Logits of the token after `history`, with something else behind it than the padding: −1, which embeds as zeros. */
function logitsAfter(history: readonly number[]): number[] {
  const seen = history.slice(-WINDOW);
  const x = [...seen, ...Array.from({ length: WINDOW - seen.length }, () => -1)];
  const logits = runReference(graph, 1, { x, weight: [1] }, weights)[graph.outputs.prediction];
  return Array.from(logits.slice((seen.length - 1) * VOCABULARY, seen.length * VOCABULARY));
}

describe("writing on", () => {
  it("takes the likeliest token at temperature 0, whatever stands behind the prompt, and slides over the window", async () => {
    const history = [4, 1];
    for (let count = 0; count < 3 * WINDOW; count++) {
      const logits = logitsAfter(history);
      history.push(logits.indexOf(Math.max(...logits)));
    }
    const options = { length: 3 * WINDOW, seed: 0, temperature: 0, topK: null };
    expect(await all(generate(model, predict, [4, 1], options))).toEqual(history.slice(2));
    expect(new Set(history).size).toBeGreaterThan(1);
  });

  it("draws by the generator at (seed, number of the token) and so writes the same again", async () => {
    const options = { length: 12, seed: 7, temperature: 1, topK: null };
    const [k0, k1] = deriveKey(7, "generation");
    const words = new Uint32Array(2);
    const history = [2];
    for (let count = 0; count < 12; count++) {
      threefry2x32(k0, k1, count, 0, words);
      history.push(chooseToken(logitsAfter(history), options, uniformFloat(words[0])));
    }
    expect(await all(generate(model, predict, [2], options))).toEqual(history.slice(1));
    expect(await all(generate(model, predict, [2], options))).toEqual(history.slice(1));
    expect(await all(generate(model, predict, [2], { ...options, seed: 8 }))).not.toEqual(history.slice(1));
  });

  it("sees no more of a long prompt than the window", async () => {
    const options = { length: 5, seed: 1, temperature: 1, topK: null };
    const tail = [0, 1, 2, 3, 4, 0];
    const long = await all(generate(model, predict, [3, 3, 3, ...tail], options));
    expect(long).toEqual(await all(generate(model, predict, tail, options)));
  });

  it("never takes a token that stands for nothing, where the model has more outputs", async () => {
    const options = { length: 40, seed: 0, temperature: 3, topK: null };
    expect(new Set(await all(generate(model, predict, [1], options))).size).toBe(VOCABULARY);
    const few = await all(generate(model, predict, [1], { ...options, tokens: 2 }));
    expect(new Set(few)).toEqual(new Set([0, 1]));
  });

  it("refuses an empty prompt, tokens that there are not, and weights that are not finite", async () => {
    const options = { length: 1, seed: 0, temperature: 1, topK: null };
    await expect(all(generate(model, predict, [], options))).rejects.toMatchObject({ code: "bad-prompt" });
    await expect(all(generate(model, predict, [1, VOCABULARY], options))).rejects.toThrow(
      "the prompt has token 5, the model has 0 to 4",
    );
    const broken = predictWith(
      graph,
      weights.map(() => Number.NaN),
    );
    await expect(all(generate(model, broken, [1], options))).rejects.toMatchObject({ code: "not-finite" });
  });
});

describe("the choice of a token", () => {
  const logits = [0, Math.log(3), 0, Math.log(4)]; // probabilities 1/9, 3/9, 1/9, 4/9
  const whole = { temperature: 1, topK: null };

  it.each([
    [0, 0],
    [0.11, 0],
    [0.12, 1],
    [0.44, 1],
    [0.45, 2],
    [0.55, 2],
    [0.56, 3],
    [1 - 2 ** -24, 3],
  ])("lays probabilities one after another: %d is token %d", (uniform, token) => {
    expect(chooseToken(logits, whole, uniform)).toBe(token);
  });

  it("draws from the k likeliest alone, of equals the first", () => {
    const drawn = (topK: number): Set<number> =>
      new Set(Array.from({ length: 100 }, (_, at) => chooseToken(logits, { temperature: 1, topK }, at / 100)));
    expect(drawn(1)).toEqual(new Set([3]));
    expect(drawn(2)).toEqual(new Set([1, 3]));
    expect(drawn(3)).toEqual(new Set([0, 1, 3]));
    expect(drawn(9)).toEqual(new Set([0, 1, 2, 3]));
  });

  it("sharpens below temperature 1: of ½ the probabilities are squared", () => {
    // 1, 9, 1, 16 of 27
    expect(chooseToken(logits, { temperature: 0.5, topK: null }, 1.01 / 27)).toBe(1);
    expect(chooseToken(logits, { temperature: 0.5, topK: null }, 10.99 / 27)).toBe(2);
    expect(chooseToken(logits, { temperature: 0.5, topK: null }, 11.01 / 27)).toBe(3);
  });

  it("does not overflow at low temperatures, and takes the first of equals at 0", () => {
    expect(chooseToken([1, 50, 50, 2], { temperature: 1e-3, topK: null }, 0.4)).toBe(1);
    expect(chooseToken([1, 50, 50, 2], { temperature: 0, topK: null }, 0.9)).toBe(1);
  });
});

describe("what a language model is", () => {
  it("takes one window of tokens and gives logits for each", () => {
    expect(model).toEqual({ input: "x", window: WINDOW, vocabulary: VOCABULARY });
  });

  it.each<[string, Graph, string]>([
    [
      "features",
      buildGraph({ model: nn.linear(4, 2), loss: loss.crossEntropy(), input: [4] }),
      "expected one input of tokens, int32 [N, window], it takes x float32 [N, 4]",
    ],
    [
      "one class a sample",
      build(nn.sequential(nn.embedding(5, 3), nn.flatten(), nn.linear(18, 4))),
      "expected logits [N, 6, vocabulary], it predicts [N, 4]",
    ],
    [
      "classes on the wrong axis",
      build(nn.sequential(nn.embedding(5, 3), nn.permute(0, 2, 1))),
      "expected logits [N, 6, vocabulary], it predicts [N, 3, 6]",
    ],
  ])("and not: %s", (_, other, message) => {
    expect(() => languageModelOf(other)).toThrow(message);
    expect(() => languageModelOf(other)).toThrow(GenerationError);
  });

  it("sees no token that comes later", async () => {
    await requireCausal(model, predict);
    const seeing = tinyGpt(false);
    await expect(requireCausal(model, predictWith(seeing, initialize(seeing, 3)))).rejects.toMatchObject({
      code: "not-causal",
    });
  });
});
