import { createHash } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { Ear, openHandle, type TrainingHandle } from "../../client/core/handle.ts";
import { readOptions } from "../../client/core/options.ts";
import { canonicalJson } from "../../shared/session/canonical.ts";
import { PROGRESS, Scene, SESSION_ID, settle, until } from "./sdk-fake.ts";
import { GRAPH, HOSTED, hostedDataset, LOCAL, PARAMETERS, VALUES } from "./sdk-session.ts";

let scene: Scene;

beforeEach(async () => {
  scene = new Scene({ definition: HOSTED, parameters: PARAMETERS, ...(await hostedDataset()) });
});

const assignment = (changes: object = {}) =>
  ({ type: "assign", lease: 5, work: "train", step: 0, version: 1, from: 0, to: 3, ...changes }) as const;

const result = (lease: number) =>
  until(() => scene.socket.frames.some((frame) => frame.lease === lease), `a result of lease ${lease}`);

/** From now on a micro-batch takes so long. */
function takeTime(milliseconds: number): void {
  const { engine, clock } = scene;
  const accumulate = engine.accumulate.bind(engine);
  engine.accumulate = async (microBatch) => {
    await accumulate(microBatch);
    await clock.advance(milliseconds);
  };
}

const METERED = { hidden: false, battery: null, metered: true } as const;
const HARMLESS = { hidden: false, battery: null, metered: false } as const;
const GRAPH_HASH = createHash("sha256").update(canonicalJson(GRAPH)).digest("hex");

describe("a guest", () => {
  it("rests between micro-batches, so that its share of the time is what was wanted", async () => {
    await scene.join({ share: 0.25 });
    takeTime(100);
    scene.socket.say(assignment());
    for (let waited = 0; waited < 2_000 && scene.socket.frames.length === 0; waited += 50)
      await scene.clock.advance(50);
    await result(5);
    expect(scene.clock.now).toBeGreaterThanOrEqual(800); // three times 100 and two rests of 300, less 100 of credit
    expect(scene.volunteer.usage.computeSeconds).toBeCloseTo(0.3);
    expect(scene.volunteer.usage.share).toBe(0.25);
  });

  it("computes without a timer at a share of 1", async () => {
    await scene.join();
    const before = scene.clock.now;
    scene.socket.say(assignment());
    await result(5);
    expect(scene.clock.now).toBe(before);
  });

  it("asks for less when its share becomes small, and for as much as there is when it rises", async () => {
    await scene.join();
    takeTime(100);
    scene.socket.say(assignment());
    await result(5);
    scene.volunteer.setShare(0.5);
    expect(scene.socket.last("capacity")).toEqual({ type: "capacity", microBatches: 10 });
    scene.volunteer.setShare(0.45);
    expect(scene.socket.messages.filter(({ type }) => type === "capacity")).toHaveLength(1); // nearly the same
    scene.volunteer.setShare(1);
    expect(scene.socket.last("capacity")?.microBatches).toBeGreaterThan(1_000);
  });

  it("ends a rest at once when its share rises", async () => {
    await scene.join({ share: 0.1 });
    takeTime(100);
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    await scene.clock.advance(150);
    expect(scene.engine.fed[0]).toHaveLength(1);
    scene.volunteer.setShare(1);
    await result(5);
  });

  it("pauses for a circumstance, says which, and goes on when it is over or was overruled", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.volunteer.sense(METERED);
    expect(scene.socket.last("capacity")?.microBatches).toBe(0);
    expect(scene.of("status").at(-1)).toEqual({ status: "paused", reason: "", cause: "metered" });
    scene.engine.release();
    await settle();
    expect(scene.socket.frames).toEqual([]);

    scene.volunteer.setPolicies({ metered: "continue" });
    expect(scene.socket.last("capacity")?.microBatches).toBeGreaterThan(0);
    expect(scene.of("status").at(-1)).toEqual({ status: "waiting", reason: "", cause: null });
    expect(scene.volunteer.usage.circumstances).toEqual(["metered"]);
    scene.volunteer.setPolicies({ metered: "pause" });
    scene.volunteer.sense(HARMLESS);
    scene.socket.say(assignment({ lease: 6 }));
    await result(6);
  });

  it("is paused by its volunteer before any circumstance, and resumes into what still holds", async () => {
    await scene.join();
    scene.volunteer.sense(METERED);
    scene.volunteer.pause();
    expect(scene.of("status").at(-1)).toMatchObject({ status: "paused", cause: "volunteer" });
    scene.volunteer.resume();
    expect(scene.of("status").at(-1)).toMatchObject({ status: "paused", cause: "metered" });
  });

  it("says that the session is paused, and why", async () => {
    await scene.join();
    scene.socket.say({ ...PROGRESS, status: "paused", reason: "lunch" });
    expect(scene.of("status").at(-1)).toEqual({ status: "paused", reason: "lunch", cause: "session" });
    scene.socket.say(PROGRESS);
    expect(scene.of("status").at(-1)).toEqual({ status: "waiting", reason: "", cause: null });
  });

  it("accounts for its usage once a second, time and bytes", async () => {
    await scene.join();
    const before = scene.of("usage").length;
    takeTime(500);
    scene.socket.say(assignment());
    await result(5);
    await scene.clock.advance(2_500);
    expect(scene.of("usage").length - before).toBe(4);
    const usage = scene.of("usage").at(-1)!;
    expect(usage).toMatchObject({ computeSeconds: 1.5, activeSeconds: 4, share: 1, circumstances: [] });
    expect(usage.dutyCycle).toBeCloseTo(1.5 / 4);
    const sent = scene.socket.bytes.reduce((sum, bytes) => sum + bytes.byteLength, 0);
    expect(usage.bytesUp).toBe(sent);
    // The session, three chunks, the weights, and a few messages.
    const { definition, manifest } = { definition: HOSTED, manifest: (await hostedDataset()).manifest };
    const session = JSON.stringify({ id: SESSION_ID, definition, manifest, progress: PROGRESS }).length;
    expect(usage.bytesDown).toBeGreaterThan(session);
    expect(usage.bytesDown).toBeLessThan(session + 1_000);
    scene.volunteer.pause();
    await scene.clock.advance(10_000);
    expect(scene.volunteer.usage.activeSeconds).toBe(4);
  });

  it("shakes hands anew after the machine slept, keeps its identity, and does not count the time as work", async () => {
    await scene.join();
    scene.engine.hold();
    scene.socket.say(assignment());
    await until(() => scene.engine.fed[0]?.length === 1);
    scene.clock.now += 20_000;
    await scene.clock.advance(500);
    expect(scene.server.sockets).toHaveLength(2);
    scene.socket.open();
    expect(scene.socket.messages[0]).toMatchObject({ type: "hello", client: "c".repeat(32) });
    scene.welcome(1);
    await until(() => scene.socket.last("ready") !== undefined);
    scene.socket.say(assignment({ lease: 9 }));
    scene.engine.release();
    await result(9); // what it was computing was given to it again
    expect(scene.engine.tasks).toHaveLength(1);
    expect(scene.volunteer.usage.computeSeconds).toBeLessThan(1);
  });

  it("takes no long micro-batch for a sleep", async () => {
    await scene.join();
    const { engine, clock } = scene;
    const accumulate = engine.accumulate.bind(engine);
    engine.accumulate = async (microBatch) => {
      await accumulate(microBatch);
      clock.now += 2_900; // in this very thread: no timer rings meanwhile
    };
    scene.socket.say(assignment());
    await result(5);
    await clock.advance(1_000);
    expect(scene.server.sockets).toHaveLength(1);
  });

  it("makes a new socket when the network came back, though the old one looks alive", async () => {
    await scene.join();
    scene.volunteer.reconnect();
    await scene.clock.advance(0);
    expect(scene.server.sockets).toHaveLength(2);
    scene.volunteer.reconnect(); // the new one is being opened already
    await scene.clock.advance(0);
    expect(scene.server.sockets).toHaveLength(2);
  });

  it("notices a network that went away without a word, and leaves a quiet one alone", async () => {
    await scene.join();
    await scene.clock.advance(120_000);
    expect(scene.server.sockets).toHaveLength(1);
    scene.socket.isDead = true;
    await scene.clock.advance(21_000);
    expect(scene.server.sockets).toHaveLength(2);
  });

  it("is forgotten once the coordinator says so, also when it first has to reconnect", async () => {
    await scene.join();
    scene.socket.drop();
    const forgotten = scene.volunteer.forget();
    await scene.clock.advance(250);
    scene.socket.open();
    scene.welcome(1);
    await settle();
    expect(scene.socket.last("forget")).toEqual({ type: "forget" });
    expect(scene.of("status").at(-1)?.status).not.toBe("left");
    scene.socket.say({ type: "forgotten" });
    await forgotten;
    expect(await scene.volunteer.finished).toMatchObject({ outcome: "left" });
    await expect(scene.volunteer.forget()).rejects.toMatchObject({ code: "left" });
  });

  it("cannot be forgotten by a session that is over, and says so", async () => {
    await scene.join();
    const forgotten = scene.volunteer.forget();
    scene.socket.say({ ...PROGRESS, stage: "done", status: "finished" });
    await expect(forgotten).rejects.toMatchObject({ code: "finished" });
  });
});

describe("a guest's demands", () => {
  it("are met by the graph that was pinned, whose hash the session tells", async () => {
    await scene.join({ graphHash: GRAPH_HASH });
    expect(scene.of("session")[0]).toMatchObject({ graphHash: GRAPH_HASH });
  });

  it("refuse another graph before it is compiled", async () => {
    scene.start({ graphHash: "0".repeat(64) });
    await expect(scene.volunteer.finished).rejects.toMatchObject({ code: "refused-session" });
    expect(scene.engines).toEqual([]);
  });

  it("leave shards of too few own samples unanswered", async () => {
    scene = new Scene({ definition: LOCAL, parameters: PARAMETERS, manifest: null, chunks: new Map() });
    await scene.join({ data: { features: VALUES.features, answer: VALUES.answer }, minimumSamples: 4 });
    scene.socket.say(assignment({ from: 2 })); // the step's last micro-batch: 2 samples
    await until(() => scene.socket.last("failed") !== undefined);
    expect(scene.socket.last("failed")).toMatchObject({ lease: 5, code: "minimum" });
    scene.socket.say(assignment({ lease: 6, from: 1 }));
    await result(6);
    expect(scene.engine.tasks).toHaveLength(1);
  });

  it("refuse a session whose every shard may be too small", async () => {
    scene = new Scene({ definition: LOCAL, parameters: PARAMETERS, manifest: null, chunks: new Map() });
    scene.start({ data: { features: VALUES.features, answer: VALUES.answer }, minimumSamples: 5 });
    await expect(scene.volunteer.finished).rejects.toThrow(
      /one micro-batch of 4 samples, this client answers none below 5/,
    );
  });

  it.each([
    [{ share: 0 }, /share/],
    [{ share: 1.5 }, /share/],
    [{ graphHash: "abc" }, /graphHash/],
    [{ minimumSamples: 2.5 }, /minimumSamples/],
  ])("are refused where they make no sense: %j", (options, expected) => {
    expect(() => readOptions(options)).toThrow(expected);
  });
});

describe("a guest's handle", () => {
  /** Over the scene's volunteer, as `commonweight/node` makes it. */
  async function open(options: { signal?: AbortSignal; share?: number } = {}): Promise<TrainingHandle> {
    const ear = new Ear(undefined);
    const said = scene.events.push.bind(scene.events);
    scene.events.push = (event) => {
      ear.hear(event);
      return said(event);
    };
    scene.start({ share: options.share });
    const { volunteer } = scene;
    const handle = openHandle(
      {
        finished: volunteer.finished,
        pause: () => volunteer.pause(),
        resume: () => volunteer.resume(),
        leave: () => volunteer.leave(),
        setShare: (share) => volunteer.setShare(share),
        setPolicies: (policies) => volunteer.setPolicies(policies),
        forget: () => volunteer.forget(),
        predict: (inputs) => volunteer.predict(inputs),
        metrics: (after) => volunteer.metrics(after),
      },
      ear,
      options,
    );
    await until(() => scene.server.sockets.length === 1);
    scene.socket.open();
    scene.welcome(1);
    return handle;
  }

  it("tells its share and usage, and changes them", async () => {
    const handle = await open({ share: 0.5 });
    expect(handle.share).toBe(0.5);
    expect(handle.usage).toMatchObject({ share: 0.5, computeSeconds: 0 });
    handle.setShare(0.75);
    expect(() => handle.setShare(2)).toThrow(RangeError);
    expect(handle.share).toBe(0.75);
    await scene.clock.advance(1_000);
    expect(handle.usage).toMatchObject({ share: 0.75, activeSeconds: 1 });
  });

  it.each([
    ["predict", (handle: TrainingHandle, signal: AbortSignal) => handle.predict({ x: [1, 2] }, { signal })],
    ["forget", (handle: TrainingHandle, signal: AbortSignal) => handle.forget({ signal })],
    ["steps", (handle: TrainingHandle, signal: AbortSignal) => handle.steps({ signal }).next()],
    ["epochs", (handle: TrainingHandle, signal: AbortSignal) => handle.epochs({ signal }).next()],
  ] as const)("gives up waiting in %s when its signal aborts, with the signal's reason", async (_name, wait) => {
    scene.server.routes.set("/metrics", () => Response.json({ steps: [], evaluations: [] }));
    scene.server.routes.set("/weights/1", () => new Promise(() => {}));
    const handle = await open();
    const abort = new AbortController();
    const waiting = wait(handle, abort.signal);
    await settle();
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(handle.status).not.toBe("left");
    await expect(wait(handle, AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  it("leaves when the signal that it was joined with aborts", async () => {
    const abort = new AbortController();
    const handle = await open({ signal: abort.signal });
    abort.abort();
    expect(await handle.finished).toMatchObject({ outcome: "left" });
  });
});
