/**
 * The awake half of a session: clients and their sockets, the round, timers, pacing. Built from storage and attachments,
 * and dropped without a word when the object sleeps.
 */

import { blockCount } from "../../shared/codec/index.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { decodeFrame, type Frame, FrameError, MAX_FRAME_BYTES, weightsLayout } from "../../shared/protocol/frames.ts";
import {
  type ClientMessage,
  type CoordinatorMessage,
  decodeClientMessage,
  encodeMessage,
  isFrame,
  PROTOCOL_ERRORS,
  type Progress,
  ProtocolError,
  type ProtocolErrorCode,
} from "../../shared/protocol/messages.ts";
import { publicName } from "../../shared/protocol/name.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { Work } from "../../shared/session/plan.ts";
import type { Auditable, Evidence } from "../audit/index.ts";
import {
  advance,
  createRound,
  type DropReason,
  isAlone,
  type Lease,
  type RoundEffect,
  type RoundEvent,
  type RoundState,
  summarize,
  wouldAccept,
} from "../round/index.ts";
import type { MemberGain, MetricRow, RunState, SessionStore } from "../store/store.ts";
import { Admission, type Admitted } from "./admission.ts";
import { Announcer } from "./announcer.ts";
import { type Refusal, refuse } from "./answer.ts";
import { type MemberAttachment, readAttachment, writeAttachment } from "./attachment.ts";
import { Auditing } from "./auditing.ts";
import { Client } from "./client.ts";
import { randomHex, sameHash, sha256Hex } from "./identity.ts";
import type { Ledger } from "./ledger.ts";
import { type LogFields, log } from "./log.ts";
import { encodeProgress, MOST_SHOWN, mostContributed } from "./progress.ts";
import { Quotas } from "./quotas.ts";
import { Refusals } from "./refusals.ts";
import { storedProgress } from "./report.ts";
import { isOver } from "./retention.ts";
import { Run } from "./run.ts";
import { type Body, framedBytes } from "./sections.ts";
import { startAgain } from "./start-again.ts";
import { Tally, type TallyReport } from "./tally.ts";
import { UploadMemory } from "./upload-memory.ts";
import { Wakes } from "./wakes.ts";
import { WeightsSender } from "./weights-sender.ts";

/** Bits of a lease's number below those that say which awakening gave it. */
const LEASE_BITS = 18;
const MAX_CLIENTS = 4096;
/** Weight of the newest step in samples per second. */
const SPEED_MEMORY = 0.2;

export interface LiveOptions {
  readonly ctx: DurableObjectState;
  readonly store: SessionStore;
  readonly ledger: Ledger;
  readonly definition: SessionDefinition;
  /** Milliseconds for which the session is kept once it is over; null for ever. */
  readonly retention: number | null;
  /** Bytes of the database at which it pauses. */
  readonly storageLimit: number;
  /** By what quotas are multiplied. */
  readonly quotaFactor: number;
  /** Its id, for the log. */
  readonly session: string;
  /** `pressing`: the status changed, not only the step. */
  readonly onChange: (state: RunState, pressing: boolean) => void;
}

/** Why a result is not used. `disputed`: it says that a gradient is not finite, and somebody else is to compute the same. */
type NotUsed = DropReason | "disputed";

/** Counted since this awakening. */
export interface LiveCounts {
  readonly results: Readonly<Record<"accepted" | NotUsed, number>>;
  /** Clients that were closed for cause, by code. */
  readonly refusals: Readonly<Record<string, number>>;
  readonly tally: TallyReport;
}

export class Live {
  readonly #ctx: DurableObjectState;
  readonly #store: SessionStore;
  readonly #ledger: Ledger;
  readonly #retention: number | null;
  readonly #storageLimit: number;
  readonly #session: string;
  readonly #onChange: LiveOptions["onChange"];
  readonly #run: Run;
  readonly #round: RoundState;
  readonly #admission: Admission;
  readonly #quotas: Quotas;
  readonly #uploads: UploadMemory;
  readonly #sender: WeightsSender;
  readonly #wakes: Wakes;
  readonly #announcer: Announcer;
  /** Null where nothing is computed twice. */
  readonly #auditing: Auditing | null;
  readonly #refusals = new Refusals();
  readonly #clients = new Map<WebSocket, Client>();
  readonly #byId = new Map<string, Client>();
  readonly #tally = new Tally();
  /** Clients that say of the open piece that a gradient of it is not finite. */
  readonly #claims = new Set<string>();
  /** What each client added to the open piece. */
  readonly #gains = new Map<Client, { samples: number; shards: number; repeated: number }>();
  /** What became of results since this awakening. */
  readonly #results = { accepted: 0, stale: 0, duplicate: 0, foreign: 0, disputed: 0 };
  #lastTrain: MetricRow | null;
  #lastValidation: MetricRow | null;
  #samplesPerSecond = 0;
  #committedAt = 0;
  #disposed = false;

  constructor({
    ctx,
    store,
    ledger,
    definition,
    retention,
    storageLimit,
    quotaFactor,
    session,
    onChange,
  }: LiveOptions) {
    this.#ctx = ctx;
    this.#store = store;
    this.#ledger = ledger;
    this.#retention = retention;
    this.#storageLimit = storageLimit;
    this.#session = session;
    this.#onChange = onChange;
    const stored = store.state();
    this.#run = new Run(definition, store, this.#tally);
    if (!ledger.take("kernels", this.#run.bytes)) {
      throw new Error(`the parameters need ${this.#run.bytes} bytes, ${ledger.free} are free`);
    }
    if (!ledger.take("rows", this.#run.rowBytes)) {
      throw new Error(`the rows of a step need ${this.#run.rowBytes} bytes, ${ledger.free} are free`);
    }
    this.#admission = new Admission(definition, this.#run.plan);
    this.#quotas = new Quotas(quotaFactor, this.#admission.largestBody, Date.now());
    this.#uploads = new UploadMemory(ledger, this.#admission.largestUpload);
    const parameters = parameterLength(definition.graph);
    this.#sender = new WeightsSender({
      run: this.#run,
      ledger,
      uploads: this.#uploads,
      quotas: this.#quotas,
      tally: this.#tally,
      transferBytes: framedBytes(weightsLayout(blockCount(parameters), parameters).total),
      post: (client, bytes) => this.#post(client, bytes),
    });
    this.#wakes = new Wakes({
      storage: ctx.storage,
      meter: store.meter,
      onTick: () => this.#advance({ type: "tick", time: Date.now() }),
      onError: (error) => this.#startAgain(error),
    });
    this.#announcer = new Announcer({ wakes: this.#wakes, meter: store.meter, send: () => this.#sendProgress() });
    this.#lastTrain = store.lastMetric("train");
    this.#lastValidation = store.lastMetric("validate");
    const { stage, step, version, status } = this.#run.state;
    const replayed = step - stored.checkpointStep;
    const incarnation = store.nextIncarnation();
    const nextLease = ((incarnation << LEASE_BITS) >>> 0) + 1;
    this.#auditing = Auditing.open(definition, store, ledger);
    const desk = this.#auditing === null ? {} : { audits: this.#auditing.desk };
    this.#round = createRound(this.#run.plan, { stage, step, version, status, nextLease, ...desk });
    const hadLeases = this.#rejoinAll();
    // A sleep between two leases is none of the operator's business.
    if (hadLeases > 0 || (replayed > 0 && this.#clients.size > 0)) {
      const detail = `awakening ${incarnation}: ${replayed} steps replayed, ${this.#clients.size} clients, ${hadLeases} with a lease`;
      store.note(Date.now(), "recovered", detail);
      this.#log("info", "recovered", { incarnation, replayed, clients: this.#clients.size });
    }
    ctx.waitUntil(this.bringHash().catch((error: unknown) => this.#startAgain(error)));
  }

  /** The hash of the trained weights, if the object died between their step and it. */
  bringHash(): Promise<void> {
    return this.#run.hashIfMissing(Date.now());
  }

  get state(): RunState {
    return this.#run.state;
  }

  weights(): Body {
    return this.#run.weights();
  }

  /** Brings what is stored up to date; nothing is lost then but the sums of the open piece. */
  save(): RunState {
    this.#run.store();
    return this.#run.state;
  }

  progress(): Progress {
    const { status, clients } = summarize(this.#round);
    const summaries = new Map(clients.map((client) => [client.id, client]));
    return {
      type: "progress",
      ...storedProgress(this.#run.state, this.#run.plan, this.#lastTrain, this.#lastValidation),
      status: this.#run.state.status === "running" ? status : this.#run.state.status,
      samplesPerSecond: this.#samplesPerSecond,
      clientCount: this.#clients.size,
      clients: mostContributed([...this.#clients.values()], MOST_SHOWN).map((client) => ({
        id: client.id.slice(0, 8),
        name: client.name,
        engine: client.engine,
        device: client.device,
        samples: client.samples,
        speed: summaries.get(client.id)?.speed ?? 0,
        state: summaries.get(client.id)?.state ?? "loading",
      })),
    };
  }

  diagnostics(): Record<string, unknown> {
    const round = summarize(this.#round);
    return {
      round,
      state: { ...this.#run.state, envelope: undefined },
      clients: this.#clients.size,
      audits: this.#auditing?.desk.counts ?? null,
      ...this.counts(),
    };
  }

  counts(): LiveCounts {
    return { results: this.#results, refusals: this.#refusals.counts, tally: this.#tally.report() };
  }

  #log(level: "info" | "warn" | "error", event: string, fields: LogFields = {}): void {
    log(level, event, { session: this.#session, step: this.#run.state.step, ...fields });
  }

  /** Parameters and grid, for tests of recovery. */
  snapshot() {
    return { state: this.#run.state, ...this.#run.snapshot() };
  }

  control(action: "pause" | "resume" | "stop"): Refusal | null {
    const { status } = this.#run.state;
    if (isOver(this.#run.state)) {
      return refuse(409, "session-over", `the session is ${status}: it cannot ${action}`);
    }
    const next = { pause: "paused", resume: "running", stop: "stopped" } as const;
    const now = Date.now();
    this.#run.setStatus(next[action], "", now);
    this.#log("info", action);
    this.#advance({ type: "control", time: now, action });
    this.#announce(true);
    return null;
  }

  /** Pauses for a reason that an operator is to look at. */
  #pause(reason: string, time: number, unconfirmed: string | null = null): void {
    this.#run.setStatus("paused", reason, time, unconfirmed);
    this.#log("warn", "paused", { reason });
    this.#advance({ type: "control", time, action: "pause" });
    this.#announce(true);
  }

  /** Everything that a socket sends. What is wrong with it costs its sender, never the session. */
  async receive(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (this.#disposed) return;
    this.#tally.received(typeof message === "string" ? message.length : message.byteLength);
    try {
      await this.#take(socket, message);
    } catch (error) {
      if (error instanceof ProtocolError) this.#refuse(socket, error.code, error.message);
      else if (error instanceof FrameError) this.#refuse(socket, "bad-frame", error.message);
      else this.#startAgain(error);
    }
  }

  /** Refuses a socket that was let in before, and hands on what it worked on. */
  sendAway(socket: WebSocket, code: ProtocolErrorCode, message: string): void {
    this.#refuse(socket, code, message);
  }

  gone(socket: WebSocket): void {
    const client = this.#clients.get(socket);
    if (client === undefined) {
      // Its close may be what woke this object: what was set for it before the sleep is void.
      this.#restIfIdle();
      return;
    }
    this.#forget(client);
    this.#advance({ type: "left", time: Date.now(), client: client.id });
    // What was under way to it is free for others.
    this.#sender.sendToUnserved();
    this.#announce(false);
  }

  /** The alarm rang: a tick, and the next alarm if one is wanted. */
  alarm(): void {
    this.#wakes.rang();
  }

  dispose(code: ProtocolErrorCode, message: string): void {
    this.#disposed = true;
    this.#wakes.dispose();
    this.#announcer.stop();
    for (const socket of this.#ctx.getWebSockets()) this.#refuse(socket, code, message);
    this.#ledger.give("kernels", this.#run.bytes);
    this.#ledger.give("rows", this.#run.rowBytes);
    this.#auditing?.dispose();
  }

  /** After a sleep: who is connected is what the attachments say. Those that still compute come first. */
  #rejoinAll(): number {
    for (const socket of this.#ctx.getWebSockets()) {
      const attachment = readAttachment(socket);
      if (attachment.phase !== "member") continue;
      const client = new Client(socket, attachment, this.#quotas.allowance(Date.now()));
      if (client.lease !== null) this.#quotas.expectResult(client.allowance);
      this.#sender.rejoin(client);
      this.#add(client);
    }
    const time = Date.now();
    const clients = [...this.#clients.values()].sort((a, b) => Number(a.lease === null) - Number(b.lease === null));
    for (const client of clients) {
      const { id, version, lease, capacity } = client;
      this.#advance({ type: "joined", time, client: id, version, lease, ...this.#auditable(client) });
      if (capacity !== null) this.#advance({ type: "capacity", time, client: id, microBatches: capacity });
    }
    this.#sender.send(clients);
    return clients.filter(({ lease }) => lease !== null).length;
  }

  async #take(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const attachment = readAttachment(socket);
    if (attachment.phase === "closed") return;
    if (typeof message === "string") throw new ProtocolError("bad-message", "messages are binary");
    const client = this.#clients.get(socket);
    this.#quotas.take(client?.allowance ?? null, attachment.quotaBlock ?? "", message.byteLength, Date.now());
    if (isFrame(message)) {
      if (client === undefined) throw new ProtocolError("hello-first", "the first message is hello");
      if (message.byteLength > MAX_FRAME_BYTES) {
        throw new ProtocolError(
          "frame-too-large",
          `a frame of ${message.byteLength} bytes, the limit is ${MAX_FRAME_BYTES}`,
        );
      }
      const since = performance.now();
      await this.#takeFrame(client, decodeFrame(message), since);
      return;
    }
    const decoded = decodeClientMessage(message);
    if (decoded.type === "hello") await this.#hello(socket, decoded);
    else if (client === undefined)
      throw new ProtocolError("hello-first", `the first message is hello, not ${decoded.type}`);
    else this.#takeMessage(client, decoded);
  }

  #takeMessage(client: Client, message: Exclude<ClientMessage, { type: "hello" }>): void {
    const time = Date.now();
    switch (message.type) {
      case "ready":
        this.#ready(client, message.version, time);
        break;
      case "capacity":
        client.capacity = message.microBatches;
        if (message.microBatches === 0) {
          // Given back: after a sleep it would be waited for.
          client.leases.clear();
          this.#uploads.drop(client);
        }
        this.#advance({ type: "capacity", time, client: client.id, microBatches: message.microBatches });
        this.#sender.send([client]);
        client.remember();
        this.#announce(false);
        break;
      case "failed":
        client.leases.delete(message.lease);
        this.#uploads.drop(client);
        this.#advance({ type: "failed", time, client: client.id, lease: message.lease });
        client.remember();
        break;
      case "leave":
        this.gone(client.socket);
        writeAttachment(client.socket, { phase: "closed" });
        client.socket.close(1000, "left");
        break;
      case "forget":
        this.#erase(client);
        break;
      default:
        message satisfies never;
    }
  }

  /** Deletes who this client is. What it added stays in the totals, also of the open piece, under no one. */
  #erase(client: Client): void {
    this.#store.forgetMember(client.id);
    client.isForgotten = true;
    for (const contributor of this.#gains.keys()) if (contributor.id === client.id) contributor.isForgotten = true;
    this.#send(client, { type: "forgotten" });
    this.gone(client.socket);
    this.#auditing?.desk.forget(client.id);
    writeAttachment(client.socket, { phase: "closed" });
    client.socket.close(1000, "forgotten");
  }

  async #hello(socket: WebSocket, hello: Extract<ClientMessage, { type: "hello" }>): Promise<void> {
    if (this.#clients.has(socket)) throw new ProtocolError("bad-message", "hello was said already");
    if (this.#clients.size >= MAX_CLIENTS) {
      throw new ProtocolError("too-many-clients", `this session has ${MAX_CLIENTS} clients, its limit`);
    }
    const { engine, device } = hello;
    if ((hello.client === undefined) !== (hello.resumeKey === undefined)) {
      throw new ProtocolError("bad-message", "client and resumeKey go together");
    }
    const attachment = readAttachment(socket);
    const { block = "", quotaBlock = "", checked } = attachment.phase === "new" ? attachment : {};
    const id = this.#identityOf(hello.client, checked);
    const resumeKey = hello.resumeKey ?? randomHex(16);
    const keyHash = await sha256Hex(resumeKey);
    const member = this.#store.member(id);
    const connected = this.#byId.get(id) ?? null;
    const known = connected?.keyHash ?? member?.keyHash;
    if (known !== undefined && !sameHash(known, keyHash)) {
      if (id !== hello.client) {
        throw new ProtocolError("not-invited", "token-used: this check has let somebody else in: pass it again");
      }
      throw new ProtocolError("wrong-resume-key", "this identity has another resume key");
    }
    if (this.#auditing?.isBanned(id, block) === true) {
      throw new ProtocolError("banned", "results from here were not those of others: this session takes no more");
    }
    if (connected !== null) {
      this.#forget(connected);
      this.#refuse(connected.socket, "replaced", "another socket took over this identity");
    }
    const attached: MemberAttachment = {
      phase: "member",
      id,
      keyHash,
      block,
      quotaBlock,
      engine,
      device,
      name: hello.name === undefined ? (connected?.name ?? member?.name ?? "") : publicName(hello.name),
      version: null,
      sent: null,
      capacity: null,
      lease: null,
      samples: member?.samples ?? 0,
    };
    const client = new Client(socket, attached, this.#quotas.allowance(Date.now()));
    this.#add(client);
    client.remember();
    const { step, version } = this.#run.state;
    this.#send(client, { type: "welcome", client: id, resumeKey, step, version });
    this.#quotas.expectAnswer(client.allowance);
    this.#post(client, encodeProgress(this.progress()));
    if (isOver(this.#run.state)) {
      this.#end(client);
      return;
    }
    const audit = this.#auditable(client);
    this.#advance({ type: "joined", time: Date.now(), client: id, version: null, lease: null, ...audit });
    this.#announce(false);
  }

  /**
   * Who says hello: whom it says it is, or somebody new. Who passed a check is somebody new once, under the one id of that check, and
   * may come back as whoever it was before.
   */
  #identityOf(claimed: string | undefined, checked: string | undefined): string {
    if (checked === undefined) return claimed ?? randomHex(16);
    const isKnown = claimed !== undefined && (this.#byId.get(claimed) ?? this.#store.member(claimed)) !== null;
    return isKnown ? claimed : checked;
  }

  /** What audits know of a client, for the round. */
  #auditable(client: Client): { readonly audit?: Auditable } {
    return this.#auditing === null ? {} : { audit: this.#auditing.auditable(client) };
  }

  #ready(client: Client, version: number, time: number): void {
    if (version > this.#run.state.version) {
      throw new ProtocolError(
        "bad-message",
        `version ${version} does not exist, the current one is ${this.#run.state.version}`,
      );
    }
    const { unconfirmed } = this.#run.state;
    if (unconfirmed !== null && unconfirmed !== client.id) {
      // What nobody could confirm can be computed by somebody else now.
      this.#run.setStatus("running", "", time);
      this.#advance({ type: "control", time, action: "resume" });
      this.#announce(true);
    }
    if (client.sent !== null && version >= client.sent) this.#sender.settle(client);
    client.version = Math.max(version, client.version ?? 0);
    this.#advance({ type: "ready", time, client: client.id, version: client.version });
    this.#sender.send([client]);
    client.remember();
    this.#run.checkpointIfDue();
  }

  async #takeFrame(client: Client, frame: Frame, since: number): Promise<void> {
    const lease = client.leases.get(frame.lease);
    const isLast = frame.offset + frame.payload.byteLength === frame.total;
    if (lease === undefined) {
      // Nothing of it is kept; the sender learns why with its last frame.
      if (isLast) this.#receipt(client, frame.lease, this.#whyUnknown(client, frame));
      return;
    }
    if (frame.version !== lease.version || frame.step !== lease.step) {
      if (isLast) this.#receipt(client, frame.lease, "stale");
      return;
    }
    this.#admission.checkHeader(lease, frame);
    if (!this.#uploads.hasRoom(client, frame)) {
      // More had to wait for work than there is memory for results: somebody else, or the same one later, does it.
      client.leases.delete(lease.id);
      this.#advance({ type: "failed", time: Date.now(), client: client.id, lease: lease.id });
      client.remember();
      return;
    }
    const body = this.#uploads.assemble(client, frame);
    if (body === null) {
      this.#tally.lap("admit", since);
      return;
    }
    client.leases.delete(lease.id);
    client.answered = lease.id;
    const contribution = this.#admission.read(lease, frame, body);
    this.#tally.lap("admit", since);
    // Robust aggregation bears so many of them by itself.
    const claim = this.#run.isRobust ? null : this.#run.nonFinite(contribution);
    if (claim !== null) {
      this.#uploads.drop(client);
      this.#takeClaim(client, lease, claim);
      client.remember();
      return;
    }
    const result = {
      type: "result",
      client: client.id,
      lease: lease.id,
      version: frame.version,
      step: frame.step,
    } as const;
    const evidence = this.#evidence(client, lease, contribution);
    // Its frames are added before anything else can happen, and a lease that follows is granted memory of its own.
    this.#uploads.drop(client);
    await this.#decide(client, { ...result, time: Date.now(), ...evidence }, contribution);
    client.remember();
    this.#sender.sendToUnserved();
  }

  /**
   * A client says that a gradient is not finite. One alone may be mistaken, or lie: somebody else computes the same before the session
   * pauses. Where nobody else is there it pauses at once, and goes on when somebody comes.
   */
  #takeClaim(client: Client, lease: Lease, claim: string): void {
    const time = Date.now();
    if (lease.version !== this.#run.state.version || !this.#round.leases.has(lease.id)) {
      this.#receipt(client, lease.id, "stale");
      return;
    }
    this.#receipt(client, lease.id, "disputed");
    const isRepeated = this.#claims.has(client.id);
    this.#claims.add(client.id);
    const isConfirmed = this.#claims.size > 1;
    if (isConfirmed) {
      this.#pause(`${claim}, by ${this.#claims.size} clients: try a smaller learning rate, or clipping`, time);
      this.#claims.clear();
    } else if (isRepeated && isAlone(this.#round, client.id)) {
      this.#pause(`${claim}, by one client, and nobody else was there to confirm it`, time, client.id);
    } else {
      this.#log("warn", "not-finite", { client: client.id.slice(0, 8), lease: lease.id });
      this.#advance({ type: "disputed", time, client: client.id, lease: lease.id });
    }
  }

  /** Of a result that is compared with somebody else's. */
  #evidence(client: Client, lease: Lease, contribution: Admitted): { readonly evidence?: Evidence } {
    if (this.#auditing?.desk.isDoubled(lease.id) !== true) return {};
    const grid = lease.work === "train" ? this.#run.grid : null;
    return { evidence: this.#auditing.evidence(client, contribution, grid) };
  }

  #whyUnknown(client: Client, frame: Frame): DropReason {
    if (frame.version !== this.#run.state.version || frame.step !== this.#run.state.step) return "stale";
    return client.answered === frame.lease ? "duplicate" : "foreign";
  }

  #receipt(client: Client, lease: number, reason: NotUsed | "", samples = 0): void {
    this.#results[reason === "" ? "accepted" : reason] += 1;
    this.#send(client, { type: "receipt", lease, accepted: reason === "", reason, samples });
  }

  /** Lets the round judge a result, and uses the contribution if it is the first. */
  async #decide(client: Client, event: Extract<RoundEvent, { type: "result" }>, contribution: Admitted): Promise<void> {
    const ends: RoundEffect[] = [];
    const from = this.#round.leases.get(event.lease)?.lease.from ?? 0;
    if (wouldAccept(this.#round, event) && !this.#run.add(contribution, client.id, from)) {
      throw new ProtocolError("bad-frame", `a sum is larger than ${contribution.microBatches} micro-batches come to`);
    }
    for (const effect of advance(this.#round, event)) {
      if (effect.type === "accept") {
        client.contributed = event.version;
        this.#credit(client, contribution.samples, false);
        this.#receipt(client, effect.lease.id, "", contribution.samples);
      } else if (effect.type === "compared") {
        // It is work like any other, and is answered like any other.
        client.contributed = event.version;
        this.#credit(client, contribution.samples, true);
        this.#receipt(client, effect.lease.id, "", contribution.samples);
      } else if (effect.type === "drop") this.#receipt(client, effect.lease, effect.reason);
      else if (effect.type === "complete" || effect.type === "convict") ends.push(effect);
      else this.#carryOut(effect);
    }
    // Last: the next piece's own effects, such as its deadlines, come after this one's.
    for (const effect of ends) await this.#endPiece(effect);
  }

  /** The open piece is over: made durable, or begun again. */
  async #endPiece(effect: RoundEffect): Promise<void> {
    if (effect.type === "complete") await this.#complete(effect.work);
    else if (effect.type === "convict") this.#convict(effect.clients);
  }

  #credit(client: Client, samples: number, isRepeated: boolean): void {
    const gain = this.#gains.get(client) ?? { samples: 0, shards: 0, repeated: 0 };
    this.#gains.set(client, {
      samples: gain.samples + samples,
      shards: gain.shards + 1,
      repeated: gain.repeated + (isRepeated ? samples : 0),
    });
  }

  /** Bans who sent wrong results, and begins the open piece again without them. */
  #convict(ids: readonly string[]): void {
    const time = Date.now();
    const suspect = ids.map((id) => this.#auditing?.desk.standing(id).suspectSince ?? this.#run.state.step);
    this.#run.discard();
    this.#run.rollBack(Math.min(...suspect), time);
    this.#store.ban(this.#auditing?.desk.takeChanges() ?? [], time);
    for (const id of ids) {
      const client = this.#byId.get(id);
      if (client !== undefined) this.#refuse(client.socket, "banned", "results were not those of others");
    }
    for (const client of this.#clients.values()) this.#uploads.drop(client);
    this.#gains.clear();
    this.#lastTrain = this.#store.lastMetric("train");
    const { stage, step, version } = this.#run.state;
    this.#sender.choose(this.#clients.values());
    this.#advance({ type: "restarted", time, stage, step, version, ahead: [] });
    this.#sender.sendChosen();
    this.#announce(true);
  }

  async #complete(work: Work): Promise<void> {
    const time = Date.now();
    const gains: MemberGain[] = [];
    for (const [{ id, keyHash, engine, device, name }, gain] of this.#gains)
      gains.push({ id, keyHash, engine, device, name, ...gain });
    const { samples } = this.#run;
    await this.#run.complete(work, time, gains, this.#auditing?.desk.takeChanges());
    for (const claimant of this.#claims) {
      this.#store.note(
        time,
        "contradicted",
        `client ${claimant.slice(0, 8)} said that a gradient is not finite; it is`,
      );
    }
    this.#claims.clear();
    this.#run.pauseIfFull(this.#storageLimit, time);
    // Whatever is still under way answers the piece that is done.
    for (const client of this.#clients.values()) this.#uploads.drop(client);
    for (const [client, gain] of this.#gains) {
      client.samples += gain.samples;
      // Its samples are in the piece's own figures; of itself nothing is to stay.
      if (client.isForgotten) this.#store.forgetMember(client.id);
    }
    this.#gains.clear();
    this.#measure(work, samples, time);
    const { stage, step, version, status } = this.#run.state;
    if (status === "failed") {
      this.#advance({ type: "control", time, action: "fail" });
      this.#announce(true);
      return;
    }
    if (work === "train") this.#lastTrain = this.#store.lastMetric("train");
    if (work === "validate") this.#lastValidation = this.#store.lastMetric("validate");
    if (status === "paused") {
      // It paused itself: the piece is done, and no other one is to be handed out.
      this.#log("warn", "paused", { reason: this.#run.state.reason });
      this.#advance({ type: "control", time, action: "pause" });
    }
    this.#sender.choose(this.#clients.values());
    const ahead = this.#sender.chosenAhead();
    this.#advance({ type: "committed", time, stage, step, version, ahead: ahead.map(({ id }) => id) });
    for (const client of ahead) if (client.lease?.version !== version) this.#uploads.drop(client);
    // A piece at the same version brings no broadcast: these are clients that were behind.
    this.#sender.sendChosen();
    this.#announce(stage === "done" || status === "paused");
    if (stage === "done") for (const client of [...this.#clients.values()]) this.#end(client);
  }

  #measure(work: string, samples: number, time: number): void {
    if (work === "train" && this.#committedAt > 0 && time > this.#committedAt) {
      const measured = (samples * 1000) / (time - this.#committedAt);
      const weight = this.#samplesPerSecond === 0 ? 1 : SPEED_MEMORY;
      this.#samplesPerSecond += weight * (measured - this.#samplesPerSecond);
    }
    this.#committedAt = time;
  }

  #advance(event: RoundEvent): void {
    const ends: RoundEffect[] = [];
    for (const effect of advance(this.#round, event)) {
      // Everything was in, and whoever was still to be compared with it will not be.
      if (effect.type === "complete" || effect.type === "convict") ends.push(effect);
      else this.#carryOut(effect);
    }
    for (const effect of ends) this.#ctx.waitUntil(this.#endAlone(effect));
  }

  /** Ends a piece where no message waits for it. */
  async #endAlone(effect: RoundEffect): Promise<void> {
    try {
      await this.#endPiece(effect);
    } catch (error) {
      this.#startAgain(error);
    }
  }

  #startAgain(error: unknown): void {
    startAgain(this.#ctx, error, { session: this.#session, step: this.#run.state.step });
  }

  #carryOut(effect: RoundEffect): void {
    switch (effect.type) {
      case "assign":
        this.#assign(effect.client, effect.lease);
        break;
      case "revoke": {
        const client = this.#byId.get(effect.client);
        if (client === undefined) break;
        client.leases.delete(effect.lease);
        this.#uploads.drop(client);
        this.#send(client, { type: "revoke", lease: effect.lease });
        break;
      }
      case "broadcast":
        this.#sender.sendChosen();
        break;
      case "wake":
        this.#wakes.tickAt(this.#disposed || isOver(this.#run.state) ? null : effect.time);
        break;
      case "accept":
      case "compared":
      case "convict":
      case "drop":
      case "complete":
        // Only a result brings these, and `#decide` has dealt with them.
        throw new Error(`the round said ${effect.type} without a result`);
      default:
        effect satisfies never;
    }
  }

  #assign(id: string, lease: Lease): void {
    const client = this.#byId.get(id);
    if (client === undefined) return;
    // Leases of other versions can no longer be answered usefully.
    for (const held of client.leases.values()) if (held.version !== lease.version) client.leases.delete(held.id);
    client.leases.set(lease.id, lease);
    this.#quotas.expectResult(client.allowance);
    this.#uploads.grant(client);
    client.remember();
    const { id: number, work, step, version, from, to } = lease;
    this.#send(client, { type: "assign", lease: number, work, step, version, from, to });
  }

  /** Where nobody is here, or nothing is left to do, nothing may wake this object any more but the end of its retention. */
  #restIfIdle(): void {
    const over = isOver(this.#run.state);
    if (!over && (this.#clients.size > 0 || this.#wakes.isWanted)) return;
    const until = over && this.#retention !== null ? this.#store.lastEventAt() + this.#retention : null;
    if (this.#wakes.rest(until)) this.#announcer.stop();
  }

  /** Tells a client that there is nothing left to do. */
  #end(client: Client): void {
    this.#post(client, encodeProgress(this.progress()));
    const { socket } = client;
    this.#forget(client);
    this.#refuse(socket, "finished", "training is over");
  }

  /** Progress to everyone who is connected, at most a few times a second. */
  #announce(pressing: boolean): void {
    this.#restIfIdle();
    this.#onChange(this.#run.state, pressing);
    this.#announcer.announce(this.#clients.size, pressing);
  }

  #sendProgress(): void {
    if (this.#clients.size === 0) return;
    const message = encodeProgress(this.progress());
    for (const client of this.#clients.values()) this.#post(client, message);
  }

  #send(client: Client, message: CoordinatorMessage): void {
    this.#post(client, encodeMessage(message));
  }

  /** A socket that closed a moment ago refuses to send; its close event is on the way and does the rest. */
  #post(client: Client, bytes: Uint8Array<ArrayBuffer>): void {
    if (client.socket.readyState !== WebSocket.OPEN) return;
    client.socket.send(bytes);
    this.#tally.sent(bytes.byteLength);
  }

  #add(client: Client): void {
    this.#clients.set(client.socket, client);
    this.#byId.set(client.id, client);
  }

  #forget(client: Client): void {
    this.#sender.forget(client);
    this.#uploads.drop(client);
    this.#clients.delete(client.socket);
    if (this.#byId.get(client.id) === client) this.#byId.delete(client.id);
  }

  /** Says what is wrong, and closes. */
  #refuse(socket: WebSocket, code: ProtocolErrorCode, message: string): void {
    this.#refusals.count(code);
    this.#tellRefusals();
    this.gone(socket);
    writeAttachment(socket, { phase: "closed" });
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(encodeMessage({ type: "error", code, message: message.slice(0, 500) }));
    socket.close(PROTOCOL_ERRORS[code].close, code);
  }

  #tellRefusals(): void {
    if (this.#disposed || isOver(this.#run.state)) return;
    const now = Date.now();
    const counts = this.#refusals.take(now);
    if (counts === null) return;
    this.#store.note(now, "refused", counts);
    this.#log("warn", "refused", { counts });
  }
}
