/**
 * The life of a volunteer: check the session, build the engine, then weights → ready → lease → result, until the
 * session ends or the volunteer leaves.
 *
 * One loop owns the engine and does one thing at a time: it sets weights that arrived, predicts, or computes a lease.
 * Everything that arrives from the coordinator only changes what the loop finds to do next.
 */

import { blockCount, CODECS, carriesSquares, largestSum } from "../../shared/codec/index.ts";
import { evaluationSums, metricNames } from "../../shared/graph/parameters.ts";
import type { Frame } from "../../shared/protocol/frames.ts";
import { cutBody } from "../../shared/protocol/frames.ts";
import type { CoordinatorMessage, Progress } from "../../shared/protocol/messages.ts";
import { publicName } from "../../shared/protocol/name.ts";
import { SESSION_LIMITS } from "../../shared/session/definition.ts";
import type { RunPlan } from "../../shared/session/plan.ts";
import { microBatchesPerStep, workMicroBatches, workSamples } from "../../shared/session/plan.ts";
import { squaredMatrices } from "../../shared/session/squares.ts";
import type { LocalColumns } from "../data/local.ts";
import { openData } from "../data/open.ts";
import type { DataSource, Slot } from "../data/source.ts";
import type { GradientEngine } from "../engine/engine.ts";
import { EngineError } from "../engine/engine.ts";
import type { SessionAddress } from "./address.ts";
import { socketUrl } from "./address.ts";
import { backoffDelay } from "./backoff.ts";
import type { Hello, Welcome } from "./connection.ts";
import { Connection } from "./connection.ts";
import { asTrainingError, describeError, TrainingError } from "./errors.ts";
import type {
  Contributed,
  Identity,
  PauseCause,
  Summary,
  TrainingEvent,
  TrainingEvents,
  TrainingEventType,
  Usage,
  VolunteerStatus,
} from "./events.ts";
import type { PredictionInputs } from "./features.ts";
import { readFeatures } from "./features.ts";
import { ErrorFeedback } from "./feedback.ts";
import type { Conditions, Policies } from "./governor.ts";
import { Governor } from "./governor.ts";
import { Heartbeat } from "./heartbeat.ts";
import { invitationProtocols, invited } from "./invitation.ts";
import type { Metrics } from "./metrics.ts";
import { readMetrics } from "./metrics.ts";
import { Pacer } from "./pacer.ts";
import type { EngineChoice, Platform } from "./platform.ts";
import { sleep } from "./platform.ts";
import type { Coarse, EncodedResult, Lease } from "./result.ts";
import { encodeResult, WORKS } from "./result.ts";
import type { CheckedSession, ClientBudget, SessionDemands } from "./session.ts";
import { checkDemands, checkSession, DEFAULT_BUDGET, fetchSession, sessionInfo } from "./session.ts";
import { computeShard } from "./shard.ts";
import type { Traffic } from "./traffic.ts";
import { countTraffic } from "./traffic.ts";
import { Stopwatch } from "./usage.ts";
import type { WeightsBody, WeightsSizes } from "./weights.ts";
import { fetchWeights, WeightsAssembler } from "./weights.ts";

export interface VolunteerOptions extends SessionDemands {
  readonly address: SessionAddress;
  readonly engine: EngineChoice;
  /** Threads of the WASM engine; undefined leaves it to the platform. */
  readonly workers: number | undefined;
  readonly identity: Identity | undefined;
  /** The caller's own arrays, for sessions with local data. */
  readonly data: LocalColumns | undefined;
  readonly budget: Partial<ClientBudget> | undefined;
  /** Public, for credit. */
  readonly name: string | undefined;
  /** Part of this machine's time, above 0 and at most 1; undefined is all that is the platform's to give. */
  readonly share: number | undefined;
  readonly policies: Partial<Policies> | undefined;
}

/** Wanted when not paused: as much as the coordinator likes to give. */
const FULL_CAPACITY = SESSION_LIMITS.microBatchesPerStep;
/** A result without any answer for this long means that the socket is dead, in milliseconds. */
const RECEIPT_TIMEOUT = 60_000;
/** Engine failures in a row: after so many it is built anew, after twice as many the volunteer gives up. */
const FAILURES_BEFORE_REBUILD = 3;
/** Micro-batches of the open piece whose samples are fetched while the engine is still being made. */
const FETCHED_AHEAD = 8;
/** Leases that may wait: a coordinator gives one at a time, and some may cross what takes them back. */
const MOST_WAITING = 16;
/** Beats between two accounts of usage: a second. */
const USAGE_BEATS = 2;

/** Session states after which nothing is left to do. */
const OUTCOMES: Partial<Record<Progress["status"], Summary["outcome"]>> = {
  finished: "finished",
  stopped: "stopped",
  failed: "failed",
};

interface Prediction {
  readonly inputs: PredictionInputs;
  readonly resolve: (prediction: Float32Array) => void;
  readonly reject: (error: unknown) => void;
}

interface Running {
  lease: Lease;
  readonly abort: AbortController;
  /** Its socket is gone: the result may still count, unless the coordinator assigns something else first. */
  orphan: boolean;
}

/** What exists once the session is checked and the engine stands. */
interface Workshop {
  readonly session: CheckedSession;
  readonly sizes: WeightsSizes;
  readonly data: DataSource;
  readonly connection: Connection;
  readonly assembler: WeightsAssembler;
  readonly slots: readonly Slot[];
  /** Bits of magnitude of one rounded value, as the engine sums them up. */
  readonly magnitudeBits: number;
  /** Null where results leave nothing out. */
  readonly feedback: ErrorFeedback | null;
}

/** How it ended: decided once, told when everything is disposed of. */
type Ending = { readonly summary: Summary } | { readonly error: TrainingError };

export class Volunteer {
  /** Rejects with TrainingError if the volunteer had to give up. */
  readonly finished: Promise<Summary>;
  readonly #options: VolunteerOptions;
  readonly #platform: Platform;
  readonly #emit: (event: TrainingEvent) => void;
  readonly #startedAt: number;
  readonly #closing = new AbortController();
  readonly #traffic: Traffic;
  readonly #governor: Governor;
  readonly #stopwatch = new Stopwatch();
  readonly #pacer: Pacer;
  readonly #heartbeat: Heartbeat;
  #beats = 0;

  #workshop: Workshop | null = null;
  #data: DataSource | null = null;
  #engine: GradientEngine | null = null;
  #ending: Ending | null = null;
  #status: VolunteerStatus = "joining";
  #cause: PauseCause | null = null;
  /** The governor's last word, carried out: nothing is computed, for now or because too much rest is owed. */
  #paused = false;
  /** Micro-batches that the coordinator was last told to give at a time. */
  #asked: number = FULL_CAPACITY;
  /** Waits to be forgotten. */
  #forgetting: PromiseWithResolvers<void> | null = null;
  #running: Running | null = null;
  #failures = 0;
  #progress: Progress | null = null;
  #contributed: Contributed = { samples: 0, acceptedShards: 0, droppedShards: 0 };

  /** What the engine holds. */
  #held: WeightsBody | null = null;
  /** Whole, but not yet set. */
  #arrived: WeightsBody | null = null;
  #latestVersion = 0;
  /** Of the present socket. */
  #welcome: Welcome | null = null;
  /** Whether this socket was told that weights are set. */
  #ready = false;
  /** Counts sockets: what an old one started must not act on a new one. */
  #generation = 0;
  readonly #leases: Lease[] = [];
  /** The last result without a receipt, sent again after a reconnect. */
  #unanswered: EncodedResult | null = null;
  #stall: AbortController | null = null;
  readonly #predictions: Prediction[] = [];
  /** Wakes the loop. */
  #ring: () => void = () => {};

  constructor(options: VolunteerOptions, platform: Platform, emit: (event: TrainingEvent) => void) {
    this.#options = options;
    const counted = countTraffic(invited(platform, options.address));
    this.#platform = counted.platform;
    this.#traffic = counted.traffic;
    this.#emit = emit;
    this.#startedAt = platform.now();
    this.#governor = new Governor(options.share, options.policies);
    this.#heartbeat = new Heartbeat(platform, {
      beat: () => this.#beat(),
      gap: (milliseconds) => {
        this.#pacer.lose(milliseconds);
        this.reconnect();
      },
      patience: () => this.#governor.patience,
    });
    this.#pacer = new Pacer(platform, this.#governor, this.#stopwatch, {
      onSign: () => this.#heartbeat.touch(),
      onOverdrawn: () => this.#govern(),
    });
    this.finished = this.#live();
    // A failure is also an event: nobody has to wait for this promise.
    this.finished.catch(() => {});
  }

  /** Hands the lease back at once and computes nothing until `resume`. No weights are asked for meanwhile either. */
  pause(): void {
    this.#governor.stopped = true;
    this.#govern();
  }

  /** Ends the volunteer's own pause. */
  resume(): void {
    this.#governor.stopped = false;
    this.#govern();
  }

  /** Throws RangeError unless 0 < share ≤ 1. */
  setShare(share: number): void {
    this.#governor.setShare(share);
    this.#govern();
  }

  setPolicies(policies: Partial<Policies>): void {
    this.#governor.setPolicies(policies);
    this.#govern();
  }

  /** What the sensors say now. */
  sense(conditions: Conditions): void {
    this.#governor.sense(conditions);
    this.#govern();
  }

  get usage(): Usage {
    const time = this.#platform.now();
    return {
      computeSeconds: this.#stopwatch.computeSeconds,
      activeSeconds: this.#stopwatch.activeSeconds(time),
      ...this.#traffic,
      share: this.#governor.wanted,
      dutyCycle: this.#stopwatch.dutyCycle(time),
      circumstances: this.#governor.circumstances,
    };
  }

  /** Hands everything back and ends; `finished` resolves once the engine is disposed of. */
  leave(): void {
    this.#conclude("left", "");
  }

  /** The page is visible again: no need to wait out the back-off. */
  wake(): void {
    this.#workshop?.connection.wake();
    this.#heartbeat.touch();
  }

  /** The network or the tab was away for a while: what the socket is worth shows by a new one. */
  reconnect(): void {
    this.#workshop?.connection.renew();
  }

  /** Has the coordinator forget this client, then leaves. Waits for a connection. */
  forget(): Promise<void> {
    if (this.#ending !== null) return Promise.reject(this.#endedError());
    this.#forgetting ??= Promise.withResolvers<void>();
    this.#workshop?.connection.send({ type: "forget" });
    return this.#forgetting.promise;
  }

  /** Prediction [samples, ...] at the latest weights, between two leases. Waits for the first weights. */
  predict(inputs: PredictionInputs): Promise<Float32Array> {
    if (this.#ending !== null) return Promise.reject(this.#endedError());
    return new Promise((resolve, reject) => {
      this.#predictions.push({ inputs, resolve, reject });
      this.#ring();
    });
  }

  /** The coordinator's record of the steps after `after`. */
  metrics(after: number): Promise<Metrics> {
    return readMetrics(this.#platform, this.#options.address, after);
  }

  async #live(): Promise<Summary> {
    try {
      const workshop = await this.#prepare();
      if (this.#ending === null) workshop.connection.start();
      while (this.#ending === null) {
        if (!(await this.#doNext(workshop))) {
          await new Promise<void>((resolve) => {
            this.#ring = resolve;
          });
        }
      }
    } catch (error) {
      this.#fail(asTrainingError(error));
    }
    this.#heartbeat.stop();
    this.#data?.dispose();
    await this.#engine?.dispose().catch((error: unknown) => this.#report(asTrainingError(error)));
    const ending: Ending = this.#ending ?? { error: new TrainingError("left", "this client has left") };
    if ("error" in ending) throw ending.error;
    this.#say("finished", ending.summary);
    return ending.summary;
  }

  /** Does one thing; false if there is nothing to do. */
  async #doNext(workshop: Workshop): Promise<boolean> {
    if (this.#arrived !== null && !this.#paused) {
      await this.#adopt(workshop, this.#arrived);
      return true;
    }
    const prediction = this.#held === null ? undefined : this.#predictions.shift();
    if (prediction !== undefined) {
      await this.#answer(workshop, prediction);
      return true;
    }
    const lease = this.#paused ? undefined : this.#takeLease();
    if (lease === undefined) return false;
    await this.#compute(workshop, lease);
    return true;
  }

  /** The next lease at the weights that the engine holds; one at newer ones waits for them. */
  #takeLease(): Lease | undefined {
    const at = this.#leases.findIndex(({ version }) => version === this.#held?.version);
    return at < 0 ? undefined : this.#leases.splice(at, 1)[0];
  }

  async #prepare(): Promise<Workshop> {
    const { address, data, budget, engine: choice, identity } = this.#options;
    this.#say("status", { status: "joining", reason: "", cause: null });
    const reply = await fetchSession(this.#platform, address, this.#closing.signal);
    if (OUTCOMES[reply.progress.status] !== undefined) {
      throw new TrainingError("finished", `nothing is left to compute: this session is ${reply.progress.status}`);
    }
    const session = checkSession(reply, { ...DEFAULT_BUDGET, ...budget });
    const graphHash = await checkDemands(this.#platform, session, this.#options);
    const source = openData(this.#platform, address, session, data, (loadedBytes, totalBytes) =>
      this.#say("data", { loadedBytes, totalBytes }),
    );
    this.#data = source;
    this.#say("session", sessionInfo(address, session, graphHash));
    this.#hear(reply.progress);
    this.#fetchAhead(source, session.plan, reply.progress);
    const engine = await this.#buildEngine(session, choice);
    const { plan, parameters, definition } = session;
    const sizes = { blocks: blockCount(parameters), parameters };
    const { part, magnitudeBits } = CODECS[definition.codec];
    const connection = new Connection(
      { url: socketUrl(address), protocols: invitationProtocols(address) },
      this.#platform,
      {
        welcome: (message) => this.#onWelcome(message),
        message: (message) => this.#onMessage(message),
        frame: (frame) => this.#onFrame(frame),
        lost: (error) => this.#onLost(error),
        ended: (error) => this.#onEnded(error),
        diagnose: () => this.#diagnose(),
      },
      this.#hello(engine, source),
      identity ?? null,
    );
    this.#workshop = {
      session,
      sizes,
      data: source,
      connection,
      assembler: new WeightsAssembler(sizes),
      slots: Array.from({ length: 2 }, () => source.createSlot()),
      magnitudeBits: magnitudeBits(microBatchesPerStep(plan)),
      feedback: part === null ? null : new ErrorFeedback(parameters, part, squaredMatrices(definition)),
    };
    this.#update();
    return this.#workshop;
  }

  /** What the first leases are likely to need comes while the engine does: both are downloads, and neither waits for the other. */
  #fetchAhead(source: DataSource, plan: RunPlan, { stage, step }: Progress): void {
    if (stage === "done" || this.#paused || this.#ending !== null) return;
    source.prefetch(stage, step, 0, Math.min(FETCHED_AHEAD, workMicroBatches(plan, stage, step)));
  }

  async #buildEngine(session: CheckedSession, choice: EngineChoice): Promise<GradientEngine> {
    const { workers, address } = this.#options;
    const { training: graph, plan, definition } = session;
    try {
      const options = { graph, microBatch: plan.microBatch, seed: definition.seed };
      const { fetch } = this.#platform;
      this.#engine = await this.#platform.createEngine({ ...options, choice, workers, server: address.server, fetch });
    } catch (error) {
      if (error instanceof TrainingError) throw error;
      const code = error instanceof EngineError && error.code === "unavailable" ? "unsupported" : "engine";
      throw new TrainingError(code, `engine ${choice}: ${describeError(error)}`, { cause: error });
    }
    this.#say("engine", { kind: this.#engine.kind, device: this.#engine.device });
    return this.#engine;
  }

  #hello(engine: GradientEngine, data: DataSource): Hello {
    const { name } = this.#options;
    const shown = name === undefined ? null : publicName(name);
    return { engine: engine.kind, device: engine.device, name: shown, localSamples: data.localSamples };
  }

  async #adopt(workshop: Workshop, body: WeightsBody): Promise<void> {
    this.#arrived = null;
    const before = this.#held;
    this.#held = body;
    const start = this.#platform.now();
    try {
      await this.#engine?.setWeights(body.weights);
      this.#pacer.count(start);
    } catch (error) {
      await this.#onEngineFailure(workshop, error);
    }
    if (before !== null) workshop.assembler.recycle(before);
    this.#say("weights", { version: body.version, step: body.step });
    this.#acknowledge(workshop);
    this.#update();
  }

  /** Unless newer weights are expected: those are acknowledged instead. */
  #acknowledge({ connection }: Workshop): void {
    if (this.#held === null || this.#welcome === null || this.#held.version < this.#welcome.version) return;
    connection.send({ type: "ready", version: this.#held.version });
    this.#ready = true;
  }

  async #answer({ session }: Workshop, { inputs, resolve, reject }: Prediction): Promise<void> {
    try {
      const { features, samples } = readFeatures(session.graph, inputs);
      if (this.#engine === null) throw new TrainingError("left", "this client has left");
      resolve(await this.#engine.predict(features, samples));
    } catch (error) {
      reject(error instanceof TrainingError ? error : new TrainingError("compute", describeError(error)));
    }
  }

  async #compute(workshop: Workshop, lease: Lease): Promise<void> {
    const engine = this.#engine;
    const held = this.#held;
    if (engine === null || held === null || held.version !== lease.version) return;
    const { session, data, slots } = workshop;
    if (this.#isTooSmall(session, lease)) {
      const message = `the shard has fewer than ${this.#options.minimumSamples} samples`;
      workshop.connection.send({ type: "failed", lease: lease.lease, code: "minimum", message });
      return;
    }
    const running: Running = { lease, abort: new AbortController(), orphan: false };
    this.#running = running;
    this.#update();
    const started = this.#platform.now();
    this.#governor.beginLease(lease.to - lease.from, started);
    const { definition, graph, parameters, plan } = session;
    try {
      const { magnitudeBits } = workshop;
      const pacer = this.#pacer;
      const context = { engine, data, slots, plan, magnitudeBits, held, pacer };
      const contribution = await computeShard(context, lease, running.abort.signal);
      this.#failures = 0;
      if (contribution === null || running.abort.signal.aborted) return;
      const isEvaluation = WORKS[lease.work].frame === "evaluation";
      const metrics = isEvaluation ? evaluationSums(graph) : metricNames(graph).length;
      const sizes = { metrics, parameters, codec: definition.codec };
      // Read anew: a reconnect may have given the work another lease.
      const coarse = lease.work === "train" ? this.#leaveOut(workshop, running.lease, contribution.sums, held) : null;
      this.#deliver(workshop, encodeResult(running.lease, contribution, sizes, coarse));
      engine.reuse?.(contribution);
      this.#governor.endLease(this.#platform.now());
      this.#say("result", {
        lease: running.lease.lease,
        work: lease.work,
        step: lease.step,
        microBatches: lease.to - lease.from,
        loss: contribution.weight === 0n ? null : Number(contribution.loss) / Number(contribution.weight),
        clamped: contribution.clamped,
        milliseconds: this.#platform.now() - started,
      });
      if (lease.work === "train") data.prefetch("train", lease.step + 1, lease.from, lease.to);
    } catch (error) {
      if (this.#ending === null) await this.#onFailure(workshop, running.lease, error);
    } finally {
      this.#running = null;
      // It may have become slow, or work may take longer than was thought.
      this.#govern();
    }
  }

  /** Own samples are not summed up over too few of them: that says too much of each. */
  #isTooSmall({ definition, plan }: CheckedSession, { work, step, from, to }: Lease): boolean {
    const { minimumSamples } = this.#options;
    if (minimumSamples === undefined || definition.data.source !== "local") return false;
    const range = workSamples(plan, work, step);
    return Math.min(range.to - range.from, to * plan.microBatch) - from * plan.microBatch < minimumSamples;
  }

  /** Where a session wants few sums, the others wait for the next result. */
  #leaveOut(
    { session, feedback, magnitudeBits }: Workshop,
    lease: Lease,
    sums: Int32Array,
    { exponents }: WeightsBody,
  ): Coarse | null {
    const { definition, plan } = session;
    const largest = largestSum(definition.codec, lease.to - lease.from, microBatchesPerStep(plan));
    const grid = { exponents, magnitudeBits, largest };
    return feedback?.select(lease.lease, sums, grid, carriesSquares(lease.step)) ?? null;
  }

  #deliver(workshop: Workshop, result: EncodedResult): void {
    this.#unanswered = result;
    if (this.#ready && this.#held?.version === result.header.version) this.#transmit(workshop, result);
  }

  #transmit({ connection }: Workshop, { header, body }: EncodedResult): void {
    for (const frame of cutBody(header, body)) connection.sendFrame(frame);
    this.#watchForReceipt(connection);
  }

  /** Gives up a socket that took a result and says nothing any more. */
  #watchForReceipt(connection: Connection): void {
    this.#stall?.abort();
    const stall = new AbortController();
    this.#stall = stall;
    void sleep(this.#platform, RECEIPT_TIMEOUT, stall.signal).then(() => {
      if (stall.signal.aborted || this.#ending !== null) return;
      connection.restart(new TrainingError("protocol", `no answer to a result for ${RECEIPT_TIMEOUT / 1000} s`));
    });
  }

  /** A lease could not be computed: it goes back to the coordinator. */
  async #onFailure(workshop: Workshop, lease: Lease, error: unknown): Promise<void> {
    const ofData = error instanceof TrainingError && error.code === "data";
    const { code, message } = ofData ? error : new TrainingError("compute", describeError(error));
    workshop.connection.send({ type: "failed", lease: lease.lease, code, message: message.slice(0, 200) });
    if (!ofData) {
      await this.#onEngineFailure(workshop, error);
      return;
    }
    this.#report(error);
    this.#failures += 1;
    await sleep(this.#platform, backoffDelay(this.#failures, this.#platform.random()), this.#closing.signal);
  }

  /** Builds an engine that was lost or keeps failing anew, with the same weights; falls back on WASM where it may. */
  async #onEngineFailure(workshop: Workshop, error: unknown): Promise<void> {
    this.#report(new TrainingError("compute", describeError(error), { cause: error }));
    this.#failures += 1;
    const often = this.#failures >= FAILURES_BEFORE_REBUILD;
    if (this.#failures > 2 * FAILURES_BEFORE_REBUILD) {
      throw new TrainingError("engine", `the engine failed ${this.#failures} times: ${describeError(error)}`);
    }
    if (!often && !(error instanceof EngineError && error.code === "lost")) return;
    const before = this.#engine;
    this.#engine = null;
    await before?.dispose().catch((reason: unknown) => this.#report(asTrainingError(reason)));
    const fallBack = often && this.#options.engine === "auto";
    const engine = await this.#buildEngine(workshop.session, fallBack ? "wasm" : this.#options.engine);
    if (this.#held !== null) await engine.setWeights(this.#held.weights);
    if (engine.kind !== before?.kind) workshop.connection.reintroduce(this.#hello(engine, workshop.data));
  }

  /** Stops what runs and forgets what waits; the coordinator gives it to others. */
  #dropLeases(): void {
    this.#leases.length = 0;
    this.#running?.abort.abort();
    this.#unanswered = null;
    this.#stall?.abort();
  }

  /** Carries out what the governor says, after anything changed that it goes by. */
  #govern(): void {
    if (this.#ending !== null) return;
    const before = this.#paused;
    this.#paused = this.#governor.pausedBy !== null || this.#governor.overdrawn;
    this.#ask();
    this.#pacer.wake();
    if (this.#paused && !before) this.#dropLeases();
    if (!this.#paused && before) {
      if (this.#workshop !== null && this.#arrived === null) void this.#becomeReady(this.#workshop, this.#generation);
      this.#ring();
    }
    this.#update();
  }

  /** Tells the coordinator how much to give at a time, if that is something else than before. */
  #ask(): void {
    const wanted = this.#paused ? 0 : this.#governor.capacity(FULL_CAPACITY);
    const isSimilar = wanted > this.#asked / 2 && wanted < this.#asked * 2;
    if (wanted === this.#asked || isSimilar || this.#welcome === null) return;
    this.#asked = wanted;
    this.#workshop?.connection.send({ type: "capacity", microBatches: wanted });
  }

  #beat(): void {
    this.#governor.tick(this.#platform.now());
    this.#govern();
    this.#workshop?.connection.beat();
    this.#beats += 1;
    if (this.#ending === null && this.#latestVersion > 0 && this.#beats % USAGE_BEATS === 0)
      this.#say("usage", this.usage);
  }

  #onWelcome(message: Welcome): void {
    const { client, resumeKey, step, version } = message;
    this.#see(version);
    this.#welcome = message;
    this.#ready = false;
    this.#say("welcome", { client, resumeKey, step, version });
    this.#update();
    this.#governor.reset();
    this.#asked = FULL_CAPACITY;
    this.#ask();
    if (this.#workshop === null) return;
    if (this.#forgetting !== null) this.#workshop.connection.send({ type: "forget" });
    if (!this.#paused) void this.#becomeReady(this.#workshop, this.#generation);
  }

  /** Gets the welcome's weights, says so, and goes on where the last socket ended. */
  async #becomeReady(workshop: Workshop, generation: number): Promise<void> {
    if (this.#welcome === null || this.#ready) return;
    const { version, step } = this.#welcome;
    if (this.#held !== null && this.#held.version >= version) {
      this.#acknowledge(workshop);
      if (this.#unanswered?.header.version === this.#held.version) this.#transmit(workshop, this.#unanswered);
      return;
    }
    this.#abandonBefore(version);
    try {
      const request = { version, step, sizes: workshop.sizes };
      const body = await fetchWeights(this.#platform, this.#options.address, request, this.#closing.signal);
      if (generation !== this.#generation || this.#ending !== null) return;
      this.#see(body.version);
      this.#arrive(workshop, body);
    } catch (error) {
      if (generation === this.#generation) workshop.connection.restart(asTrainingError(error, "protocol"));
    }
  }

  #arrive({ assembler }: Workshop, body: WeightsBody): void {
    if (this.#arrived !== null) assembler.recycle(this.#arrived);
    this.#arrived = body;
    this.#abandonBefore(body.version);
    this.#update();
    this.#ring();
  }

  /** Nothing computed at older weights can count any more. */
  #abandonBefore(version: number): void {
    if (this.#running !== null && this.#running.lease.version < version) this.#running.abort.abort();
    if (this.#unanswered !== null && this.#unanswered.header.version < version) this.#unanswered = null;
    const current = this.#leases.filter((lease) => lease.version >= version);
    this.#leases.splice(0, this.#leases.length, ...current);
  }

  #onFrame(frame: Frame): void {
    this.#see(frame.version);
    const body = this.#workshop?.assembler.add(frame, this.#arrived ?? this.#held) ?? null;
    if (body !== null && this.#workshop !== null) this.#arrive(this.#workshop, body);
  }

  #onMessage(message: Exclude<CoordinatorMessage, { type: "welcome" | "error" }>): void {
    switch (message.type) {
      case "assign":
        this.#onAssign(message);
        return;
      case "revoke":
        this.#onRevoke(message.lease);
        return;
      case "receipt":
        this.#onReceipt(message);
        return;
      case "progress":
        this.#hear(message);
        return;
      case "forgotten":
        this.#forgetting?.resolve();
        this.#conclude("left", "");
        return;
      default:
        message satisfies never;
    }
  }

  #onAssign(lease: Lease): void {
    this.#see(lease.version);
    // A pause crosses an assignment on the wire: the coordinator takes it back by itself.
    if (this.#workshop === null || this.#paused) return;
    const { session, connection, data } = this.#workshop;
    const { work, step, version, from, to } = lease;
    if (from >= to || to > workMicroBatches(session.plan, work, step)) {
      throw new TrainingError("protocol", `assigned micro-batches ${from} to ${to} of ${work} ${step}: no such range`);
    }
    if (this.#leases.length >= MOST_WAITING) {
      throw new TrainingError("protocol", `more than ${MOST_WAITING} leases at a time were assigned, expected one`);
    }
    const latest = this.#arrived?.version ?? this.#held?.version ?? null;
    if (latest === null || version < latest) {
      const message = `assigned at version ${version}, this client has ${latest ?? "none"}`;
      connection.send({ type: "failed", lease: lease.lease, code: "version", message });
      return;
    }
    this.#say("assign", { lease: lease.lease, work, step, version, microBatches: to - from });
    const running = this.#running;
    if (running?.orphan && !running.abort.signal.aborted) {
      if (covers(running.lease, lease)) {
        running.lease = lease;
        running.orphan = false;
        return;
      }
      running.abort.abort();
    }
    this.#leases.push(lease);
    // Its weights may still be under way.
    data.prefetch(work, step, from, to);
    this.#ring();
  }

  #onRevoke(lease: number): void {
    if (this.#running?.lease.lease === lease) this.#running.abort.abort();
    const waiting = this.#leases.findIndex((entry) => entry.lease === lease);
    if (waiting >= 0) this.#leases.splice(waiting, 1);
    if (this.#unanswered?.header.lease === lease) this.#unanswered = null;
  }

  #onReceipt(message: Extract<CoordinatorMessage, { type: "receipt" }>): void {
    const { lease, accepted, reason, samples } = message;
    this.#workshop?.feedback?.settle(lease, accepted);
    // A receipt of nothing does not make a connection a good one.
    if (this.#unanswered?.header.lease === lease) this.#workshop?.connection.settle();
    if (this.#unanswered?.header.lease === lease) this.#unanswered = null;
    this.#stall?.abort();
    const { samples: before, acceptedShards, droppedShards } = this.#contributed;
    this.#contributed = accepted
      ? { samples: before + samples, acceptedShards: acceptedShards + 1, droppedShards }
      : { samples: before, acceptedShards, droppedShards: droppedShards + 1 };
    this.#say("receipt", { lease, accepted, reason, samples, contributed: this.#contributed });
  }

  #hear(progress: Progress): void {
    if (this.#ending !== null) return;
    // What was asked for over HTTP may come after the socket's newer word.
    if (this.#progress !== null && progress.version < this.#progress.version) return;
    this.#progress = progress;
    this.#say("progress", progress);
    const outcome = OUTCOMES[progress.status];
    if (outcome !== undefined) this.#conclude(outcome, progress.reason);
    this.#update(progress.status === "paused" ? progress.reason : "");
  }

  #onLost(error: TrainingError | null): void {
    this.#generation += 1;
    this.#welcome = null;
    this.#ready = false;
    this.#stall?.abort();
    this.#workshop?.assembler.reset();
    this.#workshop?.feedback?.lose();
    this.#leases.length = 0;
    if (this.#running !== null) this.#running.orphan = true;
    if (this.#ending !== null) return;
    if (error !== null) this.#report(error);
    this.#update(error?.message ?? "the connection was lost");
  }

  #onEnded(error: TrainingError): void {
    if (error.code !== "finished") {
      this.#fail(error);
      return;
    }
    // The socket said only that it is over; the session says how.
    void fetchSession(this.#platform, this.#options.address, this.#closing.signal)
      .then(({ progress }) => this.#hear(progress))
      .catch((reason: unknown) => this.#report(asTrainingError(reason)))
      .finally(() => this.#conclude("finished", ""));
  }

  /** A socket did not open: is there still such a session? Throws TrainingError if trying again is useless. */
  async #diagnose(): Promise<void> {
    try {
      const { progress } = await fetchSession(this.#platform, this.#options.address, this.#closing.signal, 1);
      this.#hear(progress);
    } catch (error) {
      if (error instanceof TrainingError && error.code !== "network") throw error;
    }
  }

  /** Asserts that versions only rise. Throws TrainingError `version-fell`. */
  #see(version: number): void {
    if (version < this.#latestVersion) {
      throw new TrainingError("version-fell", `version ${version} of the weights came after ${this.#latestVersion}`);
    }
    this.#latestVersion = version;
  }

  #say<Type extends TrainingEventType>(type: Type, detail: TrainingEvents[Type]): void {
    this.#emit({ type, detail } as TrainingEvent);
  }

  #report(error: TrainingError): void {
    this.#say("error", { code: error.code, message: error.message, fatal: false });
  }

  #update(reason = ""): void {
    if (this.#ending !== null) return;
    const status = this.#currentStatus();
    const cause = status === "paused" ? (this.#governor.pausedBy ?? "session") : null;
    this.#stopwatch.setActive(this.#welcome !== null && cause === null, this.#platform.now());
    if (status === this.#status && cause === this.#cause) return;
    this.#status = status;
    this.#cause = cause;
    this.#say("status", { status, reason, cause });
  }

  #currentStatus(): VolunteerStatus {
    if (this.#workshop === null) return "joining";
    if (this.#governor.pausedBy !== null) return "paused";
    if (this.#welcome === null) return "connecting";
    if (this.#progress?.status === "paused") return "paused";
    if (this.#running !== null) return "working";
    return this.#ready && this.#arrived === null ? "waiting" : "loading";
  }

  #conclude(outcome: Summary["outcome"], reason: string): void {
    if (this.#ending !== null) return;
    const engine = this.#engine;
    this.#ending = {
      summary: {
        outcome,
        reason,
        step: this.#progress?.step ?? 0,
        totalSteps: this.#progress?.totalSteps ?? 0,
        contributed: this.#contributed,
        engine: engine === null ? null : { kind: engine.kind, device: engine.device },
        client: this.#workshop?.connection.identity?.client ?? null,
        seconds: (this.#platform.now() - this.#startedAt) / 1000,
      },
    };
    this.#say("status", { status: outcome === "left" ? "left" : "finished", reason, cause: null });
    this.#stop();
  }

  #fail(error: TrainingError): void {
    if (this.#ending !== null) return;
    this.#ending = { error };
    this.#say("error", { code: error.code, message: error.message, fatal: true });
    this.#say("status", { status: "failed", reason: error.message, cause: null });
    this.#stop();
  }

  /** Closes the socket and lets the loop run out. */
  #stop(): void {
    this.#dropLeases();
    this.#closing.abort();
    // Whatever is still being fetched would keep the loop, and with it the engine.
    this.#data?.dispose();
    this.#workshop?.connection.close();
    for (const { reject } of this.#predictions.splice(0)) reject(this.#endedError());
    this.#forgetting?.reject(this.#endedError());
    this.#stopwatch.setActive(false, this.#platform.now());
    this.#ring();
  }

  /** What whoever still asks for something is told. */
  #endedError(): TrainingError {
    const ending = this.#ending;
    if (ending !== null && "error" in ending) return ending.error;
    const outcome = ending?.summary.outcome ?? "left";
    return outcome === "left"
      ? new TrainingError("left", "this client has left")
      : new TrainingError("finished", `the session is ${outcome}`);
  }
}

function covers(one: Lease, other: Lease): boolean {
  return (
    one.work === other.work &&
    one.step === other.step &&
    one.version === other.version &&
    one.from === other.from &&
    one.to === other.to
  );
}
