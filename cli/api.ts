/** A coordinator's HTTP API as the command line uses it (docs/protocol.md). */

import { createHash } from "node:crypto";
import { blockCount } from "../shared/codec/index.ts";
import { weightsLayout } from "../shared/protocol/frames.ts";
import type { Progress } from "../shared/protocol/messages.ts";
import { type Capability, isSessionId } from "../shared/session/access.ts";
import type { SessionCost } from "../shared/session/cost.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { Tables } from "../shared/session/tables.ts";
import type { Chunk } from "./dataset.ts";
import type { ClientShare } from "./display.ts";
import { CliError, messageOf, RefusedError } from "./errors.ts";
import { plain } from "./foreign-text.ts";

export interface SessionDescription {
  readonly id: string;
  readonly definition: SessionDefinition;
  /** As the coordinator holds it; null for local data. */
  readonly manifest: DatasetManifest | null;
  readonly parameters: number;
  readonly progress: Progress;
  /** What it used so far. */
  readonly cost: SessionCost;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/** The coordinator's record of one step. */
export interface StepMetric {
  /** Updates done, this one included. */
  readonly step: number;
  readonly epoch: number;
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  readonly samples: number;
  /** Samples by the engine that computed them. */
  readonly engines: Readonly<Record<string, number>>;
  /** Learning rate of the step. */
  readonly lr: number | null;
  /** When, in milliseconds since 1970. */
  readonly time: number;
}

export interface SessionMetrics {
  readonly steps: readonly StepMetric[];
  readonly evaluations: readonly {
    readonly work: "validate" | "test";
    readonly step: number;
    readonly loss: number | null;
    readonly metrics: Readonly<Record<string, number>>;
    /** Counts over its samples; the last evaluation of each kind alone has them. */
    readonly tables?: Tables;
    readonly time: number;
  }[];
  readonly result: {
    readonly testLoss: number | null;
    readonly testMetrics: Readonly<Record<string, number>> | null;
    readonly bestStep: number | null;
    readonly weightsHash: string | null;
    readonly bestHash: string | null;
    /** Everyone whose work counted, by samples. */
    readonly members: readonly ClientShare[];
  } | null;
}

/** Counts since the session's object last woke. */
export interface SessionDiagnostics {
  /** Bytes of memory by the object's own count: now, at most, and what it may come to. */
  readonly ledger: { readonly used: number; readonly peak: number; readonly limit: number };
  /** Messages and bytes both ways; milliseconds by phase of a step, where the clock goes on while code runs. */
  readonly tally: {
    readonly steps: number;
    readonly messagesIn: number;
    readonly bytesIn: number;
    readonly messagesOut: number;
    readonly bytesOut: number;
    readonly milliseconds: Readonly<Record<string, number>>;
  };
  readonly results: Readonly<Record<"accepted" | "stale" | "duplicate" | "foreign", number>>;
}

/** A coordinator that has answered before is asked again for so long, in milliseconds: it restarts in less. */
const PATIENCE = 15_000;
const RETRY_INTERVAL = 200;
/** Uploads under way at once. */
const PARALLEL = 4;

/** It becomes part of addresses and of what is printed. */
function requireId(server: string, created: { readonly id: string }): { id: string } {
  if (!isSessionId(created.id)) throw new CliError(`${server} answered without a session's id`);
  return created;
}

/** An entry of a session's journal. */
export interface JournalEntry {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly event: string;
  readonly detail: string;
}

export class CoordinatorApi {
  readonly server: string;
  readonly #secret: string | undefined;
  #hasAnswered = false;

  constructor(server: string, secret: string | undefined) {
    this.server = server.replace(/\/+$/, "");
    this.#secret = secret;
  }

  async createSession(definition: SessionDefinition): Promise<{ id: string }> {
    return requireId(this.server, await this.#json("POST", "/api/sessions", JSON.stringify(definition)));
  }

  /** The newest sessions, newest first; with the secret private ones, too. What else is to be known the session says. */
  listSessions(): Promise<{ sessions: readonly { id: string }[] }> {
    return this.#json("GET", "/api/sessions");
  }

  /** Tells everyone who takes part, and deletes everything. */
  async deleteSession(id: string): Promise<void> {
    await this.#json("DELETE", `/api/sessions/${id}`);
  }

  readSession(id: string): Promise<SessionDescription> {
    return this.#json("GET", `/api/sessions/${id}`);
  }

  /** Training steps after `after` and all evaluations. */
  readMetrics(id: string, after: number): Promise<SessionMetrics> {
    return this.#json("GET", `/api/sessions/${id}/metrics?after=${after}`);
  }

  /** An operator's figures; needs the secret. Counts are since the session's object last woke. */
  readDiagnostics(id: string): Promise<SessionDiagnostics> {
    return this.#json("GET", `/api/sessions/${id}/diagnostics`);
  }

  async control(id: string, action: "pause" | "resume" | "stop"): Promise<void> {
    await this.#json("POST", `/api/sessions/${id}/control`, JSON.stringify({ action }));
  }

  /** A token for one session that lasts so many seconds. */
  invite(id: string, capability: Capability, expiresIn: number): Promise<{ token: string; expires: number }> {
    return this.#json("POST", `/api/sessions/${id}/invitations`, JSON.stringify({ capability, expiresIn }));
  }

  /** Voids every token that was made so far. */
  revokeInvitations(id: string): Promise<{ closed: number }> {
    return this.#json("DELETE", `/api/sessions/${id}/invitations`);
  }

  /** What happened, newest first. */
  readJournal(id: string): Promise<{ events: readonly JournalEntry[] }> {
    return this.#json("GET", `/api/sessions/${id}/journal`);
  }

  listDatasets(): Promise<{ datasets: readonly { name: string; samples: number; bytes: number }[] }> {
    return this.#json("GET", "/api/datasets");
  }

  /** The manifest, or null if there is none of this name. */
  async readDataset(name: string): Promise<DatasetManifest | null> {
    const response = await this.#send("GET", `/api/datasets/${encodeURIComponent(name)}`);
    if (response.status === 404) return null;
    return this.#parse(response);
  }

  /** A blob that a session's manifest names, such as its tokenizer's file. Throws CliError if it is not what its hash says. */
  async readBlob(id: string, hash: string): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#send("GET", `/api/sessions/${id}/chunks/${hash}`);
    if (!response.ok) await this.#parse(response);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const actual = createHash("sha256").update(bytes).digest("hex");
    if (actual !== hash) throw new CliError(`the coordinator sent bytes with the SHA-256 ${actual}, expected ${hash}`);
    return bytes;
  }

  /** With `force` even while sessions train on it, which then cannot go on. */
  deleteDataset(name: string, force: boolean): Promise<{ deletedChunks: number }> {
    return this.#json("DELETE", `/api/datasets/${encodeURIComponent(name)}${force ? "?force=true" : ""}`);
  }

  /** Uploads a blob, unless it is held already. */
  async pushChunk({ hash, bytes }: Chunk): Promise<void> {
    const held = await this.#send("HEAD", `/api/chunks/${hash}`);
    if (!held.ok) await this.#parse(await this.#send("PUT", `/api/chunks/${hash}`, bytes));
  }

  /** Uploads what is missing, then the manifest. Calls back after each chunk. */
  async pushDataset(
    manifest: DatasetManifest,
    chunks: readonly Chunk[],
    onChunk: (done: number) => void,
  ): Promise<void> {
    const waiting = [...chunks].reverse();
    let done = 0;
    const upload = async (): Promise<void> => {
      for (let chunk = waiting.pop(); chunk !== undefined; chunk = waiting.pop()) {
        await this.pushChunk(chunk);
        done += 1;
        onChunk(done);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, upload));
    // Last: a manifest promises that all of its chunks are there.
    await this.#json("PUT", `/api/datasets/${encodeURIComponent(manifest.name)}`, JSON.stringify(manifest));
  }

  /** Flat weights, `latest` or `best`. */
  async readWeights(id: string, which: "latest" | "best", parameters: number): Promise<Float32Array<ArrayBuffer>> {
    const response = await this.#send("GET", `/api/sessions/${id}/weights/${which}`);
    if (!response.ok) await this.#parse(response);
    const layout = weightsLayout(blockCount(parameters), parameters);
    const body = await response.arrayBuffer();
    if (body.byteLength !== layout.total) {
      throw new CliError(`the weights have ${body.byteLength} bytes, expected ${layout.total}`);
    }
    return new Float32Array(body, layout.weights, parameters);
  }

  /** A whole checkpoint file of the session's present state. Needs the secret. */
  async readCheckpoint(id: string): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.#send("GET", `/api/sessions/${id}/checkpoint`);
    if (!response.ok) await this.#parse(response);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Creates a session that goes on from a checkpoint file. */
  async resumeSession(file: Uint8Array<ArrayBuffer>): Promise<{ id: string }> {
    return requireId(this.server, await this.#parse(await this.#send("POST", "/api/sessions/resume", file)));
  }

  async #json<T>(method: string, path: string, body?: string): Promise<T> {
    return this.#parse<T>(await this.#send(method, path, body));
  }

  async #send(method: string, path: string, body?: string | Uint8Array<ArrayBuffer>): Promise<Response> {
    const headers: Record<string, string> = {};
    if (this.#secret !== undefined) headers.authorization = `Bearer ${this.#secret}`;
    if (typeof body === "string") headers["content-type"] = "application/json";
    const deadline = performance.now() + PATIENCE;
    for (;;) {
      try {
        const response = await fetch(this.server + path, { method, headers, body: body ?? null });
        this.#hasAnswered = true;
        // Refused before anything was done: whatever it is may be sent again.
        const pause = Number(response.headers.get("retry-after") ?? 0) * 1_000;
        if (response.status !== 429 || pause <= 0 || performance.now() + pause > deadline) return response;
        await response.body?.cancel();
        await new Promise((resolve) => setTimeout(resolve, pause));
      } catch (error) {
        // Only what may be sent twice: a session must not be created twice because an answer was lost.
        if (this.#hasAnswered && method !== "POST" && performance.now() < deadline) {
          await new Promise((resolve) => setTimeout(resolve, RETRY_INTERVAL));
          continue;
        }
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
        throw new CliError(`the coordinator at ${this.server} does not answer: ${messageOf(cause)}`, { cause: error });
      }
    }
  }

  async #parse<T>(response: Response): Promise<T> {
    const text = await response.text();
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new RefusedError(
        response.status,
        "not-json",
        `${this.server} answered ${response.status} without JSON: is it a coordinator?`,
      );
    }
    if (response.ok) return value as T;
    const { error } = value as { error?: { code?: string; message?: string } };
    const code = plain(error?.code ?? response.status, 64);
    const hint = code === "unauthorized" ? ": is COMMONWEIGHT_ADMIN_SECRET set to the coordinator's?" : "";
    throw new RefusedError(
      response.status,
      code,
      `the coordinator refused (${code}): ${plain(error?.message ?? "no reason given", 500)}${hint}`,
    );
  }
}
