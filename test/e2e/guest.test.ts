import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findDescendants } from "../../bench/harness/processes.ts";
import type { Tab } from "../../cli/devtools.ts";
import { parseAddress } from "../../client/core/address.ts";
import { Volunteer } from "../../client/core/volunteer.ts";
import type { Usage } from "../../client/index.ts";
import { joinTraining, type TrainingHandle } from "../../client/node/index.ts";
import { nodePlatform } from "../../client/node/platform.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { trainSteadily } from "./exactness.ts";
import { ChromiumFleet, nodeFleet } from "./fleets.ts";
import { startLine } from "./line.ts";

const STEPS = 100;
const SEED = 0;
/** The page's handle (client/page). */
const HANDLE = 'document.querySelector("commonweight-page")?.handle';
const PATIENCE = 120_000;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + PATIENCE;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`no ${what} after ${PATIENCE / 1000} s`);
    await pause(50);
  }
}

/** Stops or continues the processes in which the tabs of this process's browsers run. */
const signalRenderers = (signal: "SIGSTOP" | "SIGCONT"): void => {
  for (const pid of findDescendants(process.pid, "--type=renderer")) process.kill(pid, signal);
};

describe("a good guest", () => {
  let coordinator: TestCoordinator;
  let fleet: ChromiumFleet;
  /** Of the training that nobody disturbs. */
  let undisturbed: string;

  beforeAll(async () => {
    fleet = await ChromiumFleet.launch();
    coordinator = await startTestCoordinator();
    undisturbed = (await trainSteadily({ coordinator, fleet: nodeFleet, seed: SEED, steps: STEPS }, 1)).weightsHash;
  }, 300_000);
  afterAll(async () => {
    await fleet?.stop();
    await coordinator?.stop();
  });

  const create = async (maxSteps = STEPS): Promise<string> =>
    (await coordinator.api.createSession(mnistSession({ seed: SEED, maxSteps, epochs: Math.ceil(maxSteps / 215) }))).id;
  const read = async (id: string) => (await coordinator.api.readSession(id)).progress;

  /** A volunteer in this process. */
  const join = (id: string, options: { share?: number; name?: string } = {}): Promise<TrainingHandle> =>
    joinTraining(`${coordinator.url}/s/${id}`, { engine: "wasm", workers: 1, ...options });

  const accepted = (tab: Tab): Promise<number> => tab.evaluate(`${HANDLE}?.contributed.acceptedShards ?? 0`);

  /** How a tab goes away and comes back, and by which line to the coordinator. */
  interface Disturbance {
    readonly url?: string;
    away(tab: Tab): Promise<unknown>;
    back(tab: Tab): Promise<unknown>;
  }

  /**
   * A tab and a slow volunteer train together. The tab goes away; the other one goes on, so whatever the tab had was
   * handed on; the tab comes back and the other one leaves, so that only the tab can bring the training to its end.
   */
  async function expectToSurvive(name: string, { url = coordinator.url, away, back }: Disturbance): Promise<void> {
    const id = await create();
    const { tab, kill } = await fleet.start(`${url}/s/${id}`, name);
    await until(async () => (await accepted(tab)) >= 5, "result of the tab");
    // Nothing is done while the other one joins: enough is left for what comes.
    await coordinator.api.control(id, "pause");
    const other = await join(id, { share: 0.1 });
    await coordinator.api.control(id, "resume");
    await tab.evaluate(`(window.said = [], ${HANDLE}.on("status", ({ status }) => window.said.push(status)), 1)`);
    const client = await tab.evaluate(`${HANDLE}.clientId`);

    const { step } = await read(id);
    const left = performance.now();
    await away(tab);
    await until(async () => (await read(id)).step >= step + 8, "step without the tab");
    // However fast this machine is: enough is left for what comes.
    await coordinator.api.control(id, "pause");
    await pause(Math.max(0, left + 6_000 - performance.now()));
    await back(tab);
    const returned = performance.now();
    await other.leave();
    const before = await accepted(tab);
    await coordinator.api.control(id, "resume");
    await until(async () => (await accepted(tab)) > before, "result of the tab after its return");
    console.log(`${name}: first accepted result ${Math.round(performance.now() - returned)} ms after the return`);
    const { result, steps } = await untilDone(coordinator.api, id);
    expect(result?.weightsHash).toBe(undisturbed);
    expect(steps.map(({ samples }) => samples)).toEqual(new Array(STEPS).fill(256));
    expect(await tab.evaluate("window.said")).toContain("connecting"); // it shook hands anew
    expect(await tab.evaluate(`${HANDLE}.clientId`)).toBe(client); // as itself
    await kill();
  }

  it("resumes by itself after its tab was frozen", () =>
    expectToSurvive("frozen", {
      away: (tab) => tab.call("Page.setWebLifecycleState", { state: "frozen" }),
      back: (tab) => tab.call("Page.setWebLifecycleState", { state: "active" }),
    }));

  it("resumes by itself after its machine slept", () =>
    expectToSurvive("asleep", {
      away: async () => signalRenderers("SIGSTOP"),
      back: async () => signalRenderers("SIGCONT"),
    }));

  it("resumes by itself after its network was away", async () => {
    const line = await startLine(coordinator.url);
    // The line carries nothing; the browser also tells its page, as browsers do.
    const tell = (tab: Tab, offline: boolean) =>
      tab.call("Network.emulateNetworkConditions", {
        offline,
        latency: 0,
        downloadThroughput: -1,
        uploadThroughput: -1,
      });
    await expectToSurvive("offline", {
      url: line.url,
      away: (tab) => {
        line.off();
        return tell(tab, true);
      },
      back: (tab) => {
        line.on();
        return tell(tab, false);
      },
    });
    await line.stop();
  });

  it("goes on after its wall clock jumped an hour ahead, and back again", async () => {
    const id = await create();
    let jump = 0; // milliseconds
    const said: string[] = [];
    const options = {
      address: parseAddress(`${coordinator.url}/s/${id}`, undefined),
      engine: "wasm",
      workers: 1,
      identity: undefined,
      data: undefined,
      budget: undefined,
      name: undefined,
      share: undefined,
      policies: undefined,
      graphHash: undefined,
      minimumSamples: undefined,
    } as const;
    const platform = { ...nodePlatform, date: () => Date.now() + jump };
    const volunteer = new Volunteer(options, platform, (event) => {
      if (event.type === "status") said.push(event.detail.status);
    });
    for (const hour of [3_600_000, 0]) {
      const { step } = await read(id);
      await until(async () => (await read(id)).step >= step + 20, "steps");
      jump = hour;
    }
    const { result } = await untilDone(coordinator.api, id);
    await volunteer.finished;
    expect(result?.weightsHash).toBe(undisturbed);
    // Ahead looks like a sleep: it shook hands once more than at first. Back does not.
    expect(said.filter((status) => status === "connecting")).toHaveLength(2);
  });

  it("takes the share of the time that was wanted", async () => {
    const id = await create(20_000);
    const { tab, kill } = await fleet.start(`${coordinator.url}/s/${id}`, "share");
    await tab.until(`${HANDLE} !== null`, PATIENCE, "handle");
    await tab.evaluate(`${HANDLE}.setShare(0.25)`);
    const usage = (): Promise<Usage> => tab.evaluate(`${HANDLE}.usage`);
    await until(async () => (await usage()).computeSeconds > 0.5, "computing");
    const before = await usage();
    await pause(12_000);
    const { computeSeconds, activeSeconds, bytesDown, bytesUp, share } = await usage();
    const measured = (computeSeconds - before.computeSeconds) / (activeSeconds - before.activeSeconds);
    console.log(`share 0.25: measured ${measured.toFixed(3)}`);
    expect(share).toBe(0.25);
    expect(Math.abs(measured - 0.25)).toBeLessThan(0.1);
    expect(bytesDown).toBeGreaterThan(10_000_000); // onnxruntime alone
    expect(bytesUp).toBeGreaterThan(100_000);
    await coordinator.api.deleteSession(id);
    await kill();
  });

  it.concurrent("heeds save-data and a low battery where the browser tells of them, and its volunteer's word above that", async () => {
    const id = await create(20_000);
    const { tab, kill } = await fleet.start(`${coordinator.url}/s/${id}`, "sensors");
    await tab.until(`${HANDLE} !== null`, PATIENCE, "handle");
    await tab.click('[data-action="leave"]', PATIENCE);
    // What the operating system would report: no protocol of the browser's sets it.
    await tab.evaluate(`(() => {
      window.battery = Object.assign(new EventTarget(), { charging: true, level: 0.2 });
      window.connection = Object.assign(new EventTarget(), { saveData: false });
      navigator.getBattery = async () => battery;
      Object.defineProperty(navigator, "connection", { value: connection });
    })()`);
    await tab.click('[data-action="join"]', PATIENCE);
    await until(async () => (await accepted(tab)) > 0, "result");
    const state = () =>
      tab.evaluate(`new Promise((resolve) => {
        const stop = ${HANDLE}.on("usage", ({ circumstances }) => {
          stop();
          resolve([${HANDLE}.status, ...circumstances]);
        });
      })`);
    await tab.evaluate('(battery.charging = false, battery.dispatchEvent(new Event("chargingchange")))');
    await until(async () => String(await state()) === "paused,battery", "pause for the battery");
    await tab.evaluate('(battery.level = 0.5, battery.dispatchEvent(new Event("levelchange")))');
    await until(async () => /^(?!paused).*,battery$/.test(String(await state())), "work at half a battery");
    await tab.evaluate('(connection.saveData = true, connection.dispatchEvent(new Event("change")))');
    await until(async () => String(await state()) === "paused,battery,metered", "pause for a metered connection");
    await tab.evaluate(`${HANDLE}.setPolicies({ metered: "continue" })`);
    await until(async () => /^(?!paused).*,battery,metered$/.test(String(await state())), "the volunteer's word");
    await coordinator.api.deleteSession(id);
    await kill();
  });

  it.concurrent("keeps its identity when its tab is reloaded, and several tabs of one person are several clients", async () => {
    const id = await create(20_000);
    const link = `${coordinator.url}/s/${id}`;
    const clientOf = (tab: Tab): Promise<string> => tab.until(`${HANDLE}?.clientId`, PATIENCE, "client");
    const first = await fleet.start(link, "person");
    const identity = await clientOf(first.tab);
    const second = await fleet.start(link, "person");
    expect(await clientOf(second.tab)).not.toBe(identity);
    await until(async () => (await read(id)).clientCount === 2, "two clients");

    await first.tab.call("Page.reload");
    await first.tab.until(`${HANDLE} === null`, PATIENCE, "page");
    await first.tab.click('[data-action="join"]', PATIENCE);
    expect(await clientOf(first.tab)).toBe(identity);
    await until(async () => (await read(id)).clientCount === 2, "the same two clients");

    // Forgotten, a tab is nobody that came back.
    await first.tab.evaluate(`${HANDLE}.forget().then(() => 1)`);
    await until(async () => (await read(id)).clientCount === 1, "one client");
    await first.tab.call("Page.reload");
    await first.tab.click('[data-action="join"]', PATIENCE);
    expect(await clientOf(first.tab)).not.toBe(identity);
    await coordinator.api.deleteSession(id);
    await Promise.all([first.kill(), second.kill()]);
  });

  it.concurrent("says what happens when nobody is there, the session pauses, all leave, and it is deleted", async () => {
    const id = await create(20_000);
    expect(await read(id)).toMatchObject({ status: "waiting", clientCount: 0, step: 0 });

    const [one, two] = await Promise.all([join(id, { name: "Ada" }), join(id)]);
    await until(() => one.contributed.acceptedShards > 0 && two.contributed.acceptedShards > 0, "results of both");
    expect(one.progress.clients.map(({ name }) => name).sort()).toEqual(["", "Ada"]);
    const causes: unknown[] = [];
    const stop = one.on("status", ({ status, cause }) => void causes.push(status === "paused" ? cause : status));

    one.pause();
    two.pause();
    await until(async () => (await read(id)).status === "waiting", "waiting for volunteers");
    expect(causes.splice(0)).toEqual(["volunteer"]);
    one.resume();
    two.resume();
    await coordinator.api.control(id, "pause");
    await until(() => causes.includes("session"), "the session's pause");
    expect(one.status).toBe("paused");
    const { step } = await read(id);
    // Longer than a silent connection is trusted: the coordinator's platform answers for a session that has nothing to say.
    causes.length = 0;
    await pause(22_000);
    expect(causes).toEqual([]);
    await coordinator.api.control(id, "resume");
    await until(async () => (await read(id)).step > step, "a step after the pause");
    stop();

    expect(await two.leave()).toMatchObject({ outcome: "left" });
    expect(await one.leave()).toMatchObject({ outcome: "left" });
    expect(one.status).toBe("left");
    await expect(one.predict({ x: new Float32Array(784) })).rejects.toMatchObject({ code: "left" });
    await until(async () => (await read(id)).clientCount === 0, "an empty session");
    expect((await read(id)).status).toBe("waiting");

    const last = await join(id);
    await until(() => last.contributed.acceptedShards > 0, "a result after all had left");
    await coordinator.api.deleteSession(id);
    await expect(last.finished).rejects.toMatchObject({ name: "TrainingError", code: "unknown-session" });
    expect(last.status).toBe("failed");
    await expect(join(id)).rejects.toMatchObject({ code: "unknown-session" });
  });
});
