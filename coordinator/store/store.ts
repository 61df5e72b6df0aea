/**
 * One session's durable half (invariant I3). Every method that writes is one transaction: a step's log record, its
 * metrics, its members' samples and the new state land together or not at all. Parameters stay in pieces, read and
 * written straight from and to the memory of the optimizer's kernels.
 */

import type { Standing, StandingChange } from "../audit/index.ts";
import type { StepRecord } from "../optim/shard.ts";
import type { Stage, Status } from "../round/types.ts";
import { DETAIL_CHARACTERS, JOURNAL, type JournalEntry, type JournalEvent } from "./journal.ts";
import { type Counts, Meter } from "./meter.ts";
import { MeteredSql } from "./metered-sql.ts";
import type { MetricRow } from "./metric.ts";
import { cutPieces } from "./pieces.ts";
import { decodeRecord, encodeRecordHead } from "./record.ts";
import { hasSession, LOG_PIECES, migrate } from "./schema.ts";
import { Shelf } from "./shelf.ts";

export type { MetricRow };

/** What was asked for; never changes. */
export interface SessionRecord {
  readonly id: string;
  /** Canonical JSON of the SessionDefinition. */
  readonly definition: string;
  /** Hex SHA-256 of `definition`. */
  readonly definitionHash: string;
  /** Canonical JSON of the DatasetManifest, null for local data. */
  readonly manifest: string | null;
  readonly createdAt: number;
}

/** Best weights on held-out samples so far. */
export interface Best {
  readonly step: number;
  readonly version: number;
  readonly loss: number;
}

/** Where the run is. */
export interface RunState {
  readonly stage: Stage;
  readonly status: Status;
  /** Why it paused or failed; empty otherwise. */
  readonly reason: string;
  /** Updates done. */
  readonly step: number;
  /** Broadcasts made; only ever rises. */
  readonly version: number;
  /** Grid of the next step, [blocks] (shared/codec); empty before the calibration pass. */
  readonly envelope: Uint8Array;
  /** Steps contained in the checkpoint; the log holds what came after. */
  readonly checkpointStep: number;
  /** Grid of the step after those; empty where it is not known. */
  readonly checkpointEnvelope: Uint8Array;
  readonly best: Best | null;
  /** Hex SHA-256 of the flat weights after the last training step, and of the best ones. */
  readonly weightsHash: string | null;
  readonly bestHash: string | null;
  /** Client whose report of a value that is not finite paused it while nobody was there to confirm it; else null. */
  readonly unconfirmed: string | null;
}

export interface MemberRow {
  readonly id: string;
  /** Hex SHA-256 of the resume key. */
  readonly keyHash: string;
  /** Public name; empty for none. */
  readonly name: string;
  readonly samples: number;
  readonly shards: number;
}

/** What one client added to a piece of work that became durable. */
export interface MemberGain {
  readonly id: string;
  readonly keyHash: string;
  readonly engine: string;
  readonly device: string;
  /** Public name; empty for none. */
  readonly name: string;
  readonly samples: number;
  readonly shards: number;
  /** Of its samples those that somebody else's result was added for. */
  readonly repeated: number;
}

/** What lands together when a piece of work is complete. */
export interface Commit {
  readonly state: RunState;
  readonly time: number;
  /** The optimizer's input; null for everything but an applied training step. */
  readonly record: StepRecord | null;
  readonly metric: MetricRow | null;
  readonly gains: readonly MemberGain[];
  /** What audits found since the last piece. */
  readonly standings: readonly StandingChange[];
  /** Current weights become the best ones. */
  readonly bestWeights: Float32Array | null;
  /** Parameters to make the checkpoint from, which empties the log. Not together with a record, which they lack. */
  readonly checkpoint: ParameterState | null;
  /** Part of the checkpoint that the best weights replace, if any. */
  readonly restoreBest: string | null;
  /** What the journal says of it; null for most pieces. */
  readonly note: readonly [event: JournalEvent, detail: string] | null;
}

/** Flat views [parameters] of everything that is kept, by name: `weights` and what the update rule keeps. */
export interface ParameterState extends Readonly<Record<string, Float32Array>> {
  readonly weights: Float32Array;
}

export type Slot = "latest" | "best";

/** Rows of the record that are read at a time where all of them are. */
const HISTORY_PAGE = 2_000;

interface StateRow extends Record<string, SqlStorageValue> {
  stage: string;
  status: string;
  reason: string;
  step: number;
  version: number;
  envelope: ArrayBuffer;
  checkpoint_step: number;
  checkpoint_envelope: ArrayBuffer;
  best: string | null;
  weights_hash: string | null;
  best_hash: string | null;
  unconfirmed: string | null;
}

interface UsageRow extends Record<string, SqlStorageValue> {
  requests: number;
  messages: number;
  rows_read: number;
  rows_written: number;
  active_seconds: number;
  r2_writes: number;
  r2_reads: number;
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

export class SessionStore {
  /** What the session used, rows included. */
  readonly meter = new Meter();
  readonly shelf: Shelf;
  readonly #storage: DurableObjectStorage;
  readonly #sql: MeteredSql;
  /** Bytes of the log; null until they are asked for. */
  #logged: number | null = null;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = new MeteredSql(storage.sql, this.meter);
    this.shelf = new Shelf(this.#sql);
  }

  /** Bytes of the database. */
  get databaseBytes(): number {
    return this.#sql.databaseSize;
  }

  /** The session, or null if none was created here. Brings an older database to this code's schema. */
  open(): SessionRecord | null {
    if (!hasSession(this.#sql)) return null;
    this.#storage.transactionSync(() => migrate(this.#sql));
    const [row] = this.#sql
      .exec<{
        id: string;
        definition: string;
        definition_hash: string;
        manifest: string | null;
        created_at: number;
      }>("SELECT * FROM session")
      .toArray();
    if (row === undefined) return null;
    this.#restoreUsage();
    return {
      id: row.id,
      definition: row.definition,
      definitionHash: row.definition_hash,
      manifest: row.manifest,
      createdAt: row.created_at,
    };
  }

  /** Writes a new session with its first checkpoint. */
  create(session: SessionRecord, state: RunState, parameters: ParameterState): void {
    this.#storage.transactionSync(() => {
      migrate(this.#sql);
      this.#writeSession(session, state);
      this.#writeCheckpoint(parameters);
      this.#note(session.createdAt, "created", "");
      this.saveUsage();
    });
  }

  /** Lays the tables of a session out that comes from elsewhere: its pieces and its record go in one by one. */
  prepare(): void {
    this.#storage.transactionSync(() => migrate(this.#sql));
  }

  /** A piece of a checkpoint from elsewhere. */
  putPiece(slot: string, part: string, piece: number, data: Uint8Array): void {
    this.#sql.exec("INSERT INTO checkpoint (slot, part, piece, data) VALUES (?, ?, ?, ?)", slot, part, piece, data);
  }

  /** A part of the record from elsewhere. */
  putMetric(metric: MetricRow): void {
    this.#writeMetric(metric);
  }

  /** Makes what was put in a session: until then there is none. */
  adopt(session: SessionRecord, state: RunState, origin: string): void {
    this.#storage.transactionSync(() => {
      this.#writeSession(session, state);
      this.#note(session.createdAt, "resumed", origin);
      this.saveUsage();
    });
  }

  /** Lays a copy of the stored parameters on the shelf, with further parts made from what holds at this moment. */
  freeze(further: Readonly<Record<string, Iterable<Uint8Array>>>): void {
    this.#storage.transactionSync(() => this.shelf.fill(further));
  }

  /** The whole record: all evaluations, which decide about the training, then steps from the newest to the oldest. */
  *history(): Generator<MetricRow> {
    yield* this.metrics(Number.MAX_SAFE_INTEGER, 0).evaluations;
    for (let before = Number.MAX_SAFE_INTEGER; ; ) {
      const page = this.#readMetrics("work = 'train' AND step < ? ORDER BY step DESC LIMIT ?", before, HISTORY_PAGE);
      const last = page.at(-1);
      if (last === undefined) return;
      yield* page;
      before = last.step;
    }
  }

  /** Of tokens: those of an earlier one are void. */
  generation(): number {
    return this.#sql.exec<{ generation: number }>("SELECT generation FROM session").one().generation;
  }

  /** Voids all tokens that were made so far. */
  nextGeneration(time: number): number {
    return this.#storage.transactionSync(() => {
      this.#note(time, "revoked", "");
      return this.#sql
        .exec<{ generation: number }>("UPDATE session SET generation = generation + 1 RETURNING generation")
        .one().generation;
    });
  }

  /** Counts this awakening. */
  nextIncarnation(): number {
    return this.#sql.exec<{ count: number }>("UPDATE incarnation SET count = count + 1 RETURNING count").one().count;
  }

  state(): RunState {
    const row = this.#sql.exec<StateRow>("SELECT * FROM state").one();
    return {
      stage: row.stage as Stage,
      status: row.status as Status,
      reason: row.reason,
      step: row.step,
      version: row.version,
      envelope: new Uint8Array(row.envelope),
      checkpointStep: row.checkpoint_step,
      checkpointEnvelope: new Uint8Array(row.checkpoint_envelope),
      best: row.best === null ? null : (JSON.parse(row.best) as Best),
      weightsHash: row.weights_hash,
      bestHash: row.best_hash,
      unconfirmed: row.unconfirmed,
    };
  }

  /** A change of status, or of what is known about the run, without a piece of work. */
  setState(state: RunState, time: number, event: JournalEvent, detail: string): void {
    this.#storage.transactionSync(() => {
      this.#writeState(state);
      this.#note(time, event, detail);
      this.saveUsage();
    });
  }

  /** An entry of the journal by itself. */
  note(time: number, event: JournalEvent, detail: string): void {
    this.#storage.transactionSync(() => {
      this.#note(time, event, detail);
      this.saveUsage();
    });
  }

  /** Bytes of the steps since the checkpoint. */
  get loggedBytes(): number {
    this.#logged ??= this.logSize().bytes;
    return this.#logged;
  }

  /** Makes a completed piece of work durable. */
  commit(commit: Commit): void {
    let logged = this.loggedBytes;
    this.#storage.transactionSync(() => {
      if (commit.record !== null) logged += this.#append(commit.record);
      if (commit.bestWeights !== null) this.#writePart("best", "weights", commit.bestWeights);
      if (commit.checkpoint !== null) this.#writeCheckpoint(commit.checkpoint);
      if (commit.restoreBest !== null) this.#restoreBest(commit.restoreBest);
      this.#writeState(commit.state);
      if (commit.metric !== null) this.#writeMetric(commit.metric);
      for (const gain of commit.gains) this.#writeGain(gain, commit.time);
      for (const change of commit.standings) this.#writeStanding(change, commit.time);
      if (commit.note !== null) this.#note(commit.time, ...commit.note);
      this.saveUsage();
    });
    this.#logged = commit.checkpoint === null ? logged : 0;
  }

  /** Replaces the checkpoint by the current parameters and empties the log, in one transaction. */
  checkpoint(
    state: RunState,
    parameters: ParameterState,
    time: number,
    ...[event, detail]: readonly [event: JournalEvent, detail: string]
  ): void {
    this.#storage.transactionSync(() => {
      this.#writeCheckpoint(parameters);
      this.#writeState(state);
      this.#note(time, event, detail);
      this.saveUsage();
    });
    this.#logged = 0;
  }

  /** Forgets the steps from `state.step` on. */
  rollBack(state: RunState, time: number, detail: string): void {
    this.#storage.transactionSync(() => {
      this.#sql.exec("DELETE FROM log WHERE place >= ?", state.step * LOG_PIECES);
      this.#sql.exec("DELETE FROM metric WHERE work = 'train' AND step > ?", state.step);
      this.#writeState(state);
      this.#note(time, "rolled back", detail);
      this.saveUsage();
    });
    this.#logged = null;
  }

  /** Copies a stored part into `target` piece by piece. Throws if it is not there whole. */
  readPart(slot: Slot, part: string, target: Float32Array): void {
    const bytes = bytesOf(target);
    let offset = 0;
    const rows = this.#sql.exec<{ data: ArrayBuffer }>(
      "SELECT data FROM checkpoint WHERE slot = ? AND part = ? ORDER BY piece",
      slot,
      part,
    );
    for (const { data } of rows) {
      if (offset + data.byteLength > bytes.byteLength)
        throw new Error(`${slot} ${part} is longer than ${bytes.byteLength}`);
      bytes.set(new Uint8Array(data), offset);
      offset += data.byteLength;
    }
    if (offset !== bytes.byteLength) throw new Error(`${slot} ${part} has ${offset} of ${bytes.byteLength} bytes`);
  }

  /** Whether best weights are held. */
  hasBest(): boolean {
    return this.#sql.exec("SELECT 1 FROM checkpoint WHERE slot = 'best' LIMIT 1").toArray().length === 1;
  }

  /** The log in order, one record at a time. */
  *records(): Generator<StepRecord> {
    const steps = this.#sql
      .exec<{ step: number }>(`SELECT DISTINCT place / ${LOG_PIECES} AS step FROM log ORDER BY step`)
      .toArray();
    for (const { step } of steps) {
      const pieces = this.#sql
        .exec<{ data: ArrayBuffer }>(
          "SELECT data FROM log WHERE place BETWEEN ? AND ? ORDER BY place",
          step * LOG_PIECES,
          (step + 1) * LOG_PIECES - 1,
        )
        .toArray()
        .map(({ data }) => data);
      yield decodeRecord(pieces);
    }
  }

  /** Rows and bytes of the log. */
  logSize(): { steps: number; bytes: number } {
    return this.#sql
      .exec<{ steps: number; bytes: number }>(
        `SELECT COUNT(DISTINCT place / ${LOG_PIECES}) AS steps, COALESCE(SUM(LENGTH(data)), 0) AS bytes FROM log`,
      )
      .one();
  }

  /** Training steps after step `after`, oldest first, at most `limit`; and all evaluations. */
  metrics(after: number, limit: number): { steps: MetricRow[]; evaluations: MetricRow[] } {
    return {
      steps: this.#readMetrics("work = 'train' AND step > ? ORDER BY step LIMIT ?", after, limit),
      evaluations: this.#withTables(this.#readMetrics("work <> 'train' ORDER BY step, work DESC")),
    };
  }

  /** Evaluations on the samples held out for validation, oldest first. */
  validations(): MetricRow[] {
    return this.metrics(Number.MAX_SAFE_INTEGER, 0).evaluations.filter(({ work }) => work === "validate");
  }

  lastMetric(work: MetricRow["work"]): MetricRow | null {
    const found = this.#readMetrics("work = ? ORDER BY step DESC LIMIT 1", work);
    const [row] = work === "train" ? found : this.#withTables(found);
    return row ?? null;
  }

  member(id: string): MemberRow | null {
    const [row] = this.#sql
      .exec<{ id: string; key_hash: string; name: string; samples: number; shards: number }>(
        "SELECT id, key_hash, name, samples, shards FROM member WHERE id = ?",
        id,
      )
      .toArray();
    if (row === undefined) return null;
    return { id: row.id, keyHash: row.key_hash, name: row.name, samples: row.samples, shards: row.shards };
  }

  /** Deletes everything that is known of a member; doing it twice is harmless. */
  forgetMember(id: string): void {
    this.#sql.exec("DELETE FROM member WHERE id = ?", id);
    this.#sql.exec("DELETE FROM standing WHERE id = ?", id);
  }

  /** What audits found of an identity; null where it was never compared. */
  standing(id: string): Standing | null {
    const [row] = this.#sql
      .exec<{
        streak: number;
        strikes: number;
        audited: number;
        suspect_since: number | null;
        banned_at: number | null;
      }>("SELECT streak, strikes, audited, suspect_since, banned_at FROM standing WHERE id = ?", id)
      .toArray();
    if (row === undefined) return null;
    const { streak, strikes, audited } = row;
    return { streak, strikes, audited, suspectSince: row.suspect_since, isBanned: row.banned_at !== null };
  }

  /** Identities of a block that were banned. */
  bannedIn(block: string): number {
    return this.#sql
      .exec<{ count: number }>(
        "SELECT COUNT(*) AS count FROM standing WHERE banned_at IS NOT NULL AND block = ?",
        block,
      )
      .one().count;
  }

  /** Makes what audits found durable at once. */
  ban(changes: readonly StandingChange[], time: number): void {
    this.#storage.transactionSync(() => {
      for (const change of changes) {
        this.#writeStanding(change, time);
        if (!change.standing.isBanned) continue;
        this.#note(time, "banned", `client ${change.id.slice(0, 8)}: its results were not those of others`);
      }
      this.saveUsage();
    });
  }

  /** Everyone whose work became durable, but for the banned. */
  members(): readonly {
    id: string;
    name: string;
    engine: string;
    device: string;
    samples: number;
    shards: number;
    repeated: number;
  }[] {
    return this.#sql
      .exec<{
        id: string;
        name: string;
        engine: string;
        device: string;
        samples: number;
        shards: number;
        repeated: number;
      }>(
        `SELECT id, name, engine, device, samples, shards, repeated FROM member
         WHERE id NOT IN (SELECT id FROM standing WHERE banned_at IS NOT NULL) ORDER BY samples DESC`,
      )
      .toArray();
  }

  /** The newest entries, newest first. */
  journal(limit: number): readonly JournalEntry[] {
    return this.#sql
      .exec<{ time: number; event: string; detail: string }>(
        "SELECT time, event, detail FROM journal ORDER BY rowid DESC LIMIT ?",
        limit,
      )
      .toArray();
  }

  /** When the last piece of work or change of status became durable, in milliseconds since 1970. */
  lastEventAt(): number {
    return this.#sql
      .exec<{ time: number }>(
        "SELECT MAX(time) AS time FROM (SELECT time FROM journal UNION ALL SELECT time FROM metric)",
      )
      .one().time;
  }

  /** Counts of what was used, up to the statement before. */
  usage(): Readonly<Counts> {
    this.#sql.settle();
    return this.meter.counts;
  }

  #readMetrics(condition: string, ...bindings: (number | string)[]): MetricRow[] {
    return this.#sql
      .exec<{
        work: string;
        step: number;
        epoch: number;
        loss: number | null;
        metrics: string;
        samples: number;
        engines: string;
        clamped: number;
        lr: number | null;
        time: number;
      }>(`SELECT * FROM metric WHERE ${condition}`, ...bindings)
      .toArray()
      .map((row) => ({
        work: row.work as MetricRow["work"],
        step: row.step,
        epoch: row.epoch,
        loss: row.loss,
        metrics: JSON.parse(row.metrics) as Record<string, number>,
        samples: row.samples,
        tables: {},
        engines: JSON.parse(row.engines) as Record<string, number>,
        clamped: row.clamped,
        lr: row.lr,
        time: row.time,
      }));
  }

  /** Evaluations with the tables that are held of them. */
  #withTables(evaluations: readonly MetricRow[]): MetricRow[] {
    const held = this.#sql
      .exec<{ work: string; step: number; tables: string }>("SELECT work, step, tables FROM evaluation_tables")
      .toArray();
    return evaluations.map((metric) => {
      const own = held.find(({ work, step }) => work === metric.work && step === metric.step);
      return own === undefined ? metric : { ...metric, tables: JSON.parse(own.tables) as MetricRow["tables"] };
    });
  }

  #restoreUsage(): void {
    const saved = this.#sql.exec<UsageRow>("SELECT * FROM usage").one();
    this.meter.restore({
      requests: saved.requests,
      messages: saved.messages,
      rowsRead: saved.rows_read,
      rowsWritten: saved.rows_written,
      activeSeconds: saved.active_seconds,
      r2Writes: saved.r2_writes,
      r2Reads: saved.r2_reads,
    });
  }

  /** Writes down what was used: last in every transaction, and alone where nothing else is written for long. */
  saveUsage(): void {
    const { requests, messages, rowsRead, rowsWritten, activeSeconds, r2Writes, r2Reads } = this.usage();
    this.#sql.exec(
      `UPDATE usage SET requests = ?, messages = ?, rows_read = ?, rows_written = ?, active_seconds = ?, r2_writes = ?,
       r2_reads = ?`,
      requests,
      messages,
      // The row of this statement itself, which it reads and writes.
      rowsRead + 1,
      rowsWritten + 1,
      activeSeconds,
      r2Writes,
      r2Reads,
    );
    this.meter.saved();
  }

  #writeSession(session: SessionRecord, state: RunState): void {
    this.#sql.exec(
      "INSERT INTO session (id, definition, definition_hash, manifest, created_at) VALUES (?, ?, ?, ?, ?)",
      session.id,
      session.definition,
      session.definitionHash,
      session.manifest,
      session.createdAt,
    );
    this.#sql.exec("INSERT INTO incarnation (count) VALUES (0)");
    this.#writeState(state);
  }

  #note(time: number, event: JournalEvent, detail: string): void {
    const text = detail.slice(0, DETAIL_CHARACTERS);
    this.#sql.exec("INSERT INTO journal (time, event, detail) VALUES (?, ?, ?)", time, event, text);
    this.#sql.exec(
      `DELETE FROM journal WHERE event = ?
       AND rowid NOT IN (SELECT rowid FROM journal WHERE event = ? ORDER BY rowid DESC LIMIT ?)`,
      event,
      event,
      JOURNAL[event],
    );
  }

  /** Answers how many bytes it takes. */
  #append(record: StepRecord): number {
    let place = record.step * LOG_PIECES;
    let bytes = 0;
    const insert = (data: Uint8Array): void => {
      this.#sql.exec("INSERT INTO log (place, data) VALUES (?, ?)", place++, data);
      bytes += data.byteLength;
    };
    insert(encodeRecordHead(record));
    for (const data of cutPieces(record.sums)) insert(data);
    return bytes;
  }

  #writeState(state: RunState): void {
    // Replaced in place: to delete it first would be billed as a row of its own, every step.
    this.#sql.exec(
      `REPLACE INTO state
         (rowid, stage, status, reason, step, version, envelope, checkpoint_step, checkpoint_envelope, best,
          weights_hash, best_hash, unconfirmed)
       VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      state.stage,
      state.status,
      state.reason,
      state.step,
      state.version,
      state.envelope,
      state.checkpointStep,
      state.checkpointEnvelope,
      state.best === null ? null : JSON.stringify(state.best),
      state.weightsHash,
      state.bestHash,
      state.unconfirmed,
    );
  }

  #writeCheckpoint(parameters: ParameterState): void {
    for (const [part, values] of Object.entries(parameters)) this.#writePart("latest", part, values);
    this.#sql.exec("DELETE FROM log");
  }

  #restoreBest(part: string): void {
    this.#sql.exec("DELETE FROM checkpoint WHERE slot = 'latest' AND part = ?", part);
    this.#sql.exec(
      `INSERT INTO checkpoint (slot, part, piece, data)
       SELECT 'latest', ?, piece, data FROM checkpoint WHERE slot = 'best' AND part = 'weights'`,
      part,
    );
  }

  #writePart(slot: Slot, part: string, values: Float32Array): void {
    this.#sql.exec("DELETE FROM checkpoint WHERE slot = ? AND part = ?", slot, part);
    let piece = 0;
    for (const data of cutPieces(bytesOf(values))) {
      this.#sql.exec("INSERT INTO checkpoint (slot, part, piece, data) VALUES (?, ?, ?, ?)", slot, part, piece++, data);
    }
  }

  #writeMetric(metric: MetricRow): void {
    this.#sql.exec(
      `INSERT INTO metric (work, step, epoch, loss, metrics, samples, engines, clamped, lr, time)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (work, step) DO UPDATE SET
         epoch = excluded.epoch, loss = excluded.loss, metrics = excluded.metrics,
         samples = excluded.samples, engines = excluded.engines, clamped = excluded.clamped, lr = excluded.lr,
         time = excluded.time`,
      metric.work,
      metric.step,
      metric.epoch,
      metric.loss,
      JSON.stringify(metric.metrics),
      metric.samples,
      JSON.stringify(metric.engines),
      metric.clamped,
      metric.lr,
      metric.time,
    );
    if (Object.keys(metric.tables).length === 0) return;
    this.#sql.exec(
      "REPLACE INTO evaluation_tables (work, step, tables) VALUES (?, ?, ?)",
      metric.work,
      metric.step,
      JSON.stringify(metric.tables),
    );
  }

  #writeStanding({ id, block, standing }: StandingChange, time: number): void {
    const { streak, strikes, audited, suspectSince, isBanned } = standing;
    this.#sql.exec(
      `INSERT INTO standing (id, streak, strikes, audited, suspect_since, banned_at, block) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET
         streak = excluded.streak, strikes = excluded.strikes, audited = excluded.audited,
         suspect_since = excluded.suspect_since, banned_at = COALESCE(banned_at, excluded.banned_at),
         block = excluded.block`,
      id,
      streak,
      strikes,
      audited,
      suspectSince,
      isBanned ? time : null,
      isBanned ? block : "",
    );
  }

  #writeGain(gain: MemberGain, time: number): void {
    this.#sql.exec(
      `INSERT INTO member (id, key_hash, engine, device, name, samples, shards, repeated, seen_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET
         engine = excluded.engine, device = excluded.device, name = excluded.name,
         samples = samples + excluded.samples, shards = shards + excluded.shards,
         repeated = repeated + excluded.repeated, seen_at = excluded.seen_at`,
      gain.id,
      gain.keyHash,
      gain.engine,
      gain.device,
      gain.name,
      gain.samples,
      gain.shards,
      gain.repeated,
      time,
    );
  }
}
