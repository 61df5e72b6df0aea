/**
 * A training of MNIST to which everything happens at once: clients behind bad lines leave and others come, some hang, and the
 * coordinator is killed and upgraded, its disk filled and its clock set, over and over. It has to end with the bits of the same training by one volunteer whom nothing happened to,
 * and nobody may have seen a step lost or done twice.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareBundle } from "../../cli/coordinator.ts";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { joinTraining, type Progress } from "../../client/node/index.ts";
import { mnistSession, untilDone } from "../e2e/coordinator.ts";
import { type Dev, HERE, killTree, killWorkerd, type Surroundings, startDev } from "../e2e/dev.ts";
import { schedule } from "../e2e/exactness.ts";
import { ChromiumFleet } from "../e2e/fleets.ts";
import { makeVersion } from "../e2e/other-version.ts";
import { mnistFiles } from "../fixtures/mnist.ts";
import { makeClock, type SetClock } from "./clock.ts";
import { type Faults, startFaultyLine } from "./faulty-line.ts";
import { type Departure, type Member, openTab, startProcess } from "./members.ts";
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts";
import { Witness } from "./witness.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly steps: number;
  /** Clients at a time. */
  readonly processes: number;
  readonly tabs: number;
  /** Part of the clients that leaves each minute, and that others take the places of. */
  readonly churn: number;
  /** Times that the coordinator is killed; every other time its command is, too, and one of another version is started. */
  readonly kills: number;
  /** Times that its disk is filled, and that its clock is set. */
  readonly fills: number;
  readonly jumps: number;
  /** Milliseconds that every line takes longer, each way. */
  readonly delay: number;
  readonly say: (line: string) => void;
}

/** What happens to the coordinator. */
export const BLOWS = {
  kills: "the coordinator was killed",
  fills: "its disk was filled",
  jumps: "its clock was set",
} as const;
export type Blow = keyof typeof BLOWS;

/** Milliseconds from a blow, or from the end of one that lasts, until the coordinator answers again, and until a step is done. */
export interface Recovery {
  readonly blow: Blow;
  readonly answers: number;
  readonly trains: number;
}

export interface ChaosOutcome {
  readonly calmHash: string;
  readonly weightsHash: string;
  /** Milliseconds of the calm training and of this one. */
  readonly calm: number;
  readonly took: number;
  readonly recoveries: readonly Recovery[];
  /** What this machine does not let anybody do, and so was not done. */
  readonly leftOut: readonly string[];
  /** How often what happened. */
  readonly counted: Readonly<Record<"left" | "frozen" | "hidden" | "stalls" | "cuts", number>>;
  readonly results: Readonly<Record<string, number>>;
  /** Everything that should not have been. */
  readonly complaints: readonly string[];
}

/** Lines that clients get in turn, besides what delays all of them. */
const LINES: readonly Omit<Faults, "delay">[] = [
  {},
  { bandwidth: 2_000_000 },
  { stall: { every: 20_000, lasts: 4_000 } },
  { cutEvery: 20_000 },
  { bandwidth: 1_000_000, stall: { every: 30_000, lasts: 2_000 }, cutEvery: 45_000 },
];
/** A step waits for whoever's line stalls, whatever the coordinator does. */
export const LONGEST_STALL = Math.max(...LINES.map(({ stall }) => stall?.lasts ?? 0));
const DEPARTURES: readonly Departure[] = ["killed", "leaves"];

const MINUTE = 60_000;
const FREEZE_EVERY = 45_000;
const FREEZE_LASTS = 6_000;
const REPORT_EVERY = 5_000;
/** Bytes of the coordinator's disk, and milliseconds for which it is full. */
const DISK = 256_000_000;
const FULL_LASTS = 4_000;
/** Milliseconds after which it has noticed that its clock was set back. */
const CLOCK_NOTICED = 1_500;
/** Seconds that its clock is ahead of the machine's, in turn. */
const CLOCKS = [6 * 3_600, -6 * 3_600, 0] as const;
/** Milliseconds within which training has to end, for each step, and besides. */
const LIMIT = { step: 6_000, besides: 300_000 } as const;

const { trainImages: images, trainLabels: labels, testImages, testLabels } = mnistFiles;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What `ask` answers once it does, asked until then. */
async function patiently<T>(ask: () => Promise<T>, isIt: (answer: T) => boolean, limit: number): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer !== null && isIt(answer)) return answer;
    if (performance.now() > end) throw new Error(`nothing within ${limit} ms`);
    await pause(20);
  }
}

export class Chaos {
  readonly #options: ChaosOptions;
  readonly #random: () => number;
  readonly #folder = mkdtempSync(join(tmpdir(), "commonweight-chaos-"));
  readonly #witness = new Witness();
  readonly #members = new Set<Member>();
  readonly #counted = { left: 0, frozen: 0, hidden: 0, stalls: 0, cuts: 0 };
  readonly #recoveries: Recovery[] = [];
  readonly #over = new AbortController();
  readonly #leftOut: string[] = [];
  #disk: SmallDisk | null = null;
  #clock: SetClock | null = null;
  #around: Surroundings = HERE;
  /** Folders of the package's versions: the one that runs is first. */
  #versions: string[] = [HERE.root];
  #fleet: ChromiumFleet | null = null;
  #dev: Dev | null = null;
  #joined = 0;
  #path = "";

  constructor(options: ChaosOptions) {
    this.#options = options;
    this.#random = schedule(options.seed);
  }

  async run(): Promise<ChaosOutcome> {
    const { steps, say } = this.#options;
    const definition = mnistSession({ maxSteps: steps, epochs: Math.ceil(steps / 215) });
    try {
      await this.#prepare();
      const dev = await this.#start();
      const { manifest, chunks } = cutDataset("mnist", readImageSet({ images, labels, testImages, testLabels }));
      await dev.api.pushDataset(manifest, chunks, () => {});

      const calmId = (await dev.api.createSession(definition)).id;
      let began = performance.now();
      const volunteer = await joinTraining(`${dev.url}/s/${calmId}`, { engine: "wasm", workers: 1 });
      const calmRun = await untilDone(dev.api, calmId, LIMIT.besides + steps * LIMIT.step);
      const calm = performance.now() - began;
      await volunteer.finished;
      say(`calm: ${steps} steps in ${Math.round(calm / 1000)} s`);

      const { id } = await dev.api.createSession(definition);
      this.#path = `/s/${id}`;
      if (this.#options.tabs > 0) this.#fleet = await ChromiumFleet.launch();
      began = performance.now();
      const kinds = [
        ...Array<"tab">(this.#options.tabs).fill("tab"),
        ...Array<"process">(this.#options.processes).fill("process"),
      ];
      await Promise.all(kinds.map((kind) => this.#join(kind)));
      const happenings = [this.#churn(), this.#freezing(), this.#reporting(), this.#striking(id)];
      await this.#untilDone(id, LIMIT.besides + steps * LIMIT.step);
      const took = performance.now() - began;
      this.#over.abort();
      await Promise.all(happenings);
      for (const member of this.#members) await this.#end(member, "leaves");

      const { api } = this.#coordinator;
      const { result, steps: done } = await api.readMetrics(id, 0);
      this.#compare("samples of the steps", done, calmRun.steps, ({ step, samples }) => `${step}: ${samples}`);
      this.#compare("losses of the steps", done, calmRun.steps, ({ step, loss }) => `${step}: ${loss}`);
      return {
        calmHash: calmRun.result?.weightsHash ?? "none",
        weightsHash: result?.weightsHash ?? "none of it",
        calm,
        took,
        recoveries: this.#recoveries,
        leftOut: this.#leftOut,
        counted: this.#counted,
        results: { ...(await api.readDiagnostics(id)).results },
        complaints: this.#witness.complaints,
      };
    } finally {
      this.#over.abort();
      for (const member of this.#members) await member.end("killed").catch(() => {});
      await this.#fleet?.stop();
      if (this.#dev !== null) killTree(this.#dev);
      this.#disk?.stop();
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  /** What faults need that lie around the coordinator. */
  async #prepare(): Promise<void> {
    const { kills, fills, jumps } = this.#options;
    const state = this.#state;
    mkdirSync(state);
    if (fills > 0) this.#disk = await mountSmallDisk(state, DISK);
    if (fills > 0 && this.#disk === null) this.#leftOut.push("its disk was not filled: nothing can be mounted here");
    if (jumps > 0) this.#clock = makeClock(this.#folder);
    if (jumps > 0 && this.#clock === null) {
      this.#leftOut.push("its clock was not set: that needs Linux and a C compiler");
    }
    const { enter, see } = this.#disk ?? HERE;
    this.#around = { ...HERE, enter, see, env: this.#clock?.env ?? {} };
    if (kills < 2) return;
    await prepareBundle(() => {});
    this.#versions.push(makeVersion(join(this.#folder, "other"), "build"));
  }

  get #state(): string {
    return join(this.#folder, "state");
  }

  async #start(port?: string): Promise<Dev> {
    const [root = HERE.root] = this.#versions;
    this.#dev = await startDev(this.#state, port, { ...this.#around, root });
    return this.#dev;
  }

  get #coordinator(): Dev {
    if (this.#dev === null) throw new Error("the coordinator was not started");
    return this.#dev;
  }

  /** Between two kills the coordinator does not answer, and that is no error. */
  async #untilDone(id: string, limit: number): Promise<void> {
    await patiently(
      () => this.#coordinator.api.readSession(id),
      ({ progress }) => {
        if (progress.status === "failed") this.#witness.complaints.push(`the session failed: ${progress.reason}`);
        return progress.stage === "done" || progress.status === "failed";
      },
      limit,
    );
  }

  #compare<Row>(what: string, rows: readonly Row[], expected: readonly Row[], text: (row: Row) => string): void {
    const [own, calm] = [rows.map(text), expected.map(text)];
    const at = calm.findIndex((row, index) => row !== own[index]);
    if (at >= 0 || own.length !== calm.length) {
      this.#witness.complaints.push(`${what}: ${own[at] ?? own.length} instead of ${calm[at] ?? calm.length}`);
    }
  }

  /** Milliseconds of peace; false once everything is over. */
  async #wait(milliseconds: number): Promise<boolean> {
    const { signal } = this.#over;
    if (signal.aborted) return false;
    const over = Promise.withResolvers<void>();
    const stop = (): void => over.resolve();
    signal.addEventListener("abort", stop, { once: true });
    const timer = setTimeout(stop, milliseconds);
    await over.promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    return !signal.aborted;
  }

  /** Opens anew what does not open behind a line like that, as a person would. */
  async #join(kind: "tab" | "process"): Promise<void> {
    while (!this.#over.signal.aborted) {
      const own = LINES[this.#joined % LINES.length];
      this.#joined += 1;
      const name = `${kind} ${this.#joined}`;
      const { delay, say } = this.#options;
      const line = await startFaultyLine(this.#coordinator.url, { ...own, delay }, this.#random);
      const options = { name, line, path: this.#path, witness: this.#witness };
      try {
        this.#members.add(
          kind === "process" || this.#fleet === null ? startProcess(options) : await openTab(this.#fleet, options),
        );
        return;
      } catch (error) {
        say(`${name} does not open: ${error instanceof Error ? error.message : error}`);
        await line.stop();
      }
    }
  }

  async #end(member: Member, departure: Departure): Promise<void> {
    this.#members.delete(member);
    this.#counted.stalls += member.line.counted.stalls;
    this.#counted.cuts += member.line.counted.cuts;
    await member.end(departure);
  }

  #pick(): Member {
    const members = [...this.#members];
    return members[Math.floor(this.#random() * members.length)];
  }

  async #churn(): Promise<void> {
    const { churn, processes, tabs, say } = this.#options;
    const mean = MINUTE / (churn * (processes + tabs));
    while (await this.#wait(mean * (0.5 + this.#random()))) {
      const member = this.#pick();
      const departure = DEPARTURES[this.#counted.left % DEPARTURES.length];
      this.#counted.left += 1;
      await this.#end(member, departure);
      if (this.#over.signal.aborted) return;
      say(`${member.name} ${departure === "killed" ? "is killed" : "leaves"}, another one joins`);
      await this.#join(member.name.startsWith("tab") ? "tab" : "process");
    }
  }

  async #freezing(): Promise<void> {
    while (await this.#wait(FREEZE_EVERY * (0.5 + this.#random()))) {
      const member = this.#pick();
      const { frozen, hidden } = this.#counted;
      const hide = frozen > hidden ? member.hide : null;
      this.#counted[hide === null ? "frozen" : "hidden"] += 1;
      this.#options.say(
        `${member.name} ${hide === null ? "hangs" : "is in the background"} for ${FREEZE_LASTS / 1000} s`,
      );
      // It may be ended meanwhile.
      await (hide ?? member.freeze)(FREEZE_LASTS).catch(() => {});
    }
  }

  async #reporting(): Promise<void> {
    while (await this.#wait(REPORT_EVERY)) {
      for (const member of this.#members) await member.report().catch(() => {});
    }
  }

  /** Blows of each kind, at times that lie evenly over the steps. */
  async #striking(id: string): Promise<void> {
    const { steps, say } = this.#options;
    const read = () => this.#coordinator.api.readSession(id);
    for (const { blow, number, at } of this.#blows()) {
      let step = 0;
      while (step < steps * at) {
        if (!(await this.#wait(50 * this.#random()))) return;
        step = (await read()).progress.step;
      }
      const { what, began } = await this.#strike(blow, number);
      const { progress: then } = await patiently(read, () => true, LIMIT.besides);
      const answers = performance.now() - began;
      const isOn = ({ progress }: { progress: Progress }): boolean =>
        progress.step > (blow === "kills" ? step : then.step) || progress.stage === "done";
      await patiently(read, isOn, LIMIT.besides);
      const trains = performance.now() - began;
      this.#recoveries.push({ blow, answers, trains });
      say(
        `${what} at step ${step}: answers after ${(answers / 1000).toFixed(1)} s at step ${then.step}, the next step is done after ${(trains / 1000).toFixed(1)} s`,
      );
    }
  }

  #blows(): { readonly blow: Blow; readonly number: number; readonly at: number }[] {
    const possible = { kills: true, fills: this.#disk !== null, jumps: this.#clock !== null };
    const blows = (Object.keys(BLOWS) as Blow[])
      .filter((blow) => possible[blow])
      .flatMap((blow) => {
        const count = this.#options[blow];
        return Array.from({ length: count }, (_, number) => {
          return { blow, number, at: (number + 0.5 + this.#random() * 0.5) / (count + 1) };
        });
      });
    return blows.sort((a, b) => a.at - b.at);
  }

  /** Does it, and answers what it was, and since when all should go on. */
  async #strike(blow: Blow, number: number): Promise<{ readonly what: string; readonly began: number }> {
    const began = performance.now();
    switch (blow) {
      case "kills": {
        if (number % 2 === 0) {
          killWorkerd(this.#coordinator);
          return { what: "the coordinator is killed", began };
        }
        const { url } = this.#coordinator;
        killTree(this.#coordinator);
        this.#versions.push(...this.#versions.splice(0, 1));
        await this.#start(new URL(url).port);
        return { what: "the coordinator and its command are killed and another version is started", began };
      }
      case "fills":
        this.#disk?.fill();
        // What runs has room in files that are there; what starts has not.
        killWorkerd(this.#coordinator);
        await pause(FULL_LASTS);
        this.#disk?.free();
        return { what: `its disk is full for ${FULL_LASTS / 1000} s, and it is killed`, began: began + FULL_LASTS };
      case "jumps": {
        const ahead = CLOCKS[number % CLOCKS.length] ?? 0;
        this.#clock?.set(ahead);
        // Only timers and alarms get the step done without it.
        this.#counted.frozen += 1;
        void this.#pick()
          .freeze(FREEZE_LASTS)
          .catch(() => {});
        // What is done before it has noticed is no sign that it goes on.
        await pause(CLOCK_NOTICED);
        return { what: `its clock is set to ${ahead / 3_600} h ahead, and somebody hangs`, began };
      }
      default:
        return blow satisfies never;
    }
  }
}
