/** One session of a local coordinator, as a program trains it and looks into it. */

import { extname } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type PredictionInputs, readFeatures } from "../client/core/features.ts";
import type { LocalColumns } from "../client/data/local.ts";
import type { GradientEngine } from "../client/engine/engine.ts";
import { createWasmEngine } from "../client/engine/node/engine.ts";
import { differentiate } from "../shared/graph/index.ts";
import { sizeOf } from "../shared/graph/tensor.ts";
import type { NamedTensor } from "../shared/nn/index.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { planRun } from "../shared/session/plan.ts";
import type { CoordinatorApi, SessionDescription, SessionMetrics, StepMetric } from "./api.ts";
import type { Display, Snapshot } from "./display.ts";
import { LocalError } from "./local-error.ts";
import { MODEL_FORMATS, writeModel } from "./model.ts";
import type { Volunteers } from "./volunteers.ts";
import { type EngineHere, startHere } from "./volunteers-here.ts";
import { watchSession } from "./watch.ts";

/** Where a training stands. */
export interface LocalProgress {
  readonly title: string;
  /** Updates done, of how many. */
  readonly step: number;
  readonly totalSteps: number;
  /** Of the last step; null before the first. */
  readonly loss: number | null;
  /** The last measurement on held-out samples. */
  readonly validation: { readonly loss: number; readonly metrics: Readonly<Record<string, number>> } | null;
  /** Clients that take part. */
  readonly clients: number;
  /** An estimate; null while there is none. */
  readonly secondsLeft: number | null;
}

/** How a training ended. */
export interface LocalOutcome {
  readonly status: "finished" | "stopped";
  /** Updates done. */
  readonly steps: number;
  /** The test, where the session has one. */
  readonly test: { readonly loss: number | null; readonly metrics: Readonly<Record<string, number>> } | null;
  /** Hex SHA-256 of the last weights: equal hashes, equal bits. */
  readonly weightsHash: string | null;
}

/** The coordinator's record: every step, and every measurement on held-out samples. */
export interface LocalRecord {
  readonly steps: readonly StepMetric[];
  readonly evaluations: SessionMetrics["evaluations"];
}

/** Weights after the last step, or those that did best on held-out samples. */
export type Which = "latest" | "best";

/** What `finished` takes. */
export interface FinishedOptions {
  /** Hears where the training stands, a few times a second. */
  readonly onProgress?: (progress: LocalProgress) => void;
}

/** What `train` takes. */
export interface TrainingOptions extends FinishedOptions {
  /** Volunteers in this process; 0 leaves it to whoever opens the session's link. Default: that of `startLocal`. */
  readonly clients?: number;
  /** Default: that of `startLocal`. */
  readonly engine?: EngineHere;
  /**
   * For sessions of `localData`: each entry is the own data of one volunteer, which joins with them by `joinTraining`. Nobody
   * begins before all of them are there.
   */
  readonly data?: readonly LocalColumns[];
}

/** A session on a local coordinator. */
export interface LocalSession {
  readonly id: string;
  /** The page where others take part; also what `joinTraining` takes. */
  readonly url: string;
  readonly definition: SessionDefinition;
  /** Trains to the end with volunteers of this process. Rejects if it fails, or if all of them are gone. */
  train(options?: TrainingOptions): Promise<LocalOutcome>;
  /** Waits for the end, whoever computes. */
  finished(options?: FinishedOptions): Promise<LocalOutcome>;
  /** The record so far. */
  metrics(): Promise<LocalRecord>;
  /** Parameters by PyTorch's names; those of `defineSession({ weights })` can be these. Before the first step, the first ones. */
  weights(which?: Which): Promise<ReadonlyMap<string, Tensor>>;
  /**
   * The model's output [samples, ...] flat, by the WASM engine, for inputs by name, [samples, ...] flat, in the model's own
   * units (after scale and offset).
   */
  predict(inputs: PredictionInputs, which?: Which): Promise<Float32Array>;
  /** Writes the model: `.safetensors` as PyTorch loads it, `.onnx` as onnxruntime runs it. */
  save(path: string, which?: Which): Promise<void>;
}

/** A parameter. */
export interface Tensor extends NamedTensor {
  readonly values: Float32Array;
}

export interface LocalSessionOptions {
  readonly api: CoordinatorApi;
  readonly session: SessionDescription;
  /** Of the session's page, with an invitation if it needs one. */
  readonly link: string;
  readonly clients: number;
  readonly engine: EngineHere;
  readonly say: (line: string) => void;
}

/** Milliseconds between two looks at who is ready. */
const READY_INTERVAL = 50;

/** As many as the command line starts at most. */
const MOST_CLIENTS = 64;

/** Throws LocalError `invalid-argument` unless it is a number of volunteers. */
export function checkClients(clients: number): number {
  if (Number.isInteger(clients) && clients >= 0 && clients <= MOST_CLIENTS) return clients;
  throw new LocalError("invalid-argument", `clients must be a whole number from 0 to ${MOST_CLIENTS}, not ${clients}`);
}

const describeProgress = ({ title, progress, left }: Snapshot): LocalProgress => ({
  title,
  step: progress.step,
  totalSteps: progress.totalSteps,
  loss: progress.loss,
  validation: progress.validation,
  clients: progress.clientCount,
  secondsLeft: left,
});

/** What `watchSession` shows, for a program instead of a person. */
const quietDisplay = (say: (line: string) => void, { onProgress }: FinishedOptions): Display => ({
  columns: 80,
  say,
  show: (snapshot) => onProgress?.(describeProgress(snapshot)),
  aside: (action) => action(),
  end: () => {},
  emit: () => {},
});

const FORMATS: Readonly<Record<string, keyof typeof MODEL_FORMATS>> = Object.fromEntries(
  Object.keys(MODEL_FORMATS).map((format) => [`.${format}`, format as keyof typeof MODEL_FORMATS]),
);

export class CoordinatedSession implements LocalSession {
  readonly id: string;
  readonly url: string;
  readonly definition: SessionDefinition;
  readonly #options: LocalSessionOptions;
  /** Made by the first prediction. */
  #engine: Promise<GradientEngine> | null = null;
  #volunteers: Volunteers | null = null;
  #isTraining = false;
  #isClosed = false;

  constructor(options: LocalSessionOptions) {
    const { session, link } = options;
    this.#options = options;
    this.id = session.id;
    this.url = link;
    this.definition = session.definition;
  }

  async train(options: TrainingOptions = {}): Promise<LocalOutcome> {
    this.#requireOpen();
    const { api, say } = this.#options;
    const { engine = this.#options.engine, onProgress } = options;
    const data = this.#shares(options);
    if (this.#isTraining) throw new LocalError("invalid-argument", `session ${this.id} is being trained already`);
    this.#isTraining = true;
    try {
      const isLocal = this.definition.data.source === "local";
      // What the first of them learns alone would depend on how quickly the others join.
      if (isLocal) await api.control(this.id, "pause");
      try {
        this.#volunteers = await startHere({ url: this.url, engine, data, say });
        if (isLocal) await this.#untilReady(this.#volunteers);
      } finally {
        if (isLocal) await api.control(this.id, "resume");
      }
      return await this.#watch(this.#volunteers, onProgress === undefined ? {} : { onProgress });
    } finally {
      await this.#volunteers?.stop();
      this.#volunteers = null;
      this.#isTraining = false;
    }
  }

  finished(options: FinishedOptions = {}): Promise<LocalOutcome> {
    this.#requireOpen();
    return this.#watch(null, options);
  }

  async metrics(): Promise<LocalRecord> {
    this.#requireOpen();
    const { api } = this.#options;
    const steps: StepMetric[] = [];
    for (;;) {
      const page = await api.readMetrics(this.id, steps.at(-1)?.step ?? 0);
      if (page.steps.length === 0) return { steps, evaluations: page.evaluations };
      steps.push(...page.steps);
    }
  }

  async weights(which?: Which): Promise<ReadonlyMap<string, Tensor>> {
    const flat = await this.#flatWeights(which);
    return new Map(
      this.definition.graph.parameters.map(({ name, shape, offset }) => [
        name,
        { shape, values: flat.slice(offset, offset + sizeOf(shape)) },
      ]),
    );
  }

  async predict(inputs: PredictionInputs, which?: Which): Promise<Float32Array> {
    const { graph } = this.definition;
    const { features, samples } = readFeatures(graph, inputs);
    const weights = await this.#flatWeights(which);
    this.#engine ??= this.#createEngine();
    const engine = await this.#engine;
    await engine.setWeights(weights);
    return engine.predict(features, samples);
  }

  async save(path: string, which?: Which): Promise<void> {
    this.#requireOpen();
    const format = FORMATS[extname(path)];
    if (format === undefined) {
      const known = Object.keys(FORMATS).join(" or ");
      throw new LocalError("invalid-argument", `a model is written to a file that ends in ${known}, not to ${path}`);
    }
    const { api, session } = this.#options;
    await writeModel(api, session, which ?? (await this.#usual()), path, format);
  }

  /** Sends the volunteers home. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#volunteers?.stop();
    await (await this.#engine)?.dispose();
  }

  /** One entry a volunteer. */
  #shares({ clients, data }: TrainingOptions): readonly (LocalColumns | null)[] {
    const isLocal = this.definition.data.source === "local";
    if (isLocal !== (data !== undefined)) {
      const fault = isLocal ? "needs data: one entry of columns a volunteer" : "is of hosted data, and takes no other";
      throw new LocalError("invalid-argument", `session ${this.id} ${fault}`);
    }
    if (data !== undefined && clients !== undefined && clients !== data.length) {
      throw new LocalError("invalid-argument", `data are of ${data.length} volunteers, clients says ${clients}`);
    }
    return data ?? Array.from({ length: checkClients(clients ?? this.#options.clients) }, () => null);
  }

  /** Resolves once every volunteer that is left holds the weights: who joined is still loading, and would be given nothing. */
  async #untilReady(volunteers: Volunteers): Promise<void> {
    for (;;) {
      const { progress } = await this.#options.api.readSession(this.id);
      if (progress.clients.filter(({ state }) => state !== "loading").length >= volunteers.alive) return;
      await setTimeout(READY_INTERVAL);
    }
  }

  async #watch(volunteers: Volunteers | null, options: FinishedOptions): Promise<LocalOutcome> {
    const { api, session, say } = this.#options;
    const display = quietDisplay(say, options);
    const { status, steps } = await watchSession({ api, session, volunteers, display, onEpoch: null });
    const { evaluations, result } = await api.readMetrics(this.id, Number.MAX_SAFE_INTEGER);
    const test = evaluations.find(({ work }) => work === "test");
    return {
      status: status === "stopped" ? "stopped" : "finished",
      steps,
      test: test === undefined ? null : { loss: test.loss, metrics: test.metrics },
      weightsHash: result?.weightsHash ?? null,
    };
  }

  /** The best ones where there are any, as `commonweight train` writes them. */
  async #usual(): Promise<Which> {
    const { evaluations } = await this.#options.api.readMetrics(this.id, Number.MAX_SAFE_INTEGER);
    return evaluations.some(({ work }) => work === "validate") ? "best" : "latest";
  }

  async #flatWeights(which: Which | undefined): Promise<Float32Array> {
    this.#requireOpen();
    const { api, session } = this.#options;
    return api.readWeights(this.id, which ?? (await this.#usual()), session.parameters);
  }

  #createEngine(): Promise<GradientEngine> {
    const { graph, seed } = this.definition;
    const { microBatch } = planRun(this.definition);
    return createWasmEngine({ graph: differentiate(graph, microBatch), microBatch, seed }, 1);
  }

  #requireOpen(): void {
    if (this.#isClosed)
      throw new LocalError("closed", `session ${this.id} went with its coordinator: use it before close`);
  }
}
