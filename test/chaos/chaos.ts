/**
 * A training of MNIST to which everything happens at once: clients behind bad lines leave and others come, some hang, and the
 * coordinator is killed, over and over. It has to end with the bits of the same training by one volunteer whom nothing happened to,
 * and nobody may have seen a step lost or done twice.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { joinTraining } from "../../client/node/index.ts";
import { mnistSession, untilDone } from "../e2e/coordinator.ts";
import { type Dev, killTree, killWorkerd, startDev } from "../e2e/dev.ts";
import { schedule } from "../e2e/exactness.ts";
import { ChromiumFleet } from "../e2e/fleets.ts";
import { mnistFiles } from "../fixtures/mnist.ts";
import { type Faults, startFaultyLine } from "./faulty-line.ts";
import { type Departure, type Member, openTab, startProcess } from "./members.ts";
import { Witness } from "./witness.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly steps: number;
  /** Clients at a time. */
  readonly processes: number;
  readonly tabs: number;
  /** Part of the clients that leaves each minute, and that others take the places of. */
  readonly churn: number;
  /** Times that the coordinator is killed. */
  readonly kills: number;
  /** Milliseconds that every line takes longer, each way. */
  readonly delay: number;
  readonly say: (line: string) => void;
}

/** Milliseconds from a kill until the coordinator answers again, and until a step is done. */
export interface Recovery {
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
  /** How often what happened. */
  readonly counted: Readonly<Record<"left" | "frozen" | "stalls" | "cuts", number>>;
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
  readonly #counted = { left: 0, frozen: 0, stalls: 0, cuts: 0 };
  readonly #recoveries: Recovery[] = [];
  readonly #over = new AbortController();
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
      const dev = await startDev(join(this.#folder, "state"));
      this.#dev = dev;
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
      const happenings = [this.#churn(), this.#freezing(), this.#reporting(), this.#killing(id)];
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
        counted: this.#counted,
        results: { ...(await api.readDiagnostics(id)).results },
        complaints: this.#witness.complaints,
      };
    } finally {
      this.#over.abort();
      for (const member of this.#members) await member.end("killed").catch(() => {});
      await this.#fleet?.stop();
      if (this.#dev !== null) killTree(this.#dev);
      rmSync(this.#folder, { recursive: true, force: true });
    }
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
      this.#counted.frozen += 1;
      this.#options.say(`${member.name} hangs for ${FREEZE_LASTS / 1000} s`);
      // It may be ended meanwhile.
      await member.freeze(FREEZE_LASTS).catch(() => {});
    }
  }

  async #reporting(): Promise<void> {
    while (await this.#wait(REPORT_EVERY)) {
      for (const member of this.#members) await member.report().catch(() => {});
    }
  }

  /** At times that lie evenly over the steps, its workerd and everything in turn. */
  async #killing(id: string): Promise<void> {
    const { kills, steps, say } = this.#options;
    for (let kill = 0; kill < kills; kill++) {
      const at = Math.floor((steps * (kill + 0.5 + this.#random() * 0.5)) / (kills + 1));
      let step = 0;
      while (step < at) {
        if (!(await this.#wait(50 * this.#random()))) return;
        step = (await this.#coordinator.api.readSession(id)).progress.step;
      }
      const began = performance.now();
      const isWhole = kill % 2 === 1;
      if (isWhole) {
        const { url } = this.#coordinator;
        killTree(this.#coordinator);
        this.#dev = await startDev(join(this.#folder, "state"), new URL(url).port);
      } else killWorkerd(this.#coordinator);
      const read = () => this.#coordinator.api.readSession(id);
      await patiently(read, () => true, LIMIT.besides);
      const answers = performance.now() - began;
      await patiently(read, ({ progress }) => progress.step > step, LIMIT.besides);
      const trains = performance.now() - began;
      this.#recoveries.push({ answers, trains });
      say(
        `the coordinator ${isWhole ? "and its command are" : "is"} killed at step ${step}: ` +
          `answers after ${(answers / 1000).toFixed(1)} s, a step is done after ${(trains / 1000).toFixed(1)} s`,
      );
    }
  }
}
