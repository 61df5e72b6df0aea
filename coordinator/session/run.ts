/**
 * The training itself, as one session's object holds it: parameters, the open piece of work's sums, the grid, and what
 * happens when a piece is complete. What is durable comes first: the store's transaction, then memory (invariant I3).
 */

import {
  advanceEnvelope,
  announce,
  blockCount,
  createEnvelope,
  encodeSparse,
  firstNonFinite,
  magnitudeBits,
} from "../../shared/codec/index.ts";
import { evaluationSums, metricNames, parameterLength, tableSizes } from "../../shared/graph/parameters.ts";
import { robustOf } from "../../shared/session/aggregation.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { judge } from "../../shared/session/early-stopping.ts";
import type { OptimizerOptions } from "../../shared/session/optimizer.ts";
import {
  epochOf,
  evaluatesAfter,
  microBatchesPerStep,
  planRun,
  type RunPlan,
  type Work,
} from "../../shared/session/plan.ts";
import { reductionsOf, scheduled } from "../../shared/session/schedule.ts";
import { figuresOfTables } from "../../shared/session/tables.ts";
import { rowsBytes, StepAggregate, StepRows } from "../aggregate/index.ts";
import type { Grid, StandingChange } from "../audit/index.ts";
import { KERNELS_BUILD } from "../optim/build.ts";
import {
  AVERAGE,
  clipScale,
  createKernels,
  DOWNLINK,
  type EncodedChange,
  type Kernels,
  LocalParameterShard,
  type StepRecord,
  type UpdateRule,
  updateRule,
} from "../optim/index.ts";
import kernelsModule from "../optim/kernels.wasm";
import type { Stage } from "../round/types.ts";
import type { JournalEvent } from "../store/journal.ts";
import type { Commit, MemberGain, MetricRow, RunState, SessionStore } from "../store/store.ts";
import type { Admitted } from "./admission.ts";
import { LossWatch } from "./anomaly.ts";
import { sha256Hex } from "./identity.ts";
import { type Body, changeBody, weightsBody } from "./sections.ts";
import type { Tally } from "./tally.ts";

/**
 * A checkpoint is due when the log has grown to so many times its size: it then adds half to what is written, and a recovery reads at
 * most a few times as much as the checkpoint alone. However large steps are, they are at least and at most so many.
 */
const LOG_TO_CHECKPOINT = 2;
const CHECKPOINT_STEPS = { least: 16, most: 64 } as const;
/** Where nobody goes to work when one is due, it is written when it is so many times overdue. */
const OVERDUE = 2;

/** A new version with the weights of the one before. */
const UNCHANGED: EncodedChange = { unit: 1, units: encodeSparse(new Int8Array(0)) };

/** Exponents of the weights body: those of the next step's grid, zero before the calibration pass. */
export function announcedOf(state: RunState, parameters: number): Uint8Array {
  return state.envelope.length === 0 ? new Uint8Array(blockCount(parameters)) : announce(state.envelope);
}

/** Whether clients are given, and a download is, the average of weights: while it is measured, and in the end. */
const servesAverage = ({ average }: SessionDefinition, { stage }: RunState): boolean =>
  average !== undefined && stage !== "calibrate" && stage !== "train";

/** Name of the kept part that clients are given, and that a download is. */
export function servedPart(definition: SessionDefinition, state: RunState): string {
  if (servesAverage(definition, state)) return AVERAGE;
  return definition.downlink === "delta" ? DOWNLINK : "weights";
}

/** Bytes of memory that a step's rows take; none where gradients are averaged. */
export function rowsBytesOf(definition: SessionDefinition): number {
  const robust = robustOf(definition.aggregation);
  if (robust === null) return 0;
  return rowsBytes(robust, parameterLength(definition.graph), microBatchesPerStep(planRun(definition)));
}

export class Run {
  readonly plan: RunPlan;
  readonly #definition: SessionDefinition;
  readonly #store: SessionStore;
  readonly #tally: Tally;
  readonly #kernels: Kernels;
  readonly #rule: UpdateRule;
  readonly #shard: LocalParameterShard;
  readonly #aggregate: StepAggregate;
  /** Null where gradients are averaged: the shard adds them as they come. */
  readonly #rows: StepRows | null;
  readonly #metricNames: readonly string[];
  readonly #tables: ReturnType<typeof tableSizes>;
  /** The hash of the trained weights is being computed. */
  #hashing: Promise<void> | null = null;
  #state: RunState;
  #announced: Uint8Array;
  /** How often held-out samples asked the schedule for a lower learning rate. */
  #reductions = 0;
  /** What lands in the same transaction as the record that the shard logs. */
  #landing: Omit<Commit, "record"> | null = null;
  #watch: LossWatch;
  /** What audits found, to be stored with the piece that is being completed. */
  #standings: readonly StandingChange[] = [];
  /** When the shard's last record was stored: what follows is its update. */
  #loggedAt = 0;
  /** What made the present version of the one before; null where that is not known. */
  #change: { readonly version: number; readonly encoded: EncodedChange } | null = null;

  /** Whether the stored checkpoint is the current weights, so that they can be served without waking the run. */
  static isStored(store: SessionStore): boolean {
    const { step, checkpointStep } = store.state();
    return step === checkpointStep;
  }

  /** Restores the run: the checkpoint, then every logged step through the same kernels. */
  constructor(definition: SessionDefinition, store: SessionStore, tally: Tally) {
    this.#definition = definition;
    this.#store = store;
    this.#tally = tally;
    this.plan = planRun(definition);
    const parameters = parameterLength(definition.graph);
    this.#metricNames = metricNames(definition.graph);
    this.#tables = tableSizes(definition.graph);
    this.#state = store.state();
    this.#rule = updateRule(definition);
    this.#kernels = createKernels(kernelsModule, parameters, this.#rule.states);
    this.#shard = new LocalParameterShard({
      kernels: this.#kernels,
      rule: this.#rule,
      codec: definition.codec,
      bits: magnitudeBits(definition.codec, microBatchesPerStep(this.plan)),
      microBatches: microBatchesPerStep(this.plan),
      log: { append: (record) => this.#append(record) },
    });
    const robust = robustOf(definition.aggregation);
    const { seed } = definition;
    this.#rows =
      robust === null
        ? null
        : new StepRows({ aggregation: robust, parameters, most: microBatchesPerStep(this.plan), seed });
    this.#aggregate = new StepAggregate({ blocks: blockCount(parameters), metrics: evaluationSums(definition.graph) });
    this.#watch = this.#newWatch();
    this.#restore();
    this.#announced = announcedOf(this.#state, parameters);
    this.#open();
  }

  get state(): RunState {
    return this.#state;
  }

  /** Bytes of the linear memory, and of a change that is held. */
  get bytes(): number {
    return this.#shard.bytes + this.#mostChange;
  }

  /** Bytes of the most rows that a step can have: no micro-batch is in two. */
  get rowBytes(): number {
    return rowsBytesOf(this.#definition);
  }

  get samples(): number {
    return this.#aggregate.samples;
  }

  /** What clients are given: what is trained, or what is measured and ended with. */
  weights(): Body {
    return weightsBody(
      this.#announced,
      servesAverage(this.#definition, this.#state) ? this.#shard.measured() : this.#shard.weights(),
    );
  }

  /**
   * What changed between the version before and this one, for clients that have that one; null where it is not known, or saves
   * nothing.
   */
  change(): Body | null {
    if (this.#change?.version !== this.#state.version || servesAverage(this.#definition, this.#state)) return null;
    const body = changeBody(this.#announced, this.#change.encoded);
    return body.total > this.#mostChange ? null : body;
  }

  /** The new version's weights are the ones before, changed so; null where that is not known. */
  #changed(version: number, encoded: EncodedChange | null): void {
    this.#change = this.#rule.sendsChanges && encoded !== null ? { version, encoded } : null;
  }

  /** Bytes that are set aside for a change; a larger one is not worth sending. */
  get #mostChange(): number {
    return this.#rule.sendsChanges ? this.#kernels.weights.byteLength / 4 : 0;
  }

  /** Copies of the parameters, for diagnostics and tests. */
  snapshot(): { readonly weights: Float32Array; readonly states: Readonly<Record<string, Float32Array>> } {
    const { weights, ...states } = this.#shard.snapshot();
    const copied = Object.entries(states).map(([name, values]): [string, Float32Array] => [name, values.slice()]);
    return { weights: weights.slice(), states: Object.fromEntries(copied) };
  }

  /** Makes the stored checkpoint the present state, so that it holds all there is to know. */
  store(): void {
    if (this.#state.step !== this.#state.checkpointStep) this.#checkpoint();
  }

  /** To be called while clients are at work, and so nobody waits for what is written. Not while the loss may be exploding. */
  checkpointIfDue(): void {
    if (!this.#watch.isSuspicious && this.#isCheckpointDue(1)) this.#checkpoint();
  }

  /** Whether it was due `times` as soon as now. */
  #isCheckpointDue(times: number): boolean {
    const steps = (this.#state.step - this.#state.checkpointStep) / times;
    const logged = this.#store.loggedBytes / times;
    if (steps < CHECKPOINT_STEPS.least) return false;
    return steps >= CHECKPOINT_STEPS.most || logged >= LOG_TO_CHECKPOINT * this.#checkpointBytes;
  }

  get #checkpointBytes(): number {
    return Object.values(this.#shard.snapshot()).reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Whether single clients' words count for little here. */
  get isRobust(): boolean {
    return this.#rows !== null;
  }

  /**
   * Adds a contribution that the round will accept, of the client with this id, for a lease that began with micro-batch `from`. Answers
   * false, and adds nothing, where a sum is larger than its lease allows.
   */
  add(contribution: Admitted, client: string, from: number): boolean {
    const since = performance.now();
    const isWithin = this.#addGradient(contribution, client, from);
    if (isWithin) this.#aggregate.add(contribution);
    this.#tally.lap("add", since);
    return isWithin;
  }

  #addGradient({ weight, maxima, sums, microBatches }: Admitted, client: string, from: number): boolean {
    const isTraining = this.#state.stage === "train";
    if (this.#rows === null) return !isTraining || this.#shard.add(sums, microBatches);
    if (maxima === null) return true;
    const decoded = isTraining ? this.#shard.decode(sums, microBatches) : null;
    if (isTraining && decoded === null) return false;
    this.#rows.add({ client, from, weight, maxima }, decoded);
    return true;
  }

  /** The grid of the open step's integers. */
  get grid(): Grid {
    const { codec } = this.#definition;
    return {
      codec,
      parameters: this.#kernels.weights.length,
      announced: this.#announced,
      bits: magnitudeBits(codec, microBatchesPerStep(this.plan)),
    };
  }

  /** The open piece begins again: what it added up to is not to be trusted. */
  discard(): void {
    this.#open();
  }

  /**
   * Takes back the steps from `since` on, as far as they can be: to the checkpoint, for the log begins there, and not to before an
   * evaluation, for what it decided stays. The version rises all the same.
   * @returns the updates that are done now
   */
  rollBack(since: number, time: number): number {
    const { step, version, checkpointStep, checkpointEnvelope } = this.#state;
    const evaluated = this.#store.lastMetric("validate")?.step ?? 0;
    const to = Math.max(since, checkpointStep, evaluated);
    if (to >= step || checkpointEnvelope.length === 0) return step;
    const envelope = this.#envelopeAfter(to);
    const state: RunState = {
      ...this.#state,
      stage: "train",
      step: to,
      version: version + 1,
      envelope,
      weightsHash: null,
    };
    this.#store.rollBack(state, time, `from step ${step} to ${to}; suspect since ${since}`);
    this.#state = state;
    this.#shard.rewind();
    this.#rows?.forget();
    this.#restore();
    this.#announced = announcedOf(state, this.#kernels.weights.length);
    this.#changed(state.version, null);
    this.#open();
    return to;
  }

  /** The grid after so many updates, from what is logged since the checkpoint. */
  #envelopeAfter(steps: number): Uint8Array {
    const { checkpointStep, checkpointEnvelope } = this.#state;
    let envelope = checkpointEnvelope;
    // A step that is not in the log had no weight, and so no gradient.
    const none = new Uint8Array(envelope.length);
    let done = checkpointStep;
    const advanceTo = (step: number, maxima: Uint8Array): void => {
      for (; done < step - 1; done++) envelope = advanceEnvelope(envelope, none, done + 1);
      if (done < step) envelope = advanceEnvelope(envelope, maxima, ++done);
    };
    for (const { step, maxima } of this.#store.records()) if (step < steps) advanceTo(step + 1, maxima);
    advanceTo(steps, none);
    return envelope;
  }

  /**
   * Changes the status, durably.
   * @param unconfirmed the client whose report alone is why it pauses
   */
  setStatus(status: RunState["status"], reason: string, time: number, unconfirmed: string | null = null): void {
    const state: RunState = { ...this.#state, status, reason, unconfirmed };
    this.#store.setState(state, time, status, reason);
    this.#state = state;
    // Whoever lets it go on has looked: what it went on from is what is usual.
    if (status === "running") this.#watch = this.#newWatch();
  }

  /** Pauses where the database has no room for what follows. */
  pauseIfFull(limit: number, time: number): void {
    const { databaseBytes } = this.#store;
    if (this.#state.status !== "running" || databaseBytes < limit) return;
    const reason = `the session's database has ${databaseBytes} bytes, the limit is ${limit}: export it and go on elsewhere`;
    this.setStatus("paused", reason, time);
  }

  #newWatch(): LossWatch {
    return new LossWatch(this.#store.metrics(0, 1).steps[0]?.loss ?? null);
  }

  /** Makes a completed piece durable and applies it; the state then says what comes next. */
  async complete(
    work: Work,
    time: number,
    gains: readonly MemberGain[],
    standings: readonly StandingChange[] = [],
  ): Promise<void> {
    this.#standings = standings;
    if (work === "train" || work === "calibrate") this.#rows?.maxima(this.#aggregate.maxima);
    const block = firstNonFinite(this.#aggregate.maxima);
    if (block >= 0) {
      this.#fail(`the gradient of ${this.#parameterAt(block)} is not finite at step ${this.#state.step}`, time);
      return;
    }
    switch (work) {
      case "calibrate":
        this.#calibrated(time, gains);
        break;
      case "train":
        await this.#trained(time, gains);
        break;
      case "validate":
        await this.#validated(time, gains);
        break;
      case "test":
        this.#land({ ...this.#state, stage: "done", status: "finished" }, time, gains, this.#metric("test", gains));
        break;
      default:
        work satisfies never;
    }
    this.#announced = announcedOf(this.#state, this.#kernels.weights.length);
    this.#open();
  }

  #open(): void {
    this.#aggregate.reset();
    this.#rows?.reset();
    if (this.#state.stage === "train") this.#shard.begin(this.#announced);
  }

  #restore(): void {
    const { step, checkpointStep } = this.#state;
    for (const [part, values] of Object.entries(this.#shard.snapshot())) this.#store.readPart("latest", part, values);
    this.#reductions = reductionsOf(this.#definition.schedule, this.#store.validations());
    this.#shard.skipTo(checkpointStep);
    const foreign = new Set<string>();
    for (const record of this.#store.records()) {
      // A step that is not in the log had no weight and changed nothing.
      this.#shard.skipTo(record.step);
      if (!this.#shard.replay(record)) foreign.add(record.kernels);
    }
    this.#shard.skipTo(step);
    if (foreign.size > 0) this.#adopt([...foreign].join(", "));
  }

  /**
   * The log was written by another build of the kernels: what it came to here may differ in the last bits from what clients have.
   * So it is a version of its own, which everyone is sent, and is stored at once: it is not computed twice.
   */
  #adopt(builds: string): void {
    const { step, checkpointStep, version, envelope } = this.#state;
    const state: RunState = {
      ...this.#state,
      version: version + 1,
      checkpointStep: step,
      checkpointEnvelope: envelope,
      weightsHash: null,
    };
    const detail = `steps ${checkpointStep} to ${step} were computed again: kernels ${builds} then, ${KERNELS_BUILD} now`;
    this.#store.checkpoint(state, this.#shard.snapshot(), Date.now(), "kernels", detail);
    this.#state = state;
  }

  /** What of the gradient is not finite, by a contribution's exponents; null where all is. */
  nonFinite({ maxima }: Admitted): string | null {
    const block = maxima === null ? -1 : firstNonFinite(maxima);
    return block < 0 ? null : `the gradient of ${this.#parameterAt(block)} is not finite at step ${this.#state.step}`;
  }

  /** Called by the shard before it changes anything. */
  #append(record: StepRecord): void {
    if (this.#landing === null) throw new Error("a step was applied outside of a completed piece");
    const since = performance.now();
    this.#store.commit({ ...this.#landing, record });
    this.#loggedAt = this.#tally.lap("log", since);
  }

  #calibrated(time: number, gains: readonly MemberGain[]): void {
    const envelope = createEnvelope(this.#aggregate.maxima);
    const version = this.#state.version + 1;
    this.#land({ ...this.#state, stage: "train", version, envelope, checkpointEnvelope: envelope }, time, gains, null);
    this.#changed(version, UNCHANGED);
  }

  async #trained(time: number, gains: readonly MemberGain[]): Promise<void> {
    const { step, version, envelope } = this.#state;
    const { weight, maxima, squares } = this.#aggregate;
    const next: RunState = {
      ...this.#state,
      stage: this.#stageAfter(step + 1),
      step: step + 1,
      version: version + 1,
      envelope: advanceEnvelope(envelope, maxima, step + 1),
    };
    const ended = next.stage === "done" ? { ...next, status: "finished" as const } : next;
    const landing = this.#commitOf(ended, time, gains, this.#metric("train", gains));
    if (weight <= 0n) {
      // Nothing to divide by: the step is counted and changes nothing.
      this.#store.commit({ ...landing, record: null });
      this.#shard.skipTo(step + 1);
      this.#changed(ended.version, UNCHANGED);
    } else {
      this.#landing = landing;
      const since = performance.now();
      const rows = this.#rows;
      if (rows !== null) this.#shard.replace((sums, open) => rows.aggregate(step, { ...open, weight }, sums));
      const { squaredNorm } = await this.#shard.prepare(step, { weight, maxima, ...(squares && { squares }) });
      this.#tally.lap("prepare", since);
      await this.#shard.commit(step, {
        scale: clipScale(this.#rule, squaredNorm),
        optimizers: this.#optimizersAt(step),
      });
      this.#tally.lap("update", this.#loggedAt);
      this.#landing = null;
      this.#changed(ended.version, this.#shard.encodeChange());
    }
    this.#state = ended;
    // Clients may be sent this version while its weights are hashed.
    this.#announced = announcedOf(ended, this.#kernels.weights.length);
    if (!this.#shard.isFinite) {
      this.#fail(`a weight is not finite after step ${ended.step}: try a smaller learning rate`, time);
      return;
    }
    this.#tally.stepped();
    if (ended.step === this.plan.totalSteps) await this.#hashWeights(time);
    if (this.#isCheckpointDue(OVERDUE)) this.#checkpoint();
    const loss = landing.metric?.loss ?? null;
    const reason = loss === null || ended.stage === "done" ? null : this.#watch.add(loss);
    if (reason !== null) this.setStatus("paused", reason, time);
  }

  async #validated(time: number, gains: readonly MemberGain[]): Promise<void> {
    const { step, version, best } = this.#state;
    const metric = this.#metric("validate", gains);
    const { earlyStopping } = this.#definition;
    const { isBest, stops } = judge([...this.#store.validations(), metric], earlyStopping);
    const newBest = isBest ? { step, version, loss: metric.loss ?? 0 } : best;
    const weights = this.#shard.measured();
    const isLast = step === this.plan.totalSteps || stops;
    if (isLast && this.#state.weightsHash === null) await this.#hashWeights(time);
    const isBehind = newBest !== null && newBest.step !== step;
    const restores = isLast && isBehind && earlyStopping?.restoreBest !== false;
    const stage = isLast ? this.#stageAfterTraining() : "train";
    // In the transaction that ends the training: nothing comes after it that could still bring the hash.
    const bestHash = isLast ? await this.#hashOfBest(isBehind) : this.#state.bestHash;
    const state: RunState = {
      ...this.#state,
      bestHash,
      stage,
      status: stage === "done" ? "finished" : this.#state.status,
      best: newBest,
      // Where an average was measured, clients go back to the weights that are trained.
      version: restores || (stage === "train" && this.#rule.decay !== null) ? version + 1 : version,
      checkpointStep: restores ? step : this.#state.checkpointStep,
      checkpointEnvelope: restores ? this.#state.envelope : this.#state.checkpointEnvelope,
    };
    const commit = this.#commitOf(state, time, gains, metric);
    this.#store.commit({
      ...commit,
      record: null,
      bestWeights: isBest ? weights : null,
      note:
        isBest && commit.note === null
          ? ["best", `step ${step}, held-out loss ${(metric.loss ?? 0).toPrecision(6)}`]
          : commit.note,
      checkpoint: restores ? this.#shard.snapshot() : null,
      restoreBest: restores ? this.#measuredPart : null,
    });
    this.#state = state;
    this.#reductions = reductionsOf(this.#definition.schedule, this.#store.validations());
    if (restores) this.#store.readPart("best", "weights", weights);
    if (isLast) {
      const early = step === this.plan.totalSteps ? "" : `, stopped early after step ${step}`;
      this.#store.setState(this.#state, time, "best", `in the end: step ${newBest?.step ?? step}${early}`);
    }
  }

  /** Of the stored best weights, or of the present ones if they are the best. */
  async #hashOfBest(isBehind: boolean): Promise<string> {
    const best = this.#shard.measured().slice();
    if (isBehind) this.#store.readPart("best", "weights", best);
    return sha256Hex(new Uint8Array(best.buffer));
  }

  /** Brings the hash of the trained weights, if the object died between their step and it. */
  async hashIfMissing(time: number): Promise<void> {
    const { step, weightsHash } = this.#state;
    if (step === this.plan.totalSteps && weightsHash === null) await this.#hashWeights(time);
  }

  /** Once, however many ask for it meanwhile. */
  #hashWeights(time: number): Promise<void> {
    this.#hashing ??= this.#hash(time).finally(() => {
      this.#hashing = null;
    });
    return this.#hashing;
  }

  async #hash(time: number): Promise<void> {
    const weightsHash = await sha256Hex(new Uint8Array(this.#shard.measured().slice().buffer));
    const state: RunState = { ...this.#state, weightsHash };
    this.#store.setState(state, time, "trained", weightsHash);
    this.#state = state;
  }

  /** Each group's optimizer for the update after `step` others. */
  #optimizersAt(step: number): readonly OptimizerOptions[] {
    return this.#rule.groups.map(({ options }) => this.#scheduledAt(step, options));
  }

  /** Name of the part that is measured. */
  get #measuredPart(): string {
    if (this.#rule.decay !== null) return AVERAGE;
    return this.#rule.sendsChanges ? DOWNLINK : "weights";
  }

  #scheduledAt(step: number, options: OptimizerOptions): OptimizerOptions {
    const { stepsPerEpoch, totalSteps } = this.plan;
    const moment = { step, stepsPerEpoch, totalSteps, reductions: this.#reductions };
    return scheduled(options, this.#definition.schedule, moment);
  }

  #stageAfter(steps: number): Stage {
    if (evaluatesAfter(this.plan, steps)) return "validate";
    return steps === this.plan.totalSteps ? this.#stageAfterTraining() : "train";
  }

  #stageAfterTraining(): Stage {
    return this.plan.testSamples > 0 ? "test" : "done";
  }

  #checkpoint(): void {
    const since = performance.now();
    const { step, envelope } = this.#state;
    const state: RunState = { ...this.#state, checkpointStep: step, checkpointEnvelope: envelope };
    this.#store.checkpoint(state, this.#shard.snapshot(), Date.now(), "checkpoint", `step ${step}`);
    this.#state = state;
    this.#tally.lap("checkpoint", since);
  }

  #land(state: RunState, time: number, gains: readonly MemberGain[], metric: MetricRow | null): void {
    this.#store.commit({ ...this.#commitOf(state, time, gains, metric), record: null });
    this.#state = state;
  }

  #commitOf(
    state: RunState,
    time: number,
    gains: readonly MemberGain[],
    metric: MetricRow | null,
  ): Omit<Commit, "record"> {
    const standings = this.#standings;
    const none = { standings, bestWeights: null, checkpoint: null, restoreBest: null };
    return { state, time, metric, gains, note: this.#turn(state, gains), ...none };
  }

  /** What the journal says of a piece that begins or ends the training. */
  #turn(
    { status, step }: RunState,
    gains: readonly MemberGain[],
  ): readonly [event: JournalEvent, detail: string] | null {
    if (status === "finished") return ["finished", `after step ${step}`];
    return this.#state.stage === "calibrate" ? ["started", `with ${gains.length} at work`] : null;
  }

  /** The row of the piece that is complete. Its step counts the updates done, a training step's own included. */
  #metric(work: MetricRow["work"], gains: readonly MemberGain[]): MetricRow {
    const means = this.#aggregate.means(this.#metricNames);
    const tables = work === "train" ? {} : this.#aggregate.tables(this.#tables, this.#metricNames.length);
    const engines: Record<string, number> = {};
    for (const { engine, samples, repeated } of gains) engines[engine] = (engines[engine] ?? 0) + samples - repeated;
    const { step } = this.#state;
    return {
      work,
      step: work === "train" ? step + 1 : step,
      epoch: work === "train" ? epochOf(this.plan, step) : epochOf(this.plan, Math.max(0, step - 1)),
      loss: means?.loss ?? null,
      metrics: { ...means?.metrics, ...figuresOfTables(tables) },
      tables,
      samples: this.#aggregate.samples,
      engines,
      clamped: this.#aggregate.clamped,
      lr: work === "train" ? this.#scheduledAt(step, this.#definition.optimizer).lr : null,
      time: Date.now(),
    };
  }

  #fail(reason: string, time: number): void {
    this.setStatus("failed", reason, time);
  }

  /** Name of the parameter that a block of the flat space begins in. */
  #parameterAt(block: number): string {
    const at = block * 256;
    const { parameters } = this.#definition.graph;
    return parameters.findLast(({ offset }) => offset <= at)?.name ?? "a parameter";
  }
}
