import { describe, expect, it } from "vitest";
import { given } from "../../shared/graph/given.ts";
import { givenWeights, initialize } from "../../shared/graph/index.ts";
import { defineSession, loss, type Module, nn } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { asAdmin, createSession, request, stubOf, tinySession } from "./fleet.ts";

const VALUES = Float32Array.from({ length: 12 * 30 }, (_, at) => Math.sin(at));

/** A layer whose matrix has values of its own. */
const known: Module = {
  kind: "known",
  build: (to, x) =>
    to.emit("Gemm", [x, to.parameter("weight", [12, 30], given(VALUES))], { transA: false, transB: true }),
};

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The tiny session with a first layer of given values, and the blob that it names. */
async function session(
  change: (weights: Float32Array<ArrayBuffer>) => Float32Array<ArrayBuffer> = (weights) => weights,
) {
  const { graph: _graph, groups: _groups, ...rest } = tinySession();
  const defined = defineSession({
    ...rest,
    model: nn.sequential(known, nn.relu(), nn.linear(12, 3)),
    input: [30],
    loss: loss.crossEntropy(),
  });
  const bytes = new Uint8Array(change(givenWeights(defined.graph)!).buffer);
  const hash = await sha256(bytes);
  return { definition: { ...defined, initialWeights: hash } satisfies SessionDefinition, bytes, hash };
}

const upload = (hash: string, bytes: Uint8Array<ArrayBuffer>): Promise<Response> =>
  request(`/api/chunks/${hash}`, asAdmin({ method: "PUT", body: bytes }));

async function refusal(definition: SessionDefinition): Promise<{ status: number; code: string; message: string }> {
  const response = await request("/api/sessions", asAdmin({ method: "POST", body: JSON.stringify(definition) }));
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return { status: response.status, ...error };
}

describe("a session with given first weights", () => {
  it("starts from them, and from the seed where none are given", async () => {
    const { definition, bytes, hash } = await session();
    expect((await upload(hash, bytes)).status).toBe(201);
    const id = await createSession(definition);
    const snapshot = await stubOf(id).snapshot();
    const { graph, seed } = definition;
    expect(snapshot!.weights).toEqual(initialize(graph, seed, givenWeights(graph)));
    expect(snapshot!.weights.subarray(0, VALUES.length)).toEqual(VALUES);
    expect(snapshot!.weights.subarray(VALUES.length).some((value) => value !== 0)).toBe(true);
  });

  it("is refused without them, and leaves nothing behind", async () => {
    const { definition } = await session((weights) => weights.map((value) => value + 1));
    expect(await refusal(definition)).toMatchObject({ status: 422, code: "weights-missing" });
  });

  it("is refused where they have another size, or are not finite", async () => {
    const short = await session((weights) => weights.slice(1));
    await upload(short.hash, short.bytes);
    expect(await refusal(short.definition)).toMatchObject({
      status: 422,
      code: "weights-size",
      message: `the initial weights have ${short.bytes.length} bytes, the graph needs ${short.bytes.length + 4}`,
    });
    const broken = await session((weights) => weights.fill(Number.NaN, 5, 6));
    await upload(broken.hash, broken.bytes);
    expect(await refusal(broken.definition)).toMatchObject({
      status: 422,
      code: "weights-not-finite",
      message: "the initial weights: a value of parameter 0.weight is not finite",
    });
  });

  it("names them, and no session does that starts from the seed", async () => {
    const { definition, hash } = await session();
    const { initialWeights: _hash, ...nameless } = definition;
    expect(await refusal(nameless)).toMatchObject({ status: 400, code: "bad-definition" });
    expect((await refusal(nameless)).message).toContain("0.weight starts from given values");
    expect((await refusal({ ...tinySession(), initialWeights: hash })).message).toContain("starts from the seed");
  });
});
