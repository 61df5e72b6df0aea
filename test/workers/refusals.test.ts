import { beforeEach, describe, expect, it } from "vitest";
import { blockCount, encodeSums } from "../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../shared/graph/index.ts";
import { encodeFrame, HEADER_BYTES, MAX_FRAME_BYTES, upwardLayout } from "../../shared/protocol/frames.ts";
import { type CoordinatorMessage, PROTOCOL_ERRORS, type ProtocolErrorCode } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { squaresOf } from "../../shared/session/squares.ts";
import { createSession, FakeClient, fakeResult, request, takePart, tinySession } from "./fleet.ts";

type Assign = Extract<CoordinatorMessage, { type: "assign" }>;

const definition = tinySession({ steps: 3 });

/** A client that has said hello and holds the current weights. */
async function joined(id: string): Promise<FakeClient> {
  const client = new FakeClient(id, definition);
  await client.connect();
  client.hello();
  const { client: name, resumeKey, version } = await client.ofType("welcome");
  client.identity = { client: name, resumeKey };
  client.version = version;
  return client;
}

const ready = (client: FakeClient): void => client.send({ type: "ready", version: client.version });

/** Answers leases until the session is over. */
async function workToTheEnd(client: FakeClient): Promise<void> {
  for (;;) {
    const message = await client.next((next) =>
      next.type === "progress" || next.type === "receipt" ? undefined : next,
    );
    if (message.type === "error") {
      expect(message.code).toBe("finished");
      return;
    }
    if (message.type === "weights") client.send({ type: "ready", version: message.version });
    if (message.type === "assign") for (const frame of fakeResult(definition, message)) client.sendBytes(frame);
  }
}

/** Expects the error and its close code, then that an honest client finishes the session. */
async function expectRefusal(id: string, offender: FakeClient, code: ProtocolErrorCode): Promise<void> {
  const error = await offender.ofType("error");
  expect(error.code).toBe(code);
  while (offender.closed === null) await offender.changed();
  expect(offender.closed.code).toBe(PROTOCOL_ERRORS[code].close);
  const honest = await joined(id);
  ready(honest);
  await workToTheEnd(honest);
}

describe("what is wrong costs its sender, and everyone else goes on (I5)", () => {
  let id: string;
  beforeEach(async () => {
    id = await createSession(definition);
  });

  it("an unknown session", async () => {
    const client = new FakeClient("0".repeat(32), definition);
    await client.connect();
    expect((await client.ofType("error")).code).toBe("unknown-session");
    expect((await request(`/api/sessions/${"0".repeat(32)}`)).status).toBe(404);
    expect((await request("/api/sessions/nonsense")).status).toBe(404);
  });

  it("a wrong protocol version, before any object wakes", async () => {
    const response = await request(`/api/sessions/${id}/socket`, {
      headers: { Upgrade: "websocket", "Sec-WebSocket-Protocol": "chat" },
    });
    expect(response.status).toBe(426);
    expect(await response.json()).toMatchObject({ error: { code: "protocol-version" } });
    // Who speaks another version of it is told so over a socket: a page is shown nothing of a refused upgrade.
    const old = new FakeClient(id, definition);
    await old.connect("commonweight.2, bearer.x");
    expect((await old.ofType("error")).code).toBe("protocol-version");
    while (old.closed === null) await old.changed();
    expect(old.closed.code).toBe(PROTOCOL_ERRORS["protocol-version"].close);
  });

  it("anything before hello", async () => {
    const client = new FakeClient(id, definition);
    await client.connect();
    client.send({ type: "ready", version: 1 });
    await expectRefusal(id, client, "hello-first");
  });

  it("a message that is none", async () => {
    const client = await joined(id);
    client.sendBytes(Uint8Array.of(0xc1, 1, 2, 3));
    await expectRefusal(id, client, "bad-message");
  });

  it("weights of a version that does not exist", async () => {
    const client = await joined(id);
    client.send({ type: "ready", version: 99 });
    await expectRefusal(id, client, "bad-message");
  });

  /** A client with a lease, and that lease. */
  async function working(): Promise<{ client: FakeClient; assign: Assign }> {
    const client = await joined(id);
    ready(client);
    return { client, assign: await client.ofType("assign") };
  }

  const firstFrame = (assign: Assign): Uint8Array<ArrayBuffer> => {
    const [frame] = fakeResult(definition, assign);
    if (frame === undefined) throw new Error("a result has a frame");
    return frame;
  };

  it("a truncated frame", async () => {
    const { client, assign } = await working();
    client.sendBytes(firstFrame(assign).slice(0, -3));
    await expectRefusal(id, client, "bad-frame");
  });

  it("an oversized frame", async () => {
    const { client, assign } = await working();
    const frame = new Uint8Array(MAX_FRAME_BYTES + 1);
    frame.set(firstFrame(assign));
    client.sendBytes(frame);
    await expectRefusal(id, client, "frame-too-large");
  });

  it("a tensor of the wrong size", async () => {
    const { client, assign } = await working();
    const { lease, version, step } = assign;
    const header = {
      kind: "calibration",
      codec: "none",
      version,
      step,
      lease,
      clamped: 0,
      loss: 0n,
      weight: 0n,
    } as const;
    client.sendBytes(encodeFrame({ ...header, offset: 0, total: 8 }, new Uint8Array(8)));
    await expectRefusal(id, client, "tensor-size");
  });

  describe("of encoded sums", () => {
    const packed = tinySession({ steps: 3, codec: "packed8" });
    const sparse = tinySession({ steps: 3, codec: "sparse20" });

    /** The first training lease, its calibration done, and the one frame of its honest result. */
    async function training(
      definition: SessionDefinition,
    ): Promise<{ id: string; client: FakeClient; frame: Uint8Array<ArrayBuffer> }> {
      const id = await createSession(definition);
      const client = new FakeClient(id, definition);
      await client.connect();
      client.hello();
      client.version = (await client.ofType("welcome")).version;
      ready(client);
      for (;;) {
        const message = await client.next((next) =>
          next.type === "assign" || next.type === "weights" ? next : undefined,
        );
        if (message.type === "weights") client.send({ type: "ready", version: message.version });
        else {
          const [frame] = fakeResult(definition, message);
          if (message.work === "train") return { id, client, frame };
          client.sendBytes(frame);
        }
      }
    }

    const sizes = { metrics: metricNames(packed.graph).length, blocks: blockCount(parameterLength(packed.graph)) };
    /** Offset of the sums in a frame: packed ones begin with their widths, sparse ones with their unit. */
    const SUMS = HEADER_BYTES + upwardLayout("gradient", sizes).sums;
    const { sums: COARSE, squares: SQUARES } = upwardLayout("gradient", { ...sizes, squares: squaresOf(sparse) });
    const withFloat = (frame: Uint8Array<ArrayBuffer>, at: number, value: number): Uint8Array<ArrayBuffer> => {
      new DataView(frame.buffer).setFloat32(HEADER_BYTES + at, value, true);
      return frame;
    };
    const withHalf = (frame: Uint8Array<ArrayBuffer>, at: number, value: number): Uint8Array<ArrayBuffer> => {
      new DataView(frame.buffer).setUint16(HEADER_BYTES + at, value, true);
      return frame;
    };

    const MALFORMED: Record<
      string,
      {
        code: ProtocolErrorCode;
        definition?: SessionDefinition;
        spoil: (frame: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;
      }
    > = {
      "a width that no sum of the lease needs": {
        code: "bad-frame",
        spoil: (frame) => frame.fill(16, SUMS, SUMS + 1),
      },
      "widths that ask for other bytes than came": {
        code: "bad-frame",
        spoil: (frame) => frame.fill(1, SUMS, SUMS + 1),
      },
      "more than the lease can fill": { code: "tensor-size", spoil: (frame) => resized(frame, 4_000) },
      "less than the widths": { code: "tensor-size", spoil: (frame) => resized(frame, -(frame.byteLength - SUMS)) },
      "more values than may travel": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => withSums(frame, (at) => (at % 4 === 0 ? 1 : 0)),
      },
      "a value that no sum of the lease is": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => withSums(frame, (at) => (at === 7 ? 1024 : 0)),
      },
      "a sum beyond what the lease can come to": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => withFloat(frame, COARSE, 2 ** 20),
      },
      "a unit of nothing": { code: "bad-frame", definition: sparse, spoil: (frame) => withFloat(frame, COARSE, 0) },
      "a unit that is not finite": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => withFloat(frame, COARSE, Number.POSITIVE_INFINITY),
      },
      "a sum of squares below zero": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => withHalf(frame, SQUARES + 8, 0xbf80),
      },
      "a sum of squares that is not a number": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => withHalf(frame, SQUARES, 0x7fc0),
      },
      "values that end too early": { code: "bad-frame", definition: sparse, spoil: (frame) => resized(frame, -4) },
      "values that go on": { code: "bad-frame", definition: sparse, spoil: (frame) => resized(frame, 4) },
      "any bits for values": {
        code: "bad-frame",
        definition: sparse,
        spoil: (frame) => frame.fill(0xa5, HEADER_BYTES + COARSE + 12),
      },
    };

    /** The frame with other sparse sums. */
    function withSums(frame: Uint8Array<ArrayBuffer>, valueAt: (at: number) => number): Uint8Array<ArrayBuffer> {
      const values = Int32Array.from({ length: parameterLength(sparse.graph) }, (_, at) => valueAt(at));
      const encoded = encodeSums(values, "sparse20", 2 ** -10);
      const other = resized(frame, HEADER_BYTES + COARSE + encoded.byteLength - frame.byteLength);
      other.set(encoded, HEADER_BYTES + COARSE);
      return other;
    }

    function resized(frame: Uint8Array<ArrayBuffer>, by: number): Uint8Array<ArrayBuffer> {
      const other = new Uint8Array(frame.byteLength + by);
      other.set(frame.subarray(0, other.byteLength));
      const view = new DataView(other.buffer);
      for (const at of [44, 48]) view.setUint32(at, other.byteLength - HEADER_BYTES, true);
      return other;
    }

    for (const [name, { code, definition = packed, spoil }] of Object.entries(MALFORMED)) {
      it(name, async () => {
        const { id, client, frame } = await training(definition);
        client.sendBytes(spoil(frame));
        expect((await client.ofType("error")).code).toBe(code);
        const honest = new FakeClient(id, definition);
        await takePart(honest);
        expect(honest.error).toBe("finished");
        const { steps } = (await (await request(`/api/sessions/${id}/metrics`)).json()) as {
          steps: { samples: number }[];
        };
        expect(steps.map(({ samples }) => samples)).toEqual([24, 24, 24]);
      });
    }
  });

  it("a weight that the lease's samples cannot have", async () => {
    const { client, assign } = await working();
    const frame = firstFrame(assign);
    new DataView(frame.buffer).setBigInt64(32, 10n ** 15n, true);
    client.sendBytes(frame);
    await expectRefusal(id, client, "bad-frame");
  });

  it("a loss that no honest client's rounding gives", async () => {
    const { client, assign } = await working();
    const frame = firstFrame(assign);
    new DataView(frame.buffer).setBigInt64(24, -(2n ** 63n), true);
    client.sendBytes(frame);
    await expectRefusal(id, client, "bad-frame");
  });

  it("a wrong resume key", async () => {
    const honest = await joined(id);
    const thief = new FakeClient(id, definition);
    thief.identity = { client: honest.identity!.client, resumeKey: "f".repeat(32) };
    await thief.connect();
    thief.hello();
    expect((await thief.ofType("error")).code).toBe("wrong-resume-key");
    ready(honest);
    await workToTheEnd(honest);
  });

  it("the right resume key replaces the old socket", async () => {
    const old = await joined(id);
    const again = new FakeClient(id, definition);
    again.identity = old.identity;
    await again.connect();
    again.hello();
    const { client, version } = await again.ofType("welcome");
    expect(client).toBe(old.identity!.client);
    expect((await old.ofType("error")).code).toBe("replaced");
    again.version = version;
    ready(again);
    await workToTheEnd(again);
  });

  it("a foreign lease, a stale version and a duplicate result are answered by their receipts, and count for nothing", async () => {
    const { client, assign } = await working();
    const receiptFor = async (change: Partial<Assign>) => {
      for (const frame of fakeResult(definition, { ...assign, ...change })) client.sendBytes(frame);
      return client.ofType("receipt");
    };
    expect(await receiptFor({ lease: assign.lease + 1000 })).toMatchObject({ accepted: false, reason: "foreign" });
    expect(await receiptFor({ version: assign.version + 1 })).toMatchObject({ accepted: false, reason: "stale" });
    expect(await receiptFor({})).toMatchObject({ accepted: true, reason: "" });
    expect(await receiptFor({})).toMatchObject({ accepted: false, reason: "duplicate" });
    const next = await client.next((message) => (message.type === "assign" ? message : undefined));
    for (const frame of fakeResult(definition, next)) client.sendBytes(frame);
    await workToTheEnd(client);
    const { steps } = (await (await request(`/api/sessions/${id}/metrics`)).json()) as { steps: { samples: number }[] };
    expect(steps.map(({ samples }) => samples)).toEqual([24, 24, 24]);
  });
});
