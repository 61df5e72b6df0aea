import { beforeAll, describe, expect, it } from "vitest";
import { formatHead, parseHead, sealedText } from "../../shared/checkpoint/head.ts";
import { prolong } from "../../shared/checkpoint/state.ts";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import {
  type Assign,
  asAdmin,
  createSession,
  FakeClient,
  type FakeSample,
  request,
  stubOf,
  takePart,
  tinySession,
} from "./fleet.ts";
import { pushHeldOut } from "./held-out.ts";
import { LOSSES as RULE_LOSSES, RULES, STEPS_PER_EPOCH, sessionWith } from "./rules.ts";

const TRAIN = 16;
const HELD_OUT = 8;
const LOSSES = [4, 3, 1, 1.5, 2, 0.5, 0.25];

async function sha256(bytes: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const data = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A data set `held-out` of so many samples, all zero. */
async function pushDataset(samples = TRAIN + HELD_OUT): Promise<void> {
  const bytes = new Uint8Array(samples * 8);
  const hash = await sha256(bytes);
  await request(`/api/chunks/${hash}`, asAdmin({ method: "PUT", body: bytes }));
  const manifest: DatasetManifest = {
    format: 1,
    name: "held-out",
    samples,
    chunkSamples: samples,
    columns: [
      { name: "x", dtype: "float32", shape: [1] },
      { name: "y", dtype: "int32", shape: [] },
    ],
    splits: { train: [0, samples] },
    chunks: [hash],
  };
  const pushed = await request("/api/datasets/held-out", asAdmin({ method: "PUT", body: JSON.stringify(manifest) }));
  expect(pushed.ok).toBe(true);
}

/** Seven epochs of two steps that would stop after the fifth: the third is best. */
const heldOutSession = (options: { epochs?: number } = {}): SessionDefinition =>
  defineSession({
    title: "Held out",
    model: nn.sequential(nn.linear(1, 2)),
    input: [1],
    loss: loss.crossEntropy({ metrics: ["confusion", "auc"] }),
    optimizer: optim.adam({ lr: 0.1 }),
    data: dataset("held-out", { x: "x", y: "y", train: [0, TRAIN], validation: [TRAIN, TRAIN + HELD_OUT] }),
    batchSize: 8,
    microBatch: 4,
    epochs: options.epochs ?? LOSSES.length,
    earlyStopping: { patience: 2 },
  });

type Snapshot = NonNullable<Awaited<ReturnType<ReturnType<typeof stubOf>["snapshot"]>>>;

const snapshotOf = async (id: string): Promise<Snapshot> => (await stubOf(id).snapshot()) as unknown as Snapshot;

/** Everything that decides how a training goes on, with float arrays as bits. */
function bitsOf({ state, weights, states }: Snapshot) {
  const { step, version, stage, envelope, best, weightsHash, bestHash } = state;
  const bits = Object.entries({ weights, ...states }).map(([name, values]) => [
    name,
    new Uint32Array(values.slice().buffer),
  ]);
  return { step, version, stage, envelope, best, weightsHash, bestHash, ...Object.fromEntries(bits) };
}

/** Of each micro-batch of four: 3 correct, the confusion matrix, and then the curve of as many. */
const SUMS = [3, 1, 0, 1, 2, ...new Array<number>(256).fill(1), ...new Array<number>(256).fill(3)];

const madeUp = ({ work, step }: Assign): FakeSample =>
  work === "validate" ? { loss: LOSSES[step / 2 - 1], sums: SUMS } : { loss: 2 + step };

/** A client works until `steps` updates are done, or to the end. */
async function trainTo(
  id: string,
  definition: SessionDefinition,
  steps = Number.POSITIVE_INFINITY,
  sampleOf: (assign: Assign) => FakeSample = madeUp,
): Promise<void> {
  const client = new FakeClient(id, definition);
  await takePart(client, 0, (assign) => {
    if (assign.step < steps) return sampleOf(assign);
    client.drop();
    // Its result is not wanted any more.
    return new Promise((resolve) => setTimeout(() => resolve({}), 50));
  });
}

async function exportOf(id: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await request(`/api/sessions/${id}/checkpoint`, asAdmin());
  expect(response.status).toBe(200);
  const file = new Uint8Array(await response.arrayBuffer());
  expect(file.byteLength).toBe(Number(response.headers.get("X-Commonweight-Bytes")));
  return file;
}

const resume = (file: Uint8Array<ArrayBuffer>): Promise<Response> =>
  request("/api/sessions/resume", asAdmin({ method: "POST", body: file }));

async function resumed(file: Uint8Array<ArrayBuffer>): Promise<string> {
  const response = await resume(file);
  expect(response.status, await response.clone().text()).toBe(201);
  return ((await response.json()) as { id: string }).id;
}

interface Metrics {
  readonly steps: readonly { readonly step: number; readonly lr: number }[];
  readonly evaluations: readonly {
    readonly step: number;
    readonly time: number;
    readonly metrics: Readonly<Record<string, number>>;
    readonly tables?: Readonly<Record<string, readonly number[]>>;
  }[];
}

const metricsOf = async (id: string): Promise<Metrics> =>
  (await request(`/api/sessions/${id}/metrics?after=0`)).json() as Promise<Metrics>;

interface Opened {
  readonly head: ReturnType<typeof parseHead>["head"];
  readonly data: Uint8Array<ArrayBuffer>;
}

function open(file: Uint8Array<ArrayBuffer>): Opened {
  const start = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
  return { head: parseHead(new TextDecoder().decode(file.subarray(8, start))).head, data: file.slice(start) };
}

/** A file that is sealed as it should be, whatever is in it. */
async function seal({ head, data }: Opened): Promise<Uint8Array<ArrayBuffer>> {
  const text = new TextEncoder().encode(formatHead(head, await sha256(sealedText(head))));
  const file = new Uint8Array(8 + text.byteLength + data.byteLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  file.set(text, 8);
  file.set(data, 8 + text.byteLength);
  return file;
}

describe("a session that goes on from a checkpoint", () => {
  it("comes to the same bits as one that was never interrupted", async () => {
    const definition = tinySession();
    const straight = await createSession(definition);
    await trainTo(straight, definition);
    const expected = bitsOf(await snapshotOf(straight));
    for (const steps of [0, 1, 5, 9]) {
      const first = await createSession(definition);
      await trainTo(first, definition, steps);
      const file = await exportOf(first);
      const before = bitsOf(await snapshotOf(first));
      expect(before.step).toBe(steps);
      const second = await resumed(file);
      expect(second).not.toBe(first);
      expect(bitsOf(await snapshotOf(second)), `after ${steps} steps`).toEqual(before);
      await trainTo(second, definition);
      expect(bitsOf(await snapshotOf(second))).toEqual(expected);
      expect((await metricsOf(second)).steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
  });

  it("leaves the one that it was taken of as it was", async () => {
    const definition = tinySession();
    const id = await createSession(definition);
    await trainTo(id, definition, 5);
    const before = await snapshotOf(id);
    await exportOf(id);
    const after = await snapshotOf(id);
    expect(bitsOf(after)).toEqual(bitsOf(before));
    expect((await exportOf(id)).byteLength).toBeGreaterThan(0);
    await trainTo(id, definition);
    expect((await snapshotOf(id)).state.stage).toBe("done");
  });

  it("says in its record where it comes from", async () => {
    const definition = tinySession();
    const first = await createSession(definition);
    await trainTo(first, definition, 3);
    const second = await resumed(await exportOf(first));
    const response = await request(`/api/sessions/${second}/diagnostics`, asAdmin());
    const { journal } = (await response.json()) as { journal: readonly { event: string; detail: string }[] };
    expect(journal.at(-1)).toMatchObject({ event: "resumed", detail: `session ${first}, step 3` });
  });

  it("goes on past its end where it is given more steps", async () => {
    const [short, long] = [tinySession({ steps: 4 }), tinySession({ steps: 10 })];
    const first = await createSession(short);
    await trainTo(first, short);
    const opened = open(await exportOf(first));
    expect((await resume(await seal(opened))).status).toBe(422);
    const head = {
      ...opened.head,
      definition: JSON.stringify(long),
      state: prolong(opened.head, short, long),
    };
    const second = await resumed(await seal({ ...opened, head }));
    await trainTo(second, long);
    const straight = await createSession(long);
    await trainTo(straight, long);
    expect((await snapshotOf(second)).weights).toEqual((await snapshotOf(straight)).weights);
  });

  describe("by any update rule", () => {
    beforeAll(pushHeldOut);

    for (const [name, rule] of Object.entries(RULES)) {
      it(`comes to the same bits, learning rates included: ${name}`, async () => {
        const definition = sessionWith(rule);
        const losses = ({ work, step }: Assign) =>
          work === "validate" ? { loss: RULE_LOSSES[step / STEPS_PER_EPOCH - 1] } : { loss: 2 + step };
        const straight = await createSession(definition);
        await trainTo(straight, definition, undefined, losses);
        const first = await createSession(definition);
        // In the middle of an epoch, after evaluations that a plateau looks back on.
        await trainTo(first, definition, 11, losses);
        const second = await resumed(await exportOf(first));
        await trainTo(second, definition, undefined, losses);
        expect(bitsOf(await snapshotOf(second))).toEqual(bitsOf(await snapshotOf(straight)));
        const [a, b] = [await metricsOf(straight), await metricsOf(second)];
        expect(b.steps.map(({ lr }) => lr)).toEqual(a.steps.map(({ lr }) => lr));
      });
    }
  });

  describe("with held-out samples", () => {
    beforeAll(() => pushDataset());

    it("keeps the best weights so far, and stops early when the other would have", async () => {
      const definition = heldOutSession();
      const straight = await createSession(definition);
      await trainTo(straight, definition);
      const expected = bitsOf(await snapshotOf(straight));
      expect(expected).toMatchObject({ step: 10, stage: "done", best: { step: 6 } });
      const first = await createSession(definition);
      await trainTo(first, definition, 8);
      const second = await resumed(await exportOf(first));
      await trainTo(second, definition);
      expect(bitsOf(await snapshotOf(second))).toEqual(expected);
      const [a, b] = [await metricsOf(straight), await metricsOf(second)];
      expect(b.evaluations.map(({ time: _, ...rest }) => rest)).toEqual(
        a.evaluations.map(({ time: _, ...rest }) => rest),
      );
    });

    it("carries the counts of the last evaluation along", async () => {
      const definition = heldOutSession();
      const first = await createSession(definition);
      await trainTo(first, definition, 6);
      const second = await resumed(await exportOf(first));
      const { evaluations } = await metricsOf(second);
      expect(evaluations.map(({ step, tables }) => [step, tables?.confusion])).toEqual([
        [2, undefined],
        [4, [2, 0, 2, 4]],
      ]);
      expect(evaluations.at(-1)?.metrics).toEqual({ correct: 0.75, auc: 0.5, aucError: 0.5 });
    });

    it("is refused where the coordinator has other data by that name, or none", async () => {
      const definition = heldOutSession();
      const first = await createSession(definition);
      await trainTo(first, definition, 3);
      const file = await exportOf(first);
      await pushDataset(TRAIN + HELD_OUT + 1);
      expect(await refusalOf(file)).toMatchObject({ status: 422, code: "checkpoint-mismatch" });
      await request("/api/datasets/held-out?force=true", asAdmin({ method: "DELETE" }));
      expect(await refusalOf(file)).toMatchObject({ status: 422, code: "unknown-dataset" });
    });
  });
});

async function refusalOf(file: Uint8Array<ArrayBuffer>): Promise<{ status: number; code: string; message: string }> {
  const response = await resume(file);
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return { status: response.status, ...error };
}

describe("a checkpoint file", () => {
  const definition = tinySession();
  let id: string;
  let file: Uint8Array<ArrayBuffer>;
  let opened: Opened;

  beforeAll(async () => {
    id = await createSession(definition);
    await trainTo(id, definition, 5);
    file = await exportOf(id);
    opened = open(file);
  });

  it("is for the session's owner alone", async () => {
    expect((await request(`/api/sessions/${id}/checkpoint`)).status).toBe(401);
    const unsigned = await request("/api/sessions/resume", { method: "POST", body: file });
    expect(unsigned.status).toBe(401);
  });

  it("holds what safetensors readers can open", () => {
    expect(opened.head.parts.map(({ name, dtype }) => `${name} ${dtype}`)).toEqual([
      "envelope U8",
      "history U8",
      "latest.exp_avg F32",
      "latest.exp_avg_sq F32",
      "latest.weights F32",
    ]);
    expect(opened.head.session).toBe(id);
  });

  it("is refused where it is cut off, wherever that is", async () => {
    for (const length of [0, 4, 8, 100, Math.floor(file.length / 2), file.length - 1]) {
      const { status, code } = await refusalOf(file.slice(0, length));
      expect([400, 422], `${length} bytes`).toContain(status);
      expect(["checkpoint-damaged", "not-a-checkpoint"]).toContain(code);
    }
  });

  it("is refused where a byte of it is another one, wherever that is", async () => {
    const start = file.length - opened.data.length;
    for (const at of [0, 9, 200, start - 200, start + 1, start + 1000, file.length - 3]) {
      const changed = file.slice();
      changed[at]! ^= 1;
      const { code } = await refusalOf(changed);
      expect(["checkpoint-damaged", "not-a-checkpoint", "checkpoint-version"], `byte ${at}`).toContain(code);
    }
  });

  it("is refused where it goes on after its end", async () => {
    const longer = new Uint8Array(file.length + 1);
    longer.set(file);
    expect(await refusalOf(longer)).toMatchObject({ status: 422, code: "checkpoint-damaged" });
  });

  it("of other software is refused", async () => {
    const text = new TextDecoder("latin1").decode(file).replace('"version":"1"', '"version":"2"');
    const other = Uint8Array.from(text, (character) => character.charCodeAt(0));
    expect(await refusalOf(new Uint8Array(new TextEncoder().encode("no such file at all")))).toMatchObject({
      status: 400,
      code: "not-a-checkpoint",
    });
    // latin1 of TextDecoder is windows-1252: the tail is of no interest here, the head comes first.
    expect(await refusalOf(other.slice())).toMatchObject({ status: 422, code: "checkpoint-version" });
  });

  it("that is sealed, but fits no run of its session, is refused", async () => {
    const { head, data } = opened;
    const state = (change: Partial<Opened["head"]["state"]>): Opened["head"] => ({
      ...head,
      state: { ...head.state, ...change },
    });
    const { groups: _, ...tiny } = tinySession();
    const wider = defineSession({
      ...tiny,
      model: nn.sequential(nn.linear(30, 3)),
      input: [30],
      loss: loss.crossEntropy(),
    });
    const without = (name: string): Opened => {
      const part = head.parts.find((other) => other.name === name)!;
      const before = head.parts.slice(0, head.parts.indexOf(part)).reduce((sum, { bytes }) => sum + bytes, 0);
      const rest = new Uint8Array(data.length - part.bytes);
      rest.set(data.subarray(0, before));
      rest.set(data.subarray(before + part.bytes), before);
      return { head: { ...head, parts: head.parts.filter((other) => other !== part) }, data: rest };
    };
    const cases: readonly [Opened, string][] = [
      [{ head: state({ step: 11 }), data }, "it has done 11 steps, the session has 10"],
      [{ head: state({ stage: "calibrate" }), data }, "no run of this session is in stage calibrate after 5 steps"],
      [{ head: state({ stage: "validate" }), data }, "no run of this session is in stage validate"],
      [{ head: state({ best: { step: 4, version: 4, loss: 1 } }), data }, "no run of this session"],
      [
        { head: { ...head, definition: JSON.stringify(wider) }, data },
        "part envelope has 2 bytes of U8, the session needs 1 of U8",
      ],
      [{ head: { ...head, definition: "{}" }, data }, "format"],
      [without("latest.exp_avg_sq"), "part latest.exp_avg_sq is missing"],
      [
        {
          head: {
            ...head,
            parts: head.parts.map((part) => ({ ...part, name: part.name.replace(".exp_avg_sq", ".w") })),
          },
          data,
        },
        '"latest.w" is none',
      ],
      [{ head: state({ step: 3 }), data }, "it has step 5, the run has done 3"],
    ];
    for (const [changed, complaint] of cases) {
      const { status, message } = await refusalOf(await seal(changed));
      expect([400, 422]).toContain(status);
      expect(message).toContain(complaint);
    }
  });

  it("with weights that are not finite is refused", async () => {
    const data = opened.data.slice();
    const { parts } = opened.head;
    const last = parts.at(-1)!;
    expect(last.name).toBe("latest.weights");
    new DataView(data.buffer).setFloat32(data.length - last.bytes, Number.NaN, true);
    const hash = await sha256(data.slice(data.length - last.bytes));
    const head = { ...opened.head, parts: [...parts.slice(0, -1), { ...last, sha256: hash }] };
    expect(await refusalOf(await seal({ head, data }))).toMatchObject({
      status: 422,
      message: "the checkpoint: a value of part latest.weights is not finite",
    });
  });
});
