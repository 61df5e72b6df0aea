import { beforeEach, describe, expect, it } from "vitest";
import type { EngineRequest } from "../../client/core/platform.ts";
import { addCoarse, encodeSums } from "../../shared/codec/index.ts";
import { upwardLayout } from "../../shared/protocol/frames.ts";
import { PROTOCOL_ERRORS, RATE_LIMIT_PAUSE } from "../../shared/protocol/messages.ts";
import { squaresOf } from "../../shared/session/squares.ts";
import { CLIENT, PROGRESS, RESUME_KEY, Scene, SESSION_ID, settle, until, weightsBody } from "./sdk-fake.ts";
import { GRAPH, HOSTED, hostedDataset, LOCAL, PARAMETERS, VALUES } from "./sdk-session.ts";

let scene: Scene;

beforeEach(async () => {
  scene = new Scene({ definition: HOSTED, parameters: PARAMETERS, ...(await hostedDataset()) });
});

const assignment = (changes: object = {}) =>
  ({ type: "assign", lease: 5, work: "train", step: 0, version: 1, from: 0, to: 3, ...changes }) as const;

/** Until a whole result of the lease has gone up on the present socket. */
const result = (lease: number) =>
  until(() => scene.socket.frames.some((frame) => frame.lease === lease), `a result of lease ${lease}`);

describe("a volunteer", () => {
  it("says hello, fetches the welcome's weights and is ready", async () => {
    await scene.join({ name: "lab 3" });
    expect(scene.socket.url).toBe(`ws://127.0.0.1:9/api/sessions/${SESSION_ID}/socket`);
    expect(scene.socket.protocols).toEqual(["commonweight.1"]);
    expect(scene.socket.messages[0]).toEqual({ type: "hello", engine: "wasm", device: "fake", name: "lab 3" });
    expect(scene.engine.weights).toEqual(new Float32Array(PARAMETERS).fill(1));
    expect(scene.socket.last("ready")).toEqual({ type: "ready", version: 1 });
    expect(scene.of("welcome")).toEqual([{ client: CLIENT, resumeKey: RESUME_KEY, step: 0, version: 1 }]);
    expect(scene.of("status").map(({ status }) => status)).toEqual(["joining", "connecting", "loading", "waiting"]);
  });

  it("fetches the samples of the open piece while its engine is being made", async () => {
    const { createEngine } = scene.platform;
    const made = Promise.withResolvers<void>();
    const platform = {
      ...scene.platform,
      createEngine: async (request: EngineRequest) => made.promise.then(() => createEngine(request)),
    };
    Object.assign(scene, { platform });
    scene.start();
    await until(() => scene.server.requests.filter((path) => path.startsWith("/chunks/")).length === 2, "both chunks");
    expect(scene.server.sockets).toEqual([]);
    made.resolve();
    await until(() => scene.server.sockets.length === 1, "a socket");
  });

  it("fetches nothing ahead while it is paused", async () => {
    scene.start();
    scene.volunteer.pause();
    await until(() => scene.server.sockets.length === 1, "a socket");
    expect(scene.server.requests).toEqual([""]);
  });

  it("computes an assigned range and sends sums, exponents and scalars in one body", async () => {
    await scene.join();
    scene.socket.say(assignment());
    await result(5);
    const [frame] = scene.socket.frames;
    // A batch of 10 in micro-batches of 4: the last one is short, its two padding samples have weight 0.
    expect(frame).toMatchObject({ kind: "gradient", codec: "fixed32", version: 1, step: 0, weight: 10n << 24n });
    const layout = upwardLayout("gradient", { metrics: 1, blocks: 1 });
    const body = frame!.payload;
    expect(body.byteLength).toBe(layout.sums + PARAMETERS * 4);
    expect(new DataView(body.buffer, body.byteOffset).getBigInt64(layout.metrics, true)).toBe(7n);
    expect(body[layout.maxima]).toBe(120);
    expect(body.subarray(layout.sums)).toEqual(encodeSums(new Int32Array(PARAMETERS).fill(10), "fixed32"));
    expect(scene.engine.tasks[0]).toEqual({
      work: "gradient",
      step: 0,
      microBatches: 3,
      magnitudeBits: 29, // 31 bits, less 2 for up to 4 micro-batches
      exponents: Uint8Array.of(127),
    });
    expect(scene.engine.fed[0]?.map(({ position }) => position)).toEqual([0, 4, 8]);
  });

  describe("of a session that wants few sums", () => {
    const definition = { ...HOSTED, codec: "sparse20" } as const;
    const join = async (): Promise<void> => {
      scene = new Scene({ definition, parameters: PARAMETERS, ...(await hostedDataset()) });
      await scene.join();
    };
    /**
     * The sums of a result on the present socket, on the announced grid. The engine's are all equal, and one of the four may go: in
     * units of twice its size.
     */
    const sums = (lease: number): number[] => {
      const { sums: start } = upwardLayout("gradient", { metrics: 1, blocks: 1, squares: squaresOf(definition) });
      const values = new Int32Array(PARAMETERS);
      const body = scene.socket.frames.find((frame) => frame.lease === lease)!.payload.slice(start);
      // 31 bits, less 2 for up to 4 micro-batches and 8 for what is owed; values of less than 2.
      expect(addCoarse(body, values, () => 2 ** 20, 2 ** 31)).toBe(true);
      return [...values];
    };
    const compute = async (lease: number): Promise<number[]> => {
      scene.socket.say(assignment({ lease }));
      await result(lease);
      return sums(lease);
    };
    const receipt = (lease: number, accepted: boolean): void =>
      scene.socket.say({ type: "receipt", lease, accepted, reason: accepted ? "" : "stale", samples: 10 });

    const reconnect = async (): Promise<void> => {
      const { length } = scene.server.sockets;
      scene.socket.drop();
      scene.volunteer.wake();
      await until(() => scene.server.sockets.length > length, "another socket");
      scene.socket.open();
      scene.welcome(1);
      await until(() => scene.socket.last("ready") !== undefined, "ready");
    };

    it("sends what it left out with later results, once each is accepted", async () => {
      await join();
      expect(await compute(5)).toEqual([20, 0, 0, 0]);
      receipt(5, true);
      // By now the others owe as much as the first was given too much.
      expect(await compute(6)).toEqual([0, 40, 0, 0]);
    });

    it("owes what it owed before where a result was dropped", async () => {
      await join();
      expect(await compute(5)).toEqual([20, 0, 0, 0]);
      receipt(5, false);
      expect(await compute(6)).toEqual([20, 0, 0, 0]);
    });

    it("keeps what it owes over a reconnect, unless a result was under way", async () => {
      await join();
      await compute(5);
      receipt(5, true);
      await reconnect();
      expect(await compute(6)).toEqual([0, 40, 0, 0]);
      await reconnect();
      expect(await compute(7)).toEqual([20, 0, 0, 0]);
    });
  });

  it("calibrates and evaluates with frames of their own", async () => {
    await scene.join();
    scene.socket.say(assignment({ work: "calibrate", to: 1 }));
    await result(5);
    scene.socket.say(assignment({ lease: 6, work: "validate", to: 2 }));
    await result(6);
    expect(scene.socket.frames.map(({ kind, codec, total }) => [kind, codec, total])).toEqual([
      ["calibration", "none", 32],
      ["evaluation", "none", 16],
    ]);
    expect(scene.engine.tasks.map(({ work, magnitudeBits }) => [work, magnitudeBits])).toEqual([
      ["calibrate", 0],
      ["evaluate", 0],
    ]);
    // The validation split is read in order: samples 12 to 16, features 2i·0.5 + 1.
    const firstFeatures = scene.engine.fed[1]!.map(({ inputs }) => [...inputs.x!].filter((_, i) => i % 2 === 0));
    expect(firstFeatures).toEqual([
      [13, 14, 15, 16],
      [17, 17, 17, 17],
    ]);
  });

  it("counts what its receipts say", async () => {
    await scene.join();
    scene.socket.say(assignment());
    await result(5);
    scene.socket.say({ type: "receipt", lease: 5, accepted: true, reason: "", samples: 10 });
    scene.socket.say({ type: "receipt", lease: 4, accepted: false, reason: "duplicate", samples: 0 });
    expect(scene.of("receipt").at(-1)?.contributed).toEqual({ samples: 10, acceptedShards: 1, droppedShards: 1 });
  });

  it("takes new weights from frames and acknowledges them once they are set", async () => {
    await scene.join();
    scene.sendWeights(2);
    await until(() => scene.socket.last("ready")?.version === 2);
    expect(scene.engine.weights).toEqual(new Float32Array(PARAMETERS).fill(2));
  });

  it("keeps a lease at weights that are under way, and computes it once they are set", async () => {
    await scene.join();
    scene.socket.say(assignment({ lease: 6, version: 2, step: 1, to: 1 }));
    await settle();
    expect(scene.engine.tasks).toEqual([]);
    expect(scene.socket.last("failed")).toBeUndefined();
    scene.sendWeights(2);
    await result(6);
    expect(scene.engine.weights).toEqual(new Float32Array(PARAMETERS).fill(2));
    expect(scene.socket.frames.at(-1)).toMatchObject({ lease: 6, version: 2, step: 1 });
    expect(scene.socket.last("ready")).toEqual({ type: "ready", version: 2 });
  });

  it("gives up a lease when newer weights arrive in the middle of it", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.sendWeights(2);
    scene.engine.release();
    await until(() => scene.socket.last("ready")?.version === 2);
    expect(scene.engine.fed[0]).toHaveLength(1);
    expect(scene.socket.frames).toEqual([]);
  });

  it("stops computing a revoked lease and goes on with the next", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.socket.say({ type: "revoke", lease: 5 });
    scene.socket.say(assignment({ lease: 6, from: 1, to: 2 }));
    scene.engine.release();
    await result(6);
    expect(scene.socket.frames.map(({ lease }) => lease)).toEqual([6]);
  });

  it("hands its lease back at once when paused, and asks for nothing until resumed", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.volunteer.pause();
    expect(scene.socket.last("capacity")).toEqual({ type: "capacity", microBatches: 0 });
    scene.engine.release();
    scene.sendWeights(2);
    await settle();
    expect(scene.socket.frames).toEqual([]);
    expect(scene.socket.last("ready")).toEqual({ type: "ready", version: 1 });
    expect(scene.of("status").at(-1)?.status).toBe("paused");

    scene.volunteer.resume();
    expect(scene.socket.last("capacity")?.microBatches).toBeGreaterThan(0);
    await until(() => scene.socket.last("ready")?.version === 2);
    scene.socket.say(assignment({ lease: 6, version: 2, step: 1, to: 1 }));
    await result(6);
  });

  it("predicts at the latest weights between two leases", async () => {
    await scene.join();
    expect(await scene.volunteer.predict({ x: [10, 0, 20, 0] })).toEqual(Float32Array.of(11, 21));
    await expect(scene.volunteer.predict({ x: [1, 2, 3] })).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("leaves: says so, closes the socket and disposes of the engine", async () => {
    await scene.join();
    scene.volunteer.leave();
    const summary = await scene.volunteer.finished;
    expect(summary).toMatchObject({ outcome: "left", client: CLIENT, engine: { kind: "wasm", device: "fake" } });
    expect(scene.socket.last("leave")).toEqual({ type: "leave" });
    expect(scene.socket.closedWith).toBe(1000);
    expect(scene.engine.disposed).toBe(true);
    await expect(scene.volunteer.predict({ x: [1, 2] })).rejects.toMatchObject({ code: "left" });
  });

  it("ends when the session does", async () => {
    await scene.join();
    scene.socket.say({ ...PROGRESS, stage: "done", status: "finished", step: 10 });
    expect(await scene.volunteer.finished).toMatchObject({ outcome: "finished", step: 10, totalSteps: 10 });
    expect(scene.engine.disposed).toBe(true);
  });
});

describe("a volunteer that loses its connection", () => {
  it("says nothing of progress that is older than what it said: an answer over HTTP may be late", async () => {
    await scene.join();
    scene.socket.say({ ...PROGRESS, step: 4, version: 5 });
    scene.socket.say({ ...PROGRESS, step: 3, version: 4 });
    scene.socket.say({ ...PROGRESS, step: 4, version: 5, status: "paused" });
    await until(() => scene.of("progress").at(-1)?.status === "paused");
    expect(scene.of("progress").map(({ step }) => step)).toEqual([0, 4, 4]);
  });

  it("stays away for ten seconds once it was told that it sent too much", async () => {
    await scene.join();
    scene.socket.say({ type: "error", code: "rate-limited", message: "come back in 10 seconds" });
    scene.socket.drop(PROTOCOL_ERRORS["rate-limited"].close);
    await scene.clock.advance(RATE_LIMIT_PAUSE - 1);
    expect(scene.server.sockets.length).toBe(1);
    await scene.clock.advance(251);
    expect(scene.server.sockets.length).toBe(2);
  });

  it("asks again when the coordinator says, where it is asked too often", async () => {
    let refusals = 0;
    const asked: number[] = [];
    scene.server.routes.set("/weights/1", () => {
      asked.push(scene.clock.now);
      const body = { error: { code: "rate-limited", message: "later" } };
      return refusals++ === 0
        ? Response.json(body, { status: 429, headers: { "Retry-After": "7" } })
        : new Response(weightsBody(scene.parameters, 1));
    });
    scene.start();
    await until(() => scene.server.sockets.length === 1, "a socket");
    scene.socket.open();
    scene.welcome(1);
    await until(() => asked.length === 1, "the first question");
    await scene.clock.advance(8_000);
    await until(() => asked.length === 2, "the second question");
    expect((asked[1] ?? 0) - (asked[0] ?? 0)).toBeGreaterThanOrEqual(7_000);
  });

  it("comes back with its identity after a jittered delay, and is ready without fetching again", async () => {
    await scene.join();
    scene.socket.drop();
    expect(scene.of("status").at(-1)).toEqual({
      status: "connecting",
      reason: "the connection was lost",
      cause: null,
    });
    await scene.clock.advance(249);
    expect(scene.server.sockets).toHaveLength(1);
    await scene.clock.advance(1); // half of 500 ms: the fake's random numbers are all 0.5
    expect(scene.server.sockets).toHaveLength(2);
    scene.socket.open();
    expect(scene.socket.messages[0]).toMatchObject({ type: "hello", client: CLIENT, resumeKey: RESUME_KEY });
    scene.welcome(1);
    await until(() => scene.socket.last("ready")?.version === 1);
    expect(scene.server.requests.filter((path) => path.startsWith("/weights"))).toEqual(["/weights/1"]);
    expect(scene.engine.weightsSet).toBe(1);
  });

  it("waits longer after each failure, up to the limit", async () => {
    await scene.join();
    const openedAt: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      const sockets = scene.server.sockets.length;
      const lostAt = scene.clock.now;
      scene.socket.drop();
      while (scene.server.sockets.length === sockets) await scene.clock.advance(50);
      openedAt.push(scene.clock.now - lostAt);
    }
    expect(openedAt).toEqual([250, 500, 1000, 2000, 4000, 8000, 15000, 15000]);
  });

  it("sends the result of the lease in flight again if the version is still the same", async () => {
    await scene.join();
    scene.socket.say(assignment());
    await result(5);
    scene.socket.drop();
    await scene.clock.advance(250);
    scene.socket.open();
    scene.welcome(1);
    await result(5);
    scene.socket.say({ type: "receipt", lease: 5, accepted: true, reason: "", samples: 10 });
    expect(scene.of("receipt").at(-1)?.contributed.samples).toBe(10);
    expect(scene.engine.tasks).toHaveLength(1);
  });

  it("goes on with the lease that it was computing when the same work is assigned again", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.socket.drop();
    await scene.clock.advance(250);
    scene.socket.open();
    scene.welcome(1);
    await until(() => scene.socket.last("ready") !== undefined);
    scene.socket.say(assignment({ lease: 9 }));
    scene.engine.release();
    await result(9);
    expect(scene.engine.tasks).toHaveLength(1);
  });

  it("drops the lease in flight when other work is assigned", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.socket.drop();
    await scene.clock.advance(250);
    scene.socket.open();
    scene.welcome(1);
    await until(() => scene.socket.last("ready") !== undefined);
    scene.socket.say(assignment({ lease: 9, from: 1, to: 2 }));
    scene.engine.release();
    await result(9);
    expect(scene.socket.frames.map(({ lease }) => lease)).toEqual([9]);
  });

  it("drops the lease in flight when the version has risen", async () => {
    await scene.join();
    scene.server.routes.set("/weights/2", () => new Response(weightsBody(PARAMETERS, 2)));
    scene.socket.say(assignment());
    await result(5);
    scene.socket.drop();
    await scene.clock.advance(250);
    scene.socket.open();
    scene.welcome(2);
    await until(() => scene.socket.last("ready")?.version === 2);
    await settle();
    expect(scene.socket.frames).toEqual([]);
  });

  it("takes the latest weights where the welcome's version is gone already", async () => {
    scene.server.routes.set("/weights/1", () => Response.json({}, { status: 404 }));
    scene.server.routes.set(
      "/weights/latest",
      () =>
        new Response(weightsBody(PARAMETERS, 3), {
          headers: { "X-Commonweight-Version": "3", "X-Commonweight-Step": "2" },
        }),
    );
    scene.start();
    await until(() => scene.server.sockets.length === 1);
    scene.socket.open();
    scene.welcome(1);
    await until(() => scene.socket.last("ready")?.version === 3);
    expect(scene.of("weights")).toEqual([{ version: 3, step: 2 }]);
  });

  it("reports a version that falls, keeps its own weights, and connects anew", async () => {
    await scene.join();
    scene.sendWeights(3);
    await until(() => scene.socket.last("ready")?.version === 3);
    scene.sendWeights(2);
    expect(scene.of("error")).toEqual([
      { code: "version-fell", message: "version 2 of the weights came after 3", fatal: false },
    ]);
    expect(scene.socket.closedWith).toBe(4400);
    await scene.clock.advance(500);
    expect(scene.server.sockets).toHaveLength(2);
    expect(scene.engine.weights![0]).toBe(3);
  });

  it.each([
    ["text", () => "hello", /text/],
    ["garbage", () => Uint8Array.of(0x81).buffer, /not msgpack/],
    ["a truncated frame", () => Uint8Array.of(0x43, 0x57, 0x54, 0x31, 1, 0).buffer, /64/],
    ["an unknown message", () => Uint8Array.of(0x81, 0xa4, 0x74, 0x79, 0x70, 0x65, 0xa1, 0x78).buffer, /type/],
  ])("survives %s from the coordinator", async (_name, message, expected) => {
    await scene.join();
    scene.socket.deliver(message());
    expect(scene.of("error").at(-1)).toMatchObject({ code: "protocol", fatal: false });
    expect(scene.of("error").at(-1)?.message).toMatch(expected);
    await scene.clock.advance(500);
    expect(scene.server.sockets).toHaveLength(2);
  });

  it("refuses weights of a size that is not the session's", async () => {
    await scene.join();
    const other = new Scene({ definition: HOSTED, parameters: 400, ...(await hostedDataset()) });
    Object.defineProperty(other, "socket", { value: scene.socket });
    other.sendWeights(2);
    expect(scene.of("error").at(-1)?.message).toBe("weights of 1616 bytes announced, expected 32");
  });

  it("refuses a range that the step does not have", async () => {
    await scene.join();
    scene.socket.say(assignment({ from: 0, to: 4 }));
    expect(scene.of("error").at(-1)?.message).toMatch(/no such range/);
  });

  it("gives up a socket that takes a result and never answers", async () => {
    await scene.join();
    scene.socket.say(assignment());
    await result(5);
    await scene.clock.advance(60_000);
    expect(scene.of("error").at(-1)?.message).toMatch(/no answer to a result for 60 s/);
    await scene.clock.advance(500);
    expect(scene.server.sockets).toHaveLength(2);
  });

  it.each([
    [4409, "replaced"],
    [4403, "wrong-resume-key"],
    [4410, "unknown-session"],
    [4426, "protocol-version"],
  ] as const)("gives up after close code %i: %s", async (close, code) => {
    await scene.join();
    scene.socket.drop(close);
    await expect(scene.volunteer.finished).rejects.toMatchObject({ name: "TrainingError", code });
    expect(scene.of("error").at(-1)).toMatchObject({ code, fatal: true });
    await scene.clock.advance(60_000);
    expect(scene.server.sockets).toHaveLength(1);
  });

  it("says what the coordinator said before it closed", async () => {
    await scene.join();
    scene.socket.say({ type: "error", code: "wrong-resume-key", message: "that is not your key" });
    scene.socket.drop(1006);
    await expect(scene.volunteer.finished).rejects.toThrow("that is not your key");
  });

  it("finds out that its session was deleted while the socket does not open", async () => {
    await scene.join();
    scene.server.routes.delete("");
    scene.socket.drop();
    await scene.clock.advance(250);
    scene.socket.drop();
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "unknown-session" });
  });

  it("ends well when the session finished while it was away", async () => {
    await scene.join();
    const progress = { ...PROGRESS, stage: "done", status: "finished", step: 10 };
    scene.server.routes.set("", () => Response.json({ definition: HOSTED, manifest: null, progress }));
    scene.socket.drop(4200);
    expect(await scene.volunteer.finished).toMatchObject({ outcome: "finished", step: 10 });
  });

  it("does not accept a server that chooses another subprotocol", async () => {
    scene.start();
    await until(() => scene.server.sockets.length === 1);
    scene.socket.open("commonweight.2");
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "protocol-version" });
  });

  it("tries again at once when woken", async () => {
    await scene.join();
    scene.socket.drop();
    await settle();
    scene.volunteer.wake();
    expect(scene.server.sockets).toHaveLength(2);
  });
});

describe("a volunteer that cannot join", () => {
  it("rejects an unknown session", async () => {
    scene.server.routes.delete("");
    scene.start();
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "unknown-session" });
    expect(scene.server.sockets).toEqual([]);
  });

  it("gives up after a few attempts at a server that is not there", async () => {
    scene.server.unreachable = true;
    scene.start();
    await scene.clock.advance(120_000);
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "network" });
    expect(scene.server.requests).toHaveLength(6);
  });

  it("refuses a session over its budget before anything is compiled", async () => {
    scene.start({ budget: { parameters: 1 } });
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "refused-session" });
    await expect(scene.volunteer.finished).rejects.toThrow(/parameters/);
    expect(scene.engines).toEqual([]);
  });

  it.each([
    ["an unknown op", { nodes: [{ op: "System", inputs: [0], attributes: {} }] }],
    ["a value that does not exist yet", { nodes: [{ op: "Exp", inputs: [99], attributes: {} }] }],
    ["a non-finite constant", { nodes: [{ op: "Constant", inputs: [], attributes: { value: "INFINITE" } }] }],
  ])("refuses a graph with %s", async (_name, change) => {
    const definition = { ...HOSTED, graph: { ...GRAPH, ...change } };
    const { manifest } = await hostedDataset();
    // Infinity cannot be written down in JSON, but a number can be too large.
    const text = JSON.stringify({ definition, manifest, progress: PROGRESS }).replace('"INFINITE"', "1e400");
    scene.server.routes.set("", () => new Response(text));
    scene.start();
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "refused-session" });
    expect(scene.engines).toEqual([]);
  });

  it("refuses a data set that does not hold what the session asks for", async () => {
    const { manifest } = await hostedDataset();
    const short = { ...manifest, samples: 19, chunks: manifest.chunks };
    scene.server.routes.set("", () => Response.json({ definition: HOSTED, manifest: short, progress: PROGRESS }));
    scene.start();
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "refused-session" });
  });

  it("has nothing to do in a session that is over", async () => {
    const progress = { ...PROGRESS, stage: "done", status: "stopped" };
    const { manifest } = await hostedDataset();
    scene.server.routes.set("", () => Response.json({ definition: HOSTED, manifest, progress }));
    scene.start();
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "finished" });
  });
});

describe("a volunteer whose engine or data fail", () => {
  it("hands a lease back when its data cannot be had, and goes on", async () => {
    scene.server.routes.set("/chunks/*", () => new Response(null, { status: 404 }));
    await scene.join();
    scene.socket.say(assignment());
    await until(() => scene.socket.last("failed") !== undefined);
    expect(scene.socket.last("failed")).toMatchObject({ lease: 5, code: "data" });
    expect(scene.of("error").at(-1)).toMatchObject({ code: "data", fatal: false });
  });

  it("builds an engine that keeps failing anew, with the same weights", async () => {
    await scene.join();
    const first = scene.engine;
    first.failWith = new Error("out of order");
    for (const lease of [5, 6, 7]) {
      scene.socket.say(assignment({ lease }));
      await until(() => scene.socket.last("failed")?.lease === lease);
    }
    await until(() => scene.engines.length === 2 && scene.engine.weights !== null);
    expect(first.disposed).toBe(true);
    expect(scene.engine.weights).toEqual(new Float32Array(PARAMETERS).fill(1));
    scene.socket.say(assignment({ lease: 8 }));
    await result(8);
  });
});

describe("a volunteer with data of its own", () => {
  beforeEach(() => {
    scene = new Scene({ definition: LOCAL, parameters: PARAMETERS, manifest: null, chunks: new Map() });
  });

  it("says how many samples it has and trains on all of them before any comes again", async () => {
    await scene.join({ data: { features: VALUES.features, answer: VALUES.answer } });
    expect(scene.socket.messages[0]).toMatchObject({ type: "hello", localSamples: 20 });
    scene.socket.say(assignment({ to: 3 })); // 10 samples
    await result(5);
    scene.socket.say(assignment({ lease: 6, to: 3 })); // 10 more
    await result(6);
    const seen = scene.engine.fed.flat().flatMap(({ inputs }) => {
      const real = inputs.weight!.filter((weight) => weight === 1).length;
      return [...inputs.y!.slice(0, real)];
    });
    expect(seen).not.toEqual(VALUES.answer);
    expect(seen.sort((a, b) => a - b)).toEqual(VALUES.answer);
  });

  it("sends no sample bytes and asks for no chunk", async () => {
    // Values that would be found in the traffic if they were there: distinct floats and a run of features.
    const features = Uint8Array.from({ length: 40 }, (_, i) => 201 + (i % 50));
    await scene.join({ data: { features, answer: Float32Array.from(VALUES.answer) } });
    scene.socket.say(assignment());
    await result(5);
    const sent = scene.socket.bytes.map((bytes) => Buffer.from(bytes));
    const needles = [
      Buffer.from(features.buffer, 0, 4),
      ...VALUES.answer.map((value) => Buffer.from(Float32Array.of(value).buffer)),
    ];
    for (const needle of needles) expect(sent.some((bytes) => bytes.includes(needle))).toBe(false);
    expect(scene.server.requests).toEqual(["", "/weights/1"]);
  });

  it.each([
    ["no data", undefined, /pass \{ data \} with features \[samples, 2\], answer \[samples, 1\]/],
    ["a missing column", { features: [1, 2] }, /need the column answer/],
    ["half a sample", { features: [1, 2, 3], answer: [1] }, /3 values, not a multiple of 2/],
    ["columns of different lengths", { features: [1, 2, 3, 4], answer: [1] }, /1 samples, the others have 2/],
  ])("says what is wrong with %s", async (_name, data, expected) => {
    scene.start({ data });
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(scene.volunteer.finished).rejects.toThrow(expected);
  });
});
