import { beforeEach, describe, expect, it } from "vitest";
import { PROGRESS, Scene, settle, until } from "./sdk-fake.ts";
import { HOSTED, hostedDataset, PARAMETERS } from "./sdk-session.ts";

let scene: Scene;

beforeEach(async () => {
  scene = new Scene({ definition: HOSTED, parameters: PARAMETERS, ...(await hostedDataset()) });
});

const assignment = (changes: object = {}) =>
  ({ type: "assign", lease: 5, work: "train", step: 0, version: 1, from: 0, to: 3, ...changes }) as const;

/** From now on a micro-batch takes so long; `here` if it keeps this very thread, where no timer rings meanwhile. */
function takeTime(milliseconds: number, here = false): void {
  const { engine, clock } = scene;
  const accumulate = engine.accumulate.bind(engine);
  engine.accumulate = async (microBatch) => {
    await accumulate(microBatch);
    if (here) clock.now += milliseconds;
    else await clock.advance(milliseconds);
  };
}

/** Computed micro-batches times what each took, whatever the client's own books say. */
const computed = (each: number): number => scene.engine.fed.flat().length * each;

describe("a volunteer whose coordinator does not keep to its share", () => {
  const SHARE = 0.05;
  const MINUTES = 4;

  /** Gives whatever is not refused, over and over, and with `drops` takes a new socket for each lease. */
  async function press(drops: boolean): Promise<void> {
    let lease = 10;
    for (const end = scene.clock.now + MINUTES * 60_000; scene.clock.now < end; ) {
      const { socket } = scene;
      if (socket.readyState === 0) socket.open();
      if (socket.last("hello") !== undefined && socket.last("ready") === undefined) scene.welcome(1);
      await settle();
      if (socket.last("ready") !== undefined) socket.say(assignment({ lease: lease++ }));
      await scene.clock.advance(1_000);
      if (drops && socket.frames.length > 0) socket.drop();
    }
  }

  it.each([
    ["leases without end", false],
    ["a new socket after each result", true],
  ])("keeps to it all the same: %s", async (_, drops) => {
    const each = 1_000;
    await scene.join({ share: SHARE });
    takeTime(each);
    await press(drops);
    // What may be owed at a time, and the micro-batch that was under way.
    const most = scene.clock.now * SHARE + 30_000 * SHARE + 2 * each;
    expect(computed(each)).toBeLessThan(most);
    expect(computed(each)).toBeGreaterThan(most / 3);
  });

  it("counts micro-batches as work that keep its own thread for longer than any sleep is suspected after", async () => {
    const each = 10_000;
    await scene.join({ share: SHARE });
    takeTime(each, true);
    await press(false);
    expect(computed(each)).toBeLessThan(scene.clock.now * SHARE + 30_000 * SHARE + 3 * each);
  });
});

describe("a volunteer whose coordinator lies", () => {
  it("keeps no more leases than it could be waiting for, and says so", async () => {
    await scene.join();
    const { socket } = scene;
    for (let lease = 1; lease <= 10_000 && socket.closedWith === null; lease++)
      socket.say(assignment({ lease, version: 2 }));
    expect(socket.closedWith).toBe(4400);
    expect(scene.of("error").at(-1)).toMatchObject({ code: "protocol", fatal: false });
    expect(scene.of("error").at(-1)?.message).toMatch(/leases/);
    expect(scene.of("assign").length).toBeLessThan(100);
  });

  it.each(["NaN", "1.5", "-1", "1e99", "0x10000000000", "", "soon"])(
    "takes no weights that are called version %s over HTTP",
    async (version) => {
      const weights = scene.server.routes.get("/weights/1")!;
      scene.server.routes.set("/weights/1", async (url) => {
        const answer = await weights(url);
        return new Response(answer.body, { headers: { "x-commonweight-version": version } });
      });
      scene.start();
      await until(() => scene.server.sockets.length === 1, "a socket");
      scene.socket.open();
      scene.welcome(1);
      await until(() => scene.of("error").length > 0 || scene.of("weights").length > 0);
      expect(scene.of("weights")).toEqual([]);
      expect(scene.of("error").at(-1)).toMatchObject({ code: "protocol", fatal: false });
      scene.volunteer.leave();
      await scene.volunteer.finished;
    },
  );

  it("is not kept busy by receipts, revocations and progress of what there never was", async () => {
    await scene.join();
    const { socket } = scene;
    for (let lease = 0; lease < 1_000; lease++) {
      socket.say({ type: "revoke", lease });
      socket.say({ type: "receipt", lease, accepted: true, reason: "", samples: 0xffffffff });
    }
    socket.say(assignment());
    await until(() => socket.frames.length > 0, "a result");
    expect(scene.server.sockets).toHaveLength(1);
  });

  it("hears no more messages than honest coordinators send", async () => {
    await scene.join();
    const { socket } = scene;
    for (let count = 0; count < 100_000 && socket.closedWith === null; count++) socket.say(PROGRESS);
    expect(socket.closedWith).toBe(4400);
    expect(scene.of("error").at(-1)).toMatchObject({ code: "protocol", fatal: false });
    expect(scene.of("error").at(-1)?.message).toMatch(/messages/);
  });

  it("comes back more and more slowly, whatever receipts it was sent for results that it never had", async () => {
    await scene.join();
    const waits: number[] = [];
    for (let count = 0; count < 6; count++) {
      const { socket } = scene;
      socket.say({ type: "receipt", lease: 1, accepted: true, reason: "", samples: 1 });
      socket.drop();
      const since = scene.clock.now;
      while (scene.socket === socket) await scene.clock.advance(50);
      waits.push(scene.clock.now - since);
      scene.socket.open();
      scene.welcome(1);
      await settle();
    }
    expect(waits.at(-1)).toBeGreaterThan(10 * waits[0]!);
  });

  it("is rid of it at once when it leaves, also while it waits for a chunk that never comes", async () => {
    scene.server.routes.set("/chunks/*", () => new Promise<never>(() => {}));
    await scene.join();
    scene.socket.say(assignment());
    await settle();
    scene.volunteer.leave();
    await expect(scene.volunteer.finished).resolves.toMatchObject({ outcome: "left" });
    expect(scene.engine.disposed).toBe(true);
  });
});
