/**
 * The awake half of a session: clients and their sockets, the round, timers, pacing. Built from storage and attachments,
 * and dropped without a word when the object sleeps.
 */

import { hasPassed } from "../../shared/clock.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { evaluationSums, parameterLength } from "../../shared/graph/parameters.ts";
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
import { auditsOf } from "../../shared/session/audits.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { Work } from "../../shared/session/plan.ts";
import { type Auditable, AuditDesk, type Evidence, evidenceBytes, evidenceOf, NEWCOMER } from "../audit/index.ts";
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
import { type Refusal, refuse } from "./answer.ts";
import { type MemberAttachment, readAttachment, writeAttachment } from "./attachment.ts";
import { Client } from "./client.ts";
import { randomHex, randomKey, sameHash, sha256Hex } from "./identity.ts";
import type { Ledger } from "./ledger.ts";
import { type LogFields, log } from "./log.ts";
import { encodeProgress, MOST_SHOWN, mostContributed, progressInterval } from "./progress.ts";
import { Quotas } from "./quotas.ts";
import { storedProgress } from "./report.ts";
import { isOver } from "./retention.ts";
import { Run } from "./run.ts";
import { type Body, cutFrames, framedBytes } from "./sections.ts";
import { startAgain } from "./start-again.ts";
import { Tally, type TallyReport } from "./tally.ts";
import { Delivery, Upload } from "./upload.ts";

/** Waits of up to so many milliseconds use a timer, which keeps the object awake; longer ones an alarm, which does not. */
const TIMER_LIMIT = 2_000;
/** Bits of a lease's number below those that say which awakening gave it. */
const LEASE_BITS = 18;
const MAX_CLIENTS = 4096;
/** Weight of the newest step in samples per second. */
const SPEED_MEMORY = 0.2;

/** Most memory for the evidence of results that are computed twice. */
const AUDIT_BYTES = 4_000_000;
/** Banned identities of one address block after which it is let in no more. */
const BANS_OF_BLOCK = 8;

/** Who is sent weights: all of them, or what changed. */
interface Receivers {
  readonly whole: readonly Client[];
  readonly changed: readonly Client[];
}

const NOBODY: Receivers = { whole: [], changed: [] };

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

/** Refusals that are nobody's fault. */
const EXPECTED: ReadonlySet<ProtocolErrorCode> = new Set(["finished", "replaced", "deleted"]);
/** Milliseconds between two entries of the journal about refusals. */
const REFUSALS_INTERVAL = 10_000;

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
  readonly #clients = new Map<WebSocket, Client>();
  readonly #byId = new Map<string, Client>();
  /** Clients that are behind and found no memory free for their weights. */
  readonly #unserved = new Set<Client>();
  /** Who is about to be sent the version that was committed. */
  #receivers: Receivers = NOBODY;
  readonly #tally = new Tally();
  /** Clients that say of the open piece that a gradient of it is not finite. */
  readonly #claims = new Set<string>();
  readonly #refusals: Record<string, number> = {};
  /** Refusals that the journal was not told yet, by code. */
  #untold: Record<string, number> = {};
  #toldAt = 0;
  /** What each client added to the open piece. */
  readonly #gains = new Map<Client, { samples: number; shards: number; repeated: number }>();
  /** Null where nothing is computed twice. */
  readonly #desk: AuditDesk | null;
  readonly #referee: string | null;
  /** What evidence is made under. */
  readonly #evidenceKey = randomKey();
  /** Bytes of one weights transfer, headers included. */
  readonly #transferBytes: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #progressTimer: ReturnType<typeof setTimeout> | null = null;
  #progressAt = 0;
  /** When the round wants a tick, and when the alarm is set to ring: the same time or earlier. */
  #wakeAt: number | null = null;
  #alarmAt: number | null = null;
  /** While nothing is waited for: when retention ends, null for never. Undefined while something is, or may be. */
  #restsUntil: number | null | undefined = undefined;
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
    const parameters = parameterLength(definition.graph);
    this.#transferBytes = framedBytes(weightsLayout(blockCount(parameters), parameters).total);
    this.#admission = new Admission(definition, this.#run.plan);
    this.#quotas = new Quotas(quotaFactor, this.#admission.largestBody, Date.now());
    this.#lastTrain = store.lastMetric("train");
    this.#lastValidation = store.lastMetric("validate");
    const { stage, step, version, status } = this.#run.state;
    const replayed = step - stored.checkpointStep;
    const incarnation = store.nextIncarnation();
    const nextLease = ((incarnation << LEASE_BITS) >>> 0) + 1;
    const audits = auditsOf(definition);
    this.#referee = audits?.referee ?? null;
    const size = evidenceBytes(blockCount(parameters), evaluationSums(definition.graph));
    const most = Math.floor(AUDIT_BYTES / (2 * size));
    if (audits !== null && !ledger.take("audits", AUDIT_BYTES)) {
      throw new Error(`audits need ${AUDIT_BYTES} bytes, ${ledger.free} are free`);
    }
    this.#desk = audits === null ? null : new AuditDesk({ ...audits, key: randomKey(), most });
    const desk = this.#desk === null ? {} : { audits: this.#desk };
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
      audits: this.#desk?.counts ?? null,
      ...this.counts(),
    };
  }

  counts(): LiveCounts {
    return { results: this.#results, refusals: this.#refusals, tally: this.#tally.report() };
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
    this.#sendWeights([]);
    this.#announce(false);
  }

  /** The alarm rang: a tick, and the next alarm if one is wanted. */
  alarm(): void {
    this.#alarmAt = null;
    this.#tick();
  }

  #tick(): void {
    this.#advance({ type: "tick", time: Date.now() });
    // It may have come a little early, and nothing changed by it.
    if (this.#wakeAt !== null && this.#wakeAt > Date.now()) this.#wakeLater(this.#wakeAt);
  }

  dispose(code: ProtocolErrorCode, message: string): void {
    this.#disposed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#progressTimer !== null) clearTimeout(this.#progressTimer);
    for (const socket of this.#ctx.getWebSockets()) this.#refuse(socket, code, message);
    this.#ledger.give("kernels", this.#run.bytes);
    this.#ledger.give("rows", this.#run.rowBytes);
    if (this.#desk !== null) this.#ledger.give("audits", AUDIT_BYTES);
  }

  /** After a sleep: who is connected is what the attachments say. Those that still compute come first. */
  #rejoinAll(): number {
    for (const socket of this.#ctx.getWebSockets()) {
      const attachment = readAttachment(socket);
      if (attachment.phase !== "member") continue;
      const client = new Client(socket, attachment, this.#quotas.allowance(Date.now()));
      if (client.lease !== null) this.#quotas.expectResult(client.allowance);
      if (client.sent !== null) this.#quotas.expectAnswer(client.allowance);
      // What was sent before the sleep is still under way to its socket.
      if (client.sent !== null && !this.#ledger.take("downlinks", this.#transferBytes)) client.sent = null;
      if (client.sent !== null) client.sentBytes = this.#transferBytes;
      this.#add(client);
    }
    const time = Date.now();
    const clients = [...this.#clients.values()].sort((a, b) => Number(a.lease === null) - Number(b.lease === null));
    for (const client of clients) {
      const { id, version, lease, capacity } = client;
      this.#advance({ type: "joined", time, client: id, version, lease, ...this.#auditable(client) });
      if (capacity !== null) this.#advance({ type: "capacity", time, client: id, microBatches: capacity });
    }
    this.#sendWeights(clients);
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
          this.#dropUpload(client);
        }
        this.#advance({ type: "capacity", time, client: client.id, microBatches: message.microBatches });
        this.#sendWeights([client]);
        client.remember();
        this.#announce(false);
        break;
      case "failed":
        client.leases.delete(message.lease);
        this.#dropUpload(client);
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
    this.#desk?.forget(client.id);
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
    if (this.#isBanned(id, block)) {
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

  #isBanned(id: string, block: string): boolean {
    if (this.#desk === null) return false;
    if (this.#store.standing(id)?.isBanned === true) return true;
    return block !== "" && this.#store.bannedIn(block) >= BANS_OF_BLOCK;
  }

  /** What audits know of a client, for the round. */
  #auditable({ id, block, keyHash }: Client): { readonly audit?: Auditable } {
    if (this.#desk === null) return {};
    const isReferee = this.#referee !== null && sameHash(keyHash, this.#referee);
    return { audit: { block, standing: this.#store.standing(id) ?? NEWCOMER, isReferee } };
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
    if (client.sent !== null && version >= client.sent) this.#acknowledge(client);
    client.version = Math.max(version, client.version ?? 0);
    this.#advance({ type: "ready", time, client: client.id, version: client.version });
    this.#sendWeights([client]);
    client.remember();
    this.#run.checkpointIfDue();
  }

  #acknowledge(client: Client): void {
    if (client.sent === null) return;
    client.sent = null;
    this.#ledger.give("downlinks", client.sentBytes);
  }

  /**
   * Sends the newest weights to those of the clients that have older ones and nothing unacknowledged under way, as far as there is
   * memory: what changed to those that have the version before, all to others. Who pauses gets none: it would not acknowledge
   * them, and the memory would be missing. Whoever has not contributed for longest comes first: else, where there are more
   * clients than memory serves at a time, the same ones would go without step after step.
   */
  #sendWeights(clients: Iterable<Client>): void {
    this.#transfer(this.#chooseReceivers(clients));
  }

  /** Those who are to be sent the newest weights, with the memory for it taken. */
  #chooseReceivers(clients: Iterable<Client>): Receivers {
    const whole: Client[] = [];
    const changed: Client[] = [];
    const { version, stage } = this.#run.state;
    if (stage === "done") return { whole, changed };
    const waiting = [...new Set([...this.#unserved, ...clients])].filter(
      (client) => client.version !== null && client.version < version && client.sent === null && client.capacity !== 0,
    );
    this.#unserved.clear();
    if (waiting.length === 0) return { whole, changed };
    const change = this.#run.change();
    const changeBytes = change === null ? 0 : framedBytes(change.total);
    // Room for one result stays free: who gets a lease without weights of its own before it needs memory, too.
    let room = this.#ledger.free - this.#admission.largestUpload;
    if (waiting.length * this.#transferBytes > room) waiting.sort((a, b) => a.contributed - b.contributed);
    for (const client of waiting) {
      const hasBefore = change !== null && client.version === version - 1;
      const bytes = hasBefore ? changeBytes : this.#transferBytes;
      if (bytes > room) {
        this.#unserved.add(client);
        continue;
      }
      room -= bytes;
      this.#ledger.take("downlinks", bytes);
      client.sent = version;
      client.sentBytes = bytes;
      (hasBefore ? changed : whole).push(client);
    }
    return { whole, changed };
  }

  #sendReceivers(): void {
    const receivers = this.#receivers;
    this.#receivers = NOBODY;
    this.#transfer(receivers);
  }

  #transfer({ whole, changed }: Receivers): void {
    if (whole.length + changed.length === 0) return;
    const since = performance.now();
    const { version, step } = this.#run.state;
    const change = changed.length === 0 ? null : this.#run.change();
    const header = { kind: "weights", version, step, lease: 0, clamped: 0, loss: 0n, weight: 0n } as const;
    if (change !== null) this.#broadcast(changed, cutFrames({ ...header, codec: "sparse" }, change));
    this.#broadcast(whole, cutFrames({ ...header, codec: "float32" }, this.#run.weights()));
    this.#tally.lap("broadcast", since);
  }

  /** Frame by frame and not client by client: each is made once, and there is one of them at a time. */
  #broadcast(receivers: readonly Client[], frames: Iterable<Uint8Array<ArrayBuffer>>): void {
    if (receivers.length === 0) return;
    for (const frame of frames) for (const client of receivers) this.#post(client, frame);
    for (const client of receivers) {
      client.remember();
      this.#quotas.expectAnswer(client.allowance);
    }
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
    if (!this.#hasRoom(client, frame)) {
      // More had to wait for work than there is memory for results: somebody else, or the same one later, does it.
      client.leases.delete(lease.id);
      this.#advance({ type: "failed", time: Date.now(), client: client.id, lease: lease.id });
      client.remember();
      return;
    }
    const body = this.#assemble(client, frame);
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
      this.#dropUpload(client);
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
    this.#dropUpload(client);
    await this.#decide(client, { ...result, time: Date.now(), ...evidence }, contribution);
    client.remember();
    if (this.#unserved.size > 0) this.#sendWeights([]);
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
  #evidence({ engine }: Client, lease: Lease, contribution: Admitted): { readonly evidence?: Evidence } {
    if (this.#desk?.isDoubled(lease.id) !== true) return {};
    const grid = lease.work === "train" ? this.#run.grid : null;
    return { evidence: evidenceOf(this.#evidenceKey, contribution, grid, engine === "wasm") };
  }

  #whyUnknown(client: Client, frame: Frame): DropReason {
    if (frame.version !== this.#run.state.version || frame.step !== this.#run.state.step) return "stale";
    return client.answered === frame.lease ? "duplicate" : "foreign";
  }

  /** Whether there is memory to keep a frame until its result is whole. */
  #hasRoom(client: Client, { payload, total }: Frame): boolean {
    return payload.byteLength === total || this.#grant(client);
  }

  /** The whole body once it is there; at most one that is not is kept a client. */
  #assemble(client: Client, frame: Frame): Delivery | null {
    if (frame.payload.byteLength === frame.total) return new Delivery([frame.payload]);
    if (client.upload === null || frame.offset === 0) client.upload = new Upload(frame);
    return client.upload.add(frame);
  }

  /** Memory for a result of several frames, for as long as its client has a lease: frames come without being asked for. */
  #grant(client: Client): boolean {
    const { largestUpload } = this.#admission;
    if (client.granted === 0 && this.#ledger.take("uploads", largestUpload)) client.granted = largestUpload;
    return client.granted === largestUpload;
  }

  #dropUpload(client: Client): void {
    client.upload = null;
    this.#ledger.give("uploads", client.granted);
    client.granted = 0;
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
    const suspect = ids.map((id) => this.#desk?.standing(id).suspectSince ?? this.#run.state.step);
    this.#run.discard();
    this.#run.rollBack(Math.min(...suspect), time);
    this.#store.ban(this.#desk?.takeChanges() ?? [], time);
    for (const id of ids) {
      const client = this.#byId.get(id);
      if (client !== undefined) this.#refuse(client.socket, "banned", "results were not those of others");
    }
    for (const client of this.#clients.values()) this.#dropUpload(client);
    this.#gains.clear();
    this.#lastTrain = this.#store.lastMetric("train");
    const { stage, step, version } = this.#run.state;
    this.#receivers = this.#chooseReceivers(this.#clients.values());
    this.#advance({ type: "restarted", time, stage, step, version, ahead: [] });
    this.#sendReceivers();
    this.#announce(true);
  }

  async #complete(work: Work): Promise<void> {
    const time = Date.now();
    const gains: MemberGain[] = [];
    for (const [{ id, keyHash, engine, device, name }, gain] of this.#gains)
      gains.push({ id, keyHash, engine, device, name, ...gain });
    const { samples } = this.#run;
    await this.#run.complete(work, time, gains, this.#desk?.takeChanges());
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
    for (const client of this.#clients.values()) this.#dropUpload(client);
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
    this.#receivers = this.#chooseReceivers(this.#clients.values());
    const ahead = this.#chooseAhead(this.#receivers);
    this.#advance({ type: "committed", time, stage, step, version, ahead: ahead.map(({ id }) => id) });
    for (const client of ahead) if (client.lease?.version !== version) this.#dropUpload(client);
    // A piece at the same version brings no broadcast: these are clients that were behind.
    this.#sendReceivers();
    this.#announce(stage === "done" || status === "paused");
    if (stage === "done") for (const client of [...this.#clients.values()]) this.#end(client);
  }

  /** Receivers that can be given work with the weights: those for whose result there is memory as well, and for one more. */
  #chooseAhead({ whole, changed }: Receivers): Client[] {
    const { largestUpload } = this.#admission;
    // Where memory is short it is for weights first: they serve more clients.
    if (this.#unserved.size > 0) return [];
    return [...changed, ...whole].filter((client) => this.#ledger.free >= 2 * largestUpload && this.#grant(client));
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

  /** What a timer does, for which nobody else answers. */
  #later(act: () => void, wait: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      try {
        act();
      } catch (error) {
        this.#startAgain(error);
      }
    }, wait);
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
        this.#dropUpload(client);
        this.#send(client, { type: "revoke", lease: effect.lease });
        break;
      }
      case "broadcast":
        this.#sendReceivers();
        break;
      case "wake":
        this.#wakeLater(effect.time);
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
    this.#grant(client);
    client.remember();
    const { id: number, work, step, version, from, to } = lease;
    this.#send(client, { type: "assign", lease: number, work, step, version, from, to });
  }

  /** Deadlines move on with every step, so an alarm that rings too early is left alone: it costs less than setting it anew. */
  #wakeLater(time: number | null): void {
    this.#wakeAt = time;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (time === null || this.#disposed || isOver(this.#run.state)) return;
    this.#restsUntil = undefined;
    const wait = time - Date.now();
    if (wait > TIMER_LIMIT) {
      if (this.#alarmAt !== null && this.#alarmAt <= time) return;
      this.#setAlarm(time);
      return;
    }
    this.#store.meter.keepAwake(Date.now(), time);
    this.#timer = this.#later(
      () => {
        this.#timer = null;
        this.#tick();
      },
      Math.max(0, wait),
    );
  }

  /** Where nobody is here, or nothing is left to do, nothing may wake this object any more but the end of its retention. */
  #restIfIdle(): void {
    const over = isOver(this.#run.state);
    if (!over && (this.#clients.size > 0 || this.#wakeAt !== null)) return;
    const until = over && this.#retention !== null ? this.#store.lastEventAt() + this.#retention : null;
    if (until === this.#restsUntil) return;
    for (const timer of [this.#timer, this.#progressTimer]) if (timer !== null) clearTimeout(timer);
    this.#timer = null;
    this.#progressTimer = null;
    this.#wakeAt = null;
    this.#restsUntil = until;
    this.#setAlarm(until);
  }

  #setAlarm(time: number | null): void {
    this.#alarmAt = time;
    // The platform bills either as a row.
    this.#store.meter.count("rowsWritten");
    if (time === null) void this.#ctx.storage.deleteAlarm();
    else void this.#ctx.storage.setAlarm(time);
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
    if (this.#clients.size === 0 || this.#progressTimer !== null) return;
    const now = Date.now();
    const interval = progressInterval(this.#clients.size);
    if (pressing || hasPassed(this.#progressAt, interval, now)) this.#sendProgress();
    else {
      const wait = this.#progressAt + interval - now;
      this.#store.meter.keepAwake(now, now + wait);
      this.#progressTimer = this.#later(() => {
        this.#progressTimer = null;
        this.#sendProgress();
      }, wait);
    }
  }

  #sendProgress(): void {
    if (this.#clients.size === 0) return;
    this.#progressAt = Date.now();
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
    this.#unserved.delete(client);
    this.#acknowledge(client);
    this.#dropUpload(client);
    this.#clients.delete(client.socket);
    if (this.#byId.get(client.id) === client) this.#byId.delete(client.id);
  }

  /** Says what is wrong, and closes. */
  #refuse(socket: WebSocket, code: ProtocolErrorCode, message: string): void {
    if (!EXPECTED.has(code)) this.#noteRefusal(code);
    this.gone(socket);
    writeAttachment(socket, { phase: "closed" });
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(encodeMessage({ type: "error", code, message: message.slice(0, 500) }));
    socket.close(PROTOCOL_ERRORS[code].close, code);
  }

  /** Told together: whoever is refused again and again must not fill the journal, nor keep a session that is over. */
  #noteRefusal(code: ProtocolErrorCode): void {
    this.#refusals[code] = (this.#refusals[code] ?? 0) + 1;
    this.#untold[code] = (this.#untold[code] ?? 0) + 1;
    const now = Date.now();
    if (!hasPassed(this.#toldAt, REFUSALS_INTERVAL, now) || this.#disposed || isOver(this.#run.state)) return;
    this.#toldAt = now;
    const counts = Object.entries(this.#untold).map(([name, count]) => `${count} ${name}`);
    this.#untold = {};
    this.#store.note(now, "refused", counts.join(", "));
    this.#log("warn", "refused", { counts: counts.join(", ") });
  }
}
