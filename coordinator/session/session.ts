/**
 * The Durable Object of one training session: sockets, timers and storage around the pure round, the optimizer and the
 * store. It decides nothing about training; it checks what arrives, says what the round says, and keeps count of bytes.
 *
 * Sockets hibernate: whatever is needed to go on is in SQLite and in the sockets' attachments, so any event may be the
 * first one after a sleep.
 */

import { DurableObject } from "cloudflare:workers";
import type { CheckpointHead } from "../../shared/checkpoint/head.ts";
import { hasPassed } from "../../shared/clock.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { weightsLayout } from "../../shared/protocol/frames.ts";
import type { Progress } from "../../shared/protocol/messages.ts";
import { ProtocolError, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { OPEN } from "../../shared/session/access.ts";
import { robustOf } from "../../shared/session/aggregation.ts";
import { costOf, type SessionCost } from "../../shared/session/cost.ts";
import { SESSION_LIMITS, type SessionDefinition } from "../../shared/session/definition.ts";
import { microBatchesPerStep, planRun } from "../../shared/session/plan.ts";
import { valueBytes } from "../aggregate/index.ts";
import { initialStates, ruleBytes } from "../optim/index.ts";
import { listSession, unlistSession } from "../store/listing.ts";
import { type RunState, type SessionRecord, SessionStore } from "../store/store.ts";
import { type Answer, answer, type Refusal, refuse, UNKNOWN_SESSION } from "./answer.ts";
import { writeAttachment } from "./attachment.ts";
import { receiveParts, refuseCheckpoint, sendCheckpoint } from "./checkpoint.ts";
import { Downloads } from "./downloads.ts";
import type { SessionEnv } from "./env.ts";
import type { SessionFigures } from "./figures.ts";
import { sha256Hex } from "./identity.ts";
import { firstWeights } from "./initial.ts";
import { Ledger } from "./ledger.ts";
import { Live } from "./live.ts";
import { errorFields, log } from "./log.ts";
import { comeBack, quotaFactorOf } from "./quotas.ts";
import { describeResult, idleProgress } from "./report.ts";
import { isOver, retentionOf } from "./retention.ts";
import { announcedOf, Run, rowsBytesOf, servedPart } from "./run.ts";
import { type Body, weightsBody } from "./sections.ts";
import { startAgain } from "./start-again.ts";
import { storageLimitOf } from "./storage-limit.ts";
import { askAgain, closedSocket, readVisitor, type Visitor } from "./visitor.ts";

/** Training steps in one answer of the metrics route; the reader asks again from the last one on. */
const METRICS_PAGE = 20_000;
/** Entries of the journal in one answer. */
const JOURNAL_SHOWN = 200;
/** Milliseconds between two writes of the session's entry in the list. */
const LISTING_INTERVAL = 60_000;
/** Milliseconds for a checkpoint to arrive; what came until then is deleted where it did not. */
const ARRIVAL_LIMIT = 600_000;
/** Milliseconds after which a reader of a checkpoint gives way to the next one. */
const READER_LIMIT = 120_000;

/** Tag of the sockets that came by a token. */
const INVITED = "invited";
/** Sockets are counted by the block of their address, also those that have not said hello. */
const tagOf = (block: string): string => `block ${block}`;
const MOST_SOCKETS_A_BLOCK = 512;
/** Somewhat more than a session's clients: some come while others are about to go. */
const MOST_SOCKETS = 4_608;

export class TrainingSession extends DurableObject<SessionEnv> {
  readonly #store: SessionStore;
  readonly #ledger = new Ledger();
  readonly #downloads = new Downloads(this.#ledger);
  #session: SessionRecord | null;
  #definition: SessionDefinition | null = null;
  #live: Live | null = null;
  #listedAt = 0;
  /** Since when a checkpoint is being read; null while none is. */
  #sendingSince: number | null = null;
  /** Writes to the list that are under way. */
  #listing: Promise<void> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: SessionEnv) {
    super(ctx, env);
    this.#store = new SessionStore(ctx.storage);
    this.#session = this.#store.open();
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** Makes this object a session. The definition and the manifest are canonical JSON, and were validated by the Worker. */
  async create(id: string, definition: string, manifest: string | null): Promise<Answer> {
    this.#called("requests");
    if (this.#session !== null) return refuse(409, "session-exists", "this id is taken");
    // The Worker read it from the bucket.
    if (manifest !== null) this.#store.meter.count("r2Reads");
    const parsed = JSON.parse(definition) as SessionDefinition;
    const definitionHash = await sha256Hex(definition);
    if (parsed.initialWeights !== undefined) this.#store.meter.count("r2Reads");
    const weights = await firstWeights(this.env.BUCKET, parsed);
    if (!(weights instanceof Float32Array)) return weights;
    // Others may have come while the bucket answered.
    if (this.#session !== null) return refuse(409, "session-exists", "this id is taken");
    const refused = refuseSize(parsed);
    if (refused !== null) return refused;
    const session: SessionRecord = { id, definition, definitionHash, manifest, createdAt: Date.now() };
    const state: RunState = {
      stage: "calibrate",
      status: "running",
      reason: "",
      step: 0,
      version: 1,
      envelope: new Uint8Array(0),
      checkpointStep: 0,
      checkpointEnvelope: new Uint8Array(0),
      best: null,
      weightsHash: null,
      bestHash: null,
      unconfirmed: null,
    };
    this.#store.create(session, state, { weights, ...initialStates(parsed, weights) });
    this.#session = session;
    await this.#list(session, state);
    return answer({ id, path: `/s/${id}` });
  }

  /**
   * Makes this object a session that goes on from a checkpoint. Its definition and its manifest are canonical JSON, and the
   * head was validated by the Worker; `body` are the bytes after the file's header.
   */
  async resume(id: string, head: CheckpointHead, body: ReadableStream<Uint8Array>): Promise<Answer> {
    this.#called("requests");
    if (this.#session !== null) return refuse(409, "session-exists", "this id is taken");
    const { definition, manifest, state } = head;
    const refused = refuseSize(JSON.parse(definition) as SessionDefinition);
    if (refused !== null) return refused;
    if (manifest !== null) this.#store.meter.count("r2Reads");
    // Whatever happens to this object meanwhile, nothing of a session that never came to be stays.
    await this.ctx.storage.setAlarm(Date.now() + ARRIVAL_LIMIT);
    let envelope: Uint8Array;
    try {
      envelope = await receiveParts(head, body, this.#store);
    } catch (error) {
      await this.ctx.storage.deleteAll();
      return refuseCheckpoint(error);
    }
    const definitionHash = await sha256Hex(definition);
    const session: SessionRecord = { id, definition, definitionHash, manifest, createdAt: Date.now() };
    const checkpoint = { checkpointStep: state.step, checkpointEnvelope: envelope };
    const run: RunState = { ...state, status: "running", reason: "", unconfirmed: null, envelope, ...checkpoint };
    this.#store.adopt(session, run, `session ${head.session}, step ${state.step}`);
    this.#session = session;
    await this.ctx.storage.deleteAlarm();
    await this.#list(session, run);
    return answer({ id, path: `/s/${id}`, step: state.step });
  }

  /** The session as clients read it before they join. */
  describe(): Answer {
    this.#called("requests");
    const session = this.#session;
    if (session === null) return UNKNOWN_SESSION;
    return {
      ok: true,
      // Both texts are JSON already.
      json: `{"id":"${session.id}","definition":${session.definition},"definitionHash":"${session.definitionHash}","manifest":${
        session.manifest ?? "null"
      },"parameters":${this.#parameters()},"progress":${JSON.stringify(this.#progress(session))},"cost":${JSON.stringify(this.#cost(session))},"createdAt":${
        session.createdAt
      }}`,
    };
  }

  async metrics(after: number): Promise<Answer> {
    this.#called("requests");
    if (this.#session === null) return UNKNOWN_SESSION;
    await this.#bringHash(this.#session);
    const { steps, evaluations } = this.#store.metrics(after, METRICS_PAGE);
    return answer({
      steps: steps.map(({ work: _work, clamped: _clamped, tables: _tables, ...metric }) => metric),
      evaluations: evaluations.map(({ work, step, loss, metrics, tables, time }) => {
        const held = Object.keys(tables).length === 0 ? {} : { tables };
        return { work, step, loss, metrics, ...held, time };
      }),
      more: steps.length === METRICS_PAGE,
      result: describeResult(this.#store, this.#state()),
    });
  }

  /** What happened, newest first. Free of secrets: members by the first characters of their public identity. */
  journal(): Answer {
    this.#called("requests");
    if (this.#session === null) return UNKNOWN_SESSION;
    return answer({ events: this.#store.journal(JOURNAL_SHOWN) });
  }

  /** What is counted, for metrics: nothing is woken for it. */
  figures(): SessionFigures | null {
    const session = this.#session;
    if (session === null) return null;
    this.#called("requests");
    const { status, stage, step, totalSteps, version, loss, samplesPerSecond, clientCount } = this.#progress(session);
    return {
      id: session.id,
      title: this.#read(session).title,
      progress: { status, stage, step, totalSteps, version, loss, samplesPerSecond, clientCount },
      awake: this.#live !== null,
      sockets: this.ctx.getWebSockets().length,
      ledger: this.#ledger.report(),
      databaseBytes: this.#store.databaseBytes,
      checkpointStep: this.#state().checkpointStep,
      usage: this.#store.usage(),
      live: this.#live?.counts() ?? null,
    };
  }

  /** Figures for operators: memory by account, the log, the members. */
  diagnostics(): Answer {
    this.#called("requests");
    if (this.#session === null) return UNKNOWN_SESSION;
    return answer({
      awake: this.#live !== null,
      ledger: this.#ledger.report(),
      sockets: this.ctx.getWebSockets().length,
      databaseBytes: this.#store.databaseBytes,
      log: this.#store.logSize(),
      checkpointStep: this.#state().checkpointStep,
      members: this.#store.members(),
      journal: this.#store.journal(JOURNAL_SHOWN),
      ...this.#live?.diagnostics(),
    });
  }

  /** The run's state and copies of its parameters, restored from storage if the object slept: what recovery must bring back. */
  snapshot(): ReturnType<Live["snapshot"]> | null {
    return this.#session === null ? null : this.#wake(this.#session).snapshot();
  }

  /** Pauses, resumes or stops the session; durable, so that it stays so after a restart. */
  control(action: "pause" | "resume" | "stop"): Answer {
    this.#called("requests");
    if (this.#session === null) return UNKNOWN_SESSION;
    const live = this.#wake(this.#session);
    const refused = this.#whole(() => live.control(action));
    return refused ?? answer({ progress: this.#progress(this.#session) });
  }

  /**
   * Counts chunks of the data set that the Worker read for this session's clients. Written down at once: the last of them
   * are reported when a short session is over, and writes nothing more.
   */
  countReads(chunks: number): void {
    this.#called("requests");
    this.#store.meter.count("r2Reads", chunks);
    if (this.#session !== null) this.#store.saveUsage();
  }

  /** Generation of the tokens that are good; null where there is no session. */
  generation(): number | null {
    this.#called("requests");
    return this.#session === null ? null : this.#store.generation();
  }

  /** Voids every token that was made so far, and sends those away who came by one. */
  revokeInvitations(): Answer {
    this.#called("requests");
    if (this.#session === null) return UNKNOWN_SESSION;
    const generation = this.#store.nextGeneration(Date.now());
    const invited = this.ctx.getWebSockets(INVITED);
    const live = invited.length === 0 ? null : this.#wake(this.#session);
    this.#whole(() => {
      for (const socket of invited)
        live?.sendAway(socket, "not-invited", "token-revoked: this invitation was taken back");
    });
    return answer({ generation, closed: invited.length });
  }

  /** Deletes everything, its entry in the list included. Clients are told, and their sockets close. */
  async remove(): Promise<Answer> {
    const session = this.#session;
    if (session === null) return UNKNOWN_SESSION;
    const live = this.#wake(session);
    // From here on nothing is listed, and nobody is let in.
    this.#session = null;
    this.#definition = null;
    this.#live = null;
    live.dispose("deleted", "the session was deleted");
    try {
      await this.#listing;
      await unlistSession(this.env.BUCKET, session.id);
      await this.ctx.storage.deleteAlarm();
      await this.ctx.storage.deleteAll();
    } catch (error) {
      // Still there, so that it can be tried again.
      this.#session = session;
      throw error;
    }
    return answer({ id: session.id, deleted: true });
  }

  /** Internal addresses: `/socket`, `/checkpoint` and `/weights/<latest | best | version>`. */
  override async fetch(request: Request): Promise<Response> {
    this.#called("requests");
    const session = this.#session;
    if (session === null) return refusal(UNKNOWN_SESSION);
    const { pathname } = new URL(request.url);
    if (pathname === "/socket") return this.#accept(session, readVisitor(request));
    if (pathname === "/checkpoint") return this.#checkpoint(session);
    return this.#weights(session, decodeURIComponent(pathname.slice("/weights/".length)));
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    // A message that is lost would be waited for.
    this.#whole(() => this.#called("messages"));
    await this.#wake(session).receive(socket, message);
    this.#store.meter.keepAwake(Date.now());
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    this.#gone(socket);
    // Completes the closing handshake; 1005 and 1006 say that there was no code and cannot be sent.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
  }

  override webSocketError(socket: WebSocket): void {
    this.#gone(socket);
  }

  #gone(socket: WebSocket): void {
    if (this.#session === null) return;
    const live = this.#wake(this.#session);
    this.#whole(() => live.gone(socket));
  }

  /** Backstop for a timer that was lost with the object's memory; and once the session is over, the end of its retention. */
  override async alarm(): Promise<void> {
    const session = this.#session;
    if (session === null) {
      // A checkpoint that did not arrive whole.
      await this.ctx.storage.deleteAll();
      return;
    }
    this.#called("requests");
    if (!isOver(this.#state())) {
      const live = this.#wake(session);
      this.#whole(() => live.alarm());
      return;
    }
    // The deployment may say something else by now than when the alarm was set.
    const retention = retentionOf(this.env.RETENTION_DAYS);
    if (retention === null) return;
    const end = this.#store.lastEventAt() + retention;
    if (Date.now() >= end) await this.remove();
    else await this.ctx.storage.setAlarm(end);
  }

  /** Does what changes memory and storage together, or starts again from storage. */
  #whole<Result>(act: () => Result): Result {
    try {
      return act();
    } catch (error) {
      startAgain(this.ctx, error, this.#session === null ? {} : { session: this.#session.id });
      throw error;
    }
  }

  /** Counts what woke this object. */
  #called(kind: "requests" | "messages"): void {
    const { meter } = this.#store;
    meter.count(kind);
    meter.keepAwake(Date.now());
    if (meter.isWorthSaving && this.#session !== null) this.#store.saveUsage();
  }

  #cost({ createdAt }: SessionRecord): SessionCost {
    return costOf({
      ...this.#store.usage(),
      storedBytes: this.#store.databaseBytes,
      age: (Date.now() - createdAt) / 1000,
    });
  }

  /** The edge has checked the token, as far as it can. */
  #accept(session: SessionRecord, visitor: Visitor): Response {
    const refused = this.#refuseVisitor(session, visitor);
    if (refused !== null) return closedSocket(refused.code, refused.message);
    const { 0: client, 1: server } = new WebSocketPair();
    const { generation, client: checked, block, auditBlock } = visitor;
    this.ctx.acceptWebSocket(server, [
      ...(generation === null ? [] : [INVITED]),
      ...(block === "" ? [] : [tagOf(block)]),
    ]);
    const only = checked === null ? {} : { checked };
    writeAttachment(server, { phase: "new", block: auditBlock, quotaBlock: block, ...only });
    return new Response(null, { status: 101, webSocket: client, headers: { "Sec-WebSocket-Protocol": SUBPROTOCOL } });
  }

  #refuseVisitor(session: SessionRecord, { origin, generation, isAdmin, block }: Visitor): ProtocolError | null {
    const most = MOST_SOCKETS_A_BLOCK * quotaFactorOf(this.env.QUOTAS);
    if (block !== "" && this.ctx.getWebSockets(tagOf(block)).length >= most) {
      return new ProtocolError("rate-limited", `your network has ${most} connections here, its limit; ${comeBack}`);
    }
    if (this.ctx.getWebSockets().length >= MOST_SOCKETS) {
      return new ProtocolError("too-many-clients", `this session has ${MOST_SOCKETS} connections, its limit`);
    }
    if (generation !== null && generation !== this.#store.generation()) {
      return new ProtocolError("not-invited", `token-revoked: this invitation was taken back: ${askAgain(session.id)}`);
    }
    const { origins } = this.#read(session).access ?? OPEN;
    if (origins === undefined || isAdmin) return null;
    if (origin === null && generation === null) {
      return new ProtocolError("not-invited", "token-missing: outside of its pages this session is by invitation");
    }
    if (origin === null || origins.includes(origin)) return null;
    return new ProtocolError("wrong-origin", "this session takes no clients from this page");
  }

  /** Builds the live half from storage and from the sockets' attachments, if it is not there. */
  #wake(session: SessionRecord): Live {
    this.#live ??= this.#whole(
      () =>
        new Live({
          ctx: this.ctx,
          store: this.#store,
          ledger: this.#ledger,
          definition: this.#read(session),
          retention: retentionOf(this.env.RETENTION_DAYS),
          storageLimit: storageLimitOf(this.env.STORAGE_LIMIT_BYTES),
          quotaFactor: quotaFactorOf(this.env.QUOTAS),
          session: session.id,
          onChange: (state, pressing) => this.#changed(session, state, pressing),
        }),
    );
    return this.#live;
  }

  /** Where the object died between the last step and the hash of its weights, nothing else would wake the run to bring it. */
  async #bringHash(session: SessionRecord): Promise<void> {
    const { status, weightsHash } = this.#state();
    if (status === "finished" && weightsHash === null) await this.#wake(session).bringHash();
  }

  #read(session: SessionRecord): SessionDefinition {
    this.#definition ??= JSON.parse(session.definition) as SessionDefinition;
    return this.#definition;
  }

  #state(): RunState {
    return this.#live?.state ?? this.#store.state();
  }

  #parameters(): number {
    return this.#session === null ? 0 : parameterLength(this.#read(this.#session).graph);
  }

  #progress(session: SessionRecord): Progress {
    return this.#live?.progress() ?? idleProgress(this.#store, this.#state(), planRun(this.#read(session)));
  }

  #changed(session: SessionRecord, state: RunState, pressing: boolean): void {
    const now = Date.now();
    if (this.#session === null) return;
    if (!pressing && !hasPassed(this.#listedAt, LISTING_INTERVAL, now)) return;
    this.#listedAt = now;
    // One after the other: the last one to be said is the last one to be read.
    this.#listing = this.#listing
      .then(() => this.#list(session, state))
      .catch((error: unknown) =>
        log("error", "listing-failed", { session: session.id, step: state.step, ...errorFields(error) }),
      );
    this.ctx.waitUntil(this.#listing);
  }

  async #list(session: SessionRecord, state: RunState): Promise<void> {
    const definition = this.#read(session);
    const { id, createdAt } = session;
    this.#store.meter.count("r2Writes");
    await listSession(
      this.env.BUCKET,
      {
        id,
        title: definition.title,
        status: state.status,
        step: state.step,
        totalSteps: planRun(definition).totalSteps,
        createdAt,
        dataset: definition.data.source === "dataset" ? definition.data.dataset : null,
      },
      // The list says its title.
      definition.access?.read === "invited" ? "private" : definition.visibility,
    );
  }

  /** A whole checkpoint file of the present state. One is read at a time; the training goes on meanwhile. */
  async #checkpoint(session: SessionRecord): Promise<Response> {
    const since = Date.now();
    if (this.#sendingSince !== null && !hasPassed(this.#sendingSince, READER_LIMIT, since)) {
      const response = refusal(refuse(503, "busy", "another checkpoint is being read: try again in a moment"));
      response.headers.set("Retry-After", "1");
      return response;
    }
    this.#sendingSince = since;
    const onEnd = (): void => {
      if (this.#sendingSince === since) this.#sendingSince = null;
    };
    try {
      await this.#bringHash(session);
      const state = this.#wake(session).save();
      const { bytes, stream } = await sendCheckpoint(session, this.#store, state, onEnd);
      return new Response(stream, {
        headers: {
          "Content-Type": "application/octet-stream",
          "X-Commonweight-Step": String(state.step),
          "X-Commonweight-Bytes": String(bytes),
          "Cache-Control": "no-store",
        },
      });
    } catch (error) {
      onEnd();
      return refusal(refuseCheckpoint(error));
    }
  }

  /** A weights body: the current version, the best one on held-out samples, or a version by number if it is still held. */
  #weights(session: SessionRecord, which: string): Response {
    const definition = this.#read(session);
    const parameters = this.#parameters();
    const state = this.#state();
    const announced = announcedOf(state, parameters);
    const total = weightsLayout(announced.length, parameters).total;
    const stored = (slot: "latest" | "best"): Body => {
      const weights = new Float32Array(parameters);
      this.#store.readPart(slot, slot === "latest" ? servedPart(definition, state) : "weights", weights);
      return weightsBody(announced, weights);
    };
    const current = (): Body =>
      this.#live === null && Run.isStored(this.#store) ? stored("latest") : this.#wake(session).weights();

    const numbered = which !== "latest" && which !== "best";
    if (numbered && which !== String(state.version)) {
      const held = /^\d{1,10}$/.test(which);
      return held
        ? refusal(refuse(404, "version-gone", `version ${which} is not held; the current one is ${state.version}`))
        : refusal(refuse(404, "unknown-version", "weights are addressed by latest, best or a version's number"));
    }
    const best = which === "best" ? state.best : null;
    if (which === "best" && best === null) {
      return refusal(refuse(404, "no-best", "nothing was measured on held-out samples yet"));
    }
    const name = best === null ? `version ${state.version}` : `best ${best.step}`;
    const body = best === null ? current : () => stored("best");
    const stream = this.#downloads.open(name, Date.now(), total, body);
    if (stream === null) {
      const response = refusal(refuse(503, "busy", "no memory is free for this download: try again in a second"));
      response.headers.set("Retry-After", "1");
      return response;
    }
    return new Response(stream, {
      headers: {
        "Content-Type": "application/octet-stream",
        "X-Commonweight-Version": String(best?.version ?? state.version),
        "X-Commonweight-Step": String(best?.step ?? state.step),
        "X-Commonweight-Bytes": String(total),
        "Cache-Control": numbered ? `${definition.visibility}, max-age=31536000, immutable` : "no-store",
      },
    });
  }
}

/** Why a session's optimizer, and the rows of its steps, cannot be held in memory; null if it can (invariant I4). */
function refuseSize(definition: SessionDefinition): Refusal | null {
  const { optimizerBytes } = SESSION_LIMITS;
  const parameters = parameterLength(definition.graph);
  const bytes = ruleBytes(definition, parameters);
  if (bytes > optimizerBytes) {
    return refuse(
      422,
      "limit-exceeded",
      `the optimizer needs ${bytes} bytes of memory, the limit is ${optimizerBytes}`,
    );
  }
  const rows = rowsBytesOf(definition);
  if (bytes + rows <= optimizerBytes) return null;
  const microBatches = microBatchesPerStep(planRun(definition));
  const each = valueBytes(robustOf(definition.aggregation)?.momentum);
  return refuse(
    422,
    "limit-exceeded",
    `the optimizer needs ${bytes} bytes of memory and robust aggregation ${rows} (${each} bytes for each of ${parameters} parameters ` +
      `of each of ${microBatches} micro-batches' clients), the limit is ${optimizerBytes} together: take fewer and larger micro-batches`,
  );
}

function refusal({ status, code, message }: { status: number; code: string; message: string }): Response {
  return Response.json({ error: { code, message } }, { status, headers: { "Cache-Control": "no-store" } });
}
