import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { continueCheckpoint, parseCheckpoint } from "../../cli/checkpoint.ts";
import { CliError } from "../../cli/errors.ts";
import { readHeader } from "../../cli/importers/safetensors.ts";
import { assembleFile } from "../../cli/safetensors.ts";
import { type CheckpointHead, type CheckpointState, formatHead, sealedText } from "../../shared/checkpoint/head.ts";
import { prolong, requirePossible } from "../../shared/checkpoint/state.ts";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import { canonicalJson } from "../../shared/session/canonical.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** Two steps an epoch; validated after each, tested at the end. */
const session = (options: { epochs?: number; seed?: number; lr?: number } = {}): SessionDefinition =>
  defineSession({
    title: "Ünïcode 模型",
    model: nn.sequential(nn.linear(2, 3)),
    input: [2],
    loss: loss.crossEntropy(),
    optimizer: optim.sgd({ lr: options.lr ?? 0.1 }),
    data: dataset("d", { x: "x", y: "y", train: [0, 16], validation: [16, 20], test: [20, 24] }),
    batchSize: 8,
    epochs: options.epochs ?? 4,
    seed: options.seed ?? 0,
  });

const STATE: CheckpointState = {
  stage: "train",
  step: 3,
  version: 5,
  best: { step: 2, version: 3, loss: 0.5 },
  weightsHash: null,
  bestHash: null,
};

const weights = new Uint8Array(Float32Array.from({ length: 12 }, (_, at) => at).buffer);

function headOf(change: Partial<CheckpointHead> = {}): CheckpointHead {
  return {
    session: "0".repeat(32),
    definition: canonicalJson(session()),
    manifest: null,
    state: STATE,
    parts: [{ name: "latest.weights", dtype: "F32", bytes: weights.length, sha256: sha256(weights) }],
    ...change,
  };
}

const fileOf = (head: CheckpointHead, data = weights): Uint8Array<ArrayBuffer> =>
  assembleFile(formatHead(head, sha256(sealedText(head))), [data]);

describe("a checkpoint file", () => {
  it("is read as it was written, and by any reader of safetensors", () => {
    const file = fileOf(headOf());
    const { head, definition, data } = parseCheckpoint(file, "f");
    expect(head).toEqual(headOf());
    expect(definition).toEqual(session());
    expect([...data]).toEqual([...weights]);
    const { header } = readHeader(file, "f");
    expect(header.tensors).toEqual([{ name: "latest.weights", dtype: "F32", shape: [12], from: 0, to: 48 }]);
    expect(header.metadata).toMatchObject({ format: "commonweight-checkpoint", version: "1" });
  });

  it("that was cut off, or says something else by any one bit, is refused", () => {
    const file = fileOf(headOf());
    const { head } = parseCheckpoint(file, "f");
    for (let length = 0; length < file.length; length += 7) {
      expect(() => parseCheckpoint(file.subarray(0, length), "f"), `${length} bytes`).toThrow(CliError);
    }
    for (let at = 0; at < file.length; at++) {
      const changed = file.with(at, file[at]! ^ (1 << (at % 8)));
      try {
        // The same in other letters, as \\u00EF for \\u00ef, is the same.
        expect(parseCheckpoint(changed, "f").head, `byte ${at}`).toEqual(head);
      } catch (error) {
        expect(error, `byte ${at}`).toBeInstanceOf(CliError);
      }
    }
  });

  it("says what it is not", () => {
    const other = assembleFile('{"__metadata__":{"format":"pt"}}', []);
    expect(() => parseCheckpoint(other, "f")).toThrow("f is no checkpoint to go on from: it holds no checkpoint");
    const text = formatHead(headOf(), "0".repeat(64));
    expect(() => parseCheckpoint(assembleFile(text, [weights]), "f")).toThrow("the seal is broken");
    const newer = assembleFile(text.replace('"version":"1"', '"version":"9"'), [weights]);
    expect(() => parseCheckpoint(newer, "f")).toThrow("it has version 9, this software reads 1");
    expect(() => parseCheckpoint(fileOf(headOf({ definition: "{}" })), "f")).toThrow(
      "no checkpoint to go on from: format",
    );
  });

  it("goes on in the same session, and in one that lasts longer", () => {
    const checkpoint = parseCheckpoint(fileOf(headOf()), "f");
    expect(parseCheckpoint(continueCheckpoint(checkpoint, session()), "g").head).toEqual(headOf());
    const longer = parseCheckpoint(continueCheckpoint(checkpoint, session({ epochs: 9 })), "g");
    expect(longer.definition.epochs).toBe(9);
    expect(longer.head.state).toEqual(STATE);
  });

  it("goes on in no other one", () => {
    const checkpoint = parseCheckpoint(fileOf(headOf()), "f");
    const complaint = "cannot go on from f: the session is another one: it differs in optimizer, seed";
    expect(() => continueCheckpoint(checkpoint, session({ lr: 0.2, seed: 1 }))).toThrow(complaint);
    expect(() => continueCheckpoint(checkpoint, session({ epochs: 1 }))).toThrow("nothing left to do");
  });
});

describe("the state in a checkpoint", () => {
  it("is one that a run of the session can be in", () => {
    const at = (change: Partial<CheckpointState>) => () => requirePossible({ ...STATE, ...change }, session());
    const possible: Partial<CheckpointState>[] = [
      {},
      { stage: "calibrate", step: 0, best: null },
      { stage: "validate", step: 4 },
      { stage: "test", step: 8 },
      { stage: "done", step: 8 },
    ];
    for (const change of possible) expect(at(change), JSON.stringify(change)).not.toThrow();
    const impossible: Partial<CheckpointState>[] = [
      { step: 9 },
      { stage: "calibrate" },
      { stage: "train", step: 8 },
      { stage: "validate", step: 3 },
      { stage: "test", step: 7 },
      { stage: "done", step: 7 },
      { best: { step: 4, version: 1, loss: 0 } },
    ];
    for (const change of impossible) expect(at(change), JSON.stringify(change)).toThrow();
  });

  it("of a training that was over goes on, unless earlier weights were put back at its end", () => {
    const own = sha256(weights);
    const over = { ...STATE, stage: "done", step: 8, weightsHash: own, bestHash: own } as const;
    const [four, nine] = [session(), session({ epochs: 9 })];
    const { parts } = headOf();
    expect(prolong({ state: over, parts }, four, nine)).toEqual({
      ...over,
      stage: "train",
      weightsHash: null,
      bestHash: null,
    });
    const restored = { ...over, weightsHash: "f".repeat(64) };
    expect(() => prolong({ state: restored, parts }, four, nine)).toThrow("put back");
    expect(() => prolong({ state: over, parts }, four, four)).toThrow("nothing left to do");
  });

  it("of an evaluation in the middle of what is an epoch now goes on with the next step", () => {
    const odd = { ...session(), maxSteps: 3 };
    const state = { ...STATE, stage: "validate" } as const;
    expect(prolong({ state, parts: [] }, odd, { ...odd, maxSteps: 5 }).stage).toBe("train");
    const even = { ...STATE, stage: "validate", step: 2 } as const;
    expect(prolong({ state: even, parts: [] }, { ...odd, maxSteps: 2 }, { ...odd, maxSteps: 5 }).stage).toBe(
      "validate",
    );
  });
});
