/**
 * Reads a session from its server and trusts nothing of it (invariant I10): the definition, its graph and the data
 * set's manifest are parsed, checked against each other and against this client's own budget before anything is
 * compiled. What the server says about sizes or hashes of these is not used.
 */

import * as v from "valibot";
import type { Graph, GraphBudget, TrainingGraph } from "../../shared/graph/index.ts";
import { differentiate, estimateCost, parameterLength } from "../../shared/graph/index.ts";
import type { Progress } from "../../shared/protocol/messages.ts";
import { coordinatorMessages } from "../../shared/protocol/messages.ts";
import { canonicalJson } from "../../shared/session/canonical.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { SessionError } from "../../shared/session/errors.ts";
import { parseManifest } from "../../shared/session/manifest.ts";
import type { RunPlan } from "../../shared/session/plan.ts";
import { planRun } from "../../shared/session/plan.ts";
import { checkDataset, parseDefinition } from "../../shared/session/validate.ts";
import type { SessionAddress } from "./address.ts";
import { sessionUrl } from "./address.ts";
import { describeError, TrainingError } from "./errors.ts";
import type { SessionInfo } from "./events.ts";
import { get, HttpError, mayRetry, pauseAfter } from "./http.ts";
import type { Platform } from "./platform.ts";
import { sleep } from "./platform.ts";

/** The most a session may ask of this client. */
export type ClientBudget = GraphBudget;

/** Room for the largest session a coordinator accepts today, on an ordinary laptop. */
export const DEFAULT_BUDGET: ClientBudget = {
  parameters: 8_000_000,
  nodes: 5_000,
  flops: 5e10,
  memoryBytes: 1_000_000_000,
};

/**
 * A micro-batch's gradient may cost so many times what its forward pass may. Two or three times is usual; but pooling whose windows
 * overlap by a hair asks every element about every tap.
 */
const MOST_OF_GRADIENT = 4;

/** Definition, manifest and progress together, in bytes of JSON. */
export const SESSION_BYTES = 4_000_000;
const JOIN_ATTEMPTS = 6;

export interface CheckedSession {
  readonly definition: SessionDefinition;
  readonly graph: Graph;
  /** With its backward pass. */
  readonly training: TrainingGraph;
  readonly manifest: DatasetManifest | null;
  readonly plan: RunPlan;
  /** Floats in the flat parameter array, padding included. */
  readonly parameters: number;
}

export interface SessionReply {
  readonly definition: unknown;
  readonly manifest: unknown;
  readonly progress: Progress;
}

const reply = v.object({ definition: v.unknown(), manifest: v.unknown(), progress: coordinatorMessages });

/**
 * GET of the session with retries while the server cannot be reached. Throws TrainingError `unknown-session`,
 * `network`, `protocol-version` or `protocol`.
 */
export async function fetchSession(
  platform: Platform,
  address: SessionAddress,
  signal: AbortSignal,
  attempts = JOIN_ATTEMPTS,
): Promise<SessionReply> {
  for (let attempt = 0; ; attempt++) {
    try {
      const { body } = await get(platform, sessionUrl(address), SESSION_BYTES, signal);
      return parseReply(body);
    } catch (error) {
      if (error instanceof TrainingError) throw error;
      if (error instanceof HttpError && error.status === 404) {
        throw new TrainingError("unknown-session", `${address.server} has no session ${address.id}: ${error.message}`);
      }
      if (error instanceof HttpError && (error.status === 401 || error.status === 403)) {
        throw new TrainingError("not-invited", error.message);
      }
      if (error instanceof HttpError && error.status === 426) {
        throw new TrainingError("protocol-version", error.message);
      }
      if (!mayRetry(error) || attempt + 1 >= attempts || signal.aborted) {
        throw new TrainingError("network", describeError(error), { cause: error });
      }
      await sleep(platform, pauseAfter(error, attempt, platform.random()), signal);
    }
  }
}

/** Throws TrainingError `protocol`. */
export function parseReply(body: Uint8Array): SessionReply {
  try {
    const { definition, manifest, progress } = v.parse(reply, JSON.parse(new TextDecoder().decode(body)));
    if (progress.type !== "progress") throw new TypeError(`progress is a ${progress.type}`);
    return { definition, manifest, progress };
  } catch (error) {
    throw new TrainingError("protocol", `not a session: ${describeError(error)}`, { cause: error });
  }
}

/** Checks a session against the budget and derives what this client computes with. Throws TrainingError `refused-session`. */
export function checkSession({ definition, manifest }: SessionReply, budget: ClientBudget): CheckedSession {
  try {
    const checked = parseDefinition(definition, budget);
    const { graph, data, microBatch } = checked;
    const dataset = data.source === "dataset" ? parseManifest(manifest) : null;
    if (dataset !== null) checkDataset(checked, dataset);
    const training = differentiate(graph, microBatch);
    requireGradient(training, microBatch, budget);
    return {
      definition: checked,
      graph,
      training,
      manifest: dataset,
      plan: planRun(checked),
      parameters: parameterLength(graph),
    };
  } catch (error) {
    const code = error instanceof SessionError ? `${error.code}: ` : "";
    throw new TrainingError("refused-session", `${code}${describeError(error)}`, { cause: error });
  }
}

/** The graph's own budget is about its forward pass alone. Throws SessionError `limit-exceeded`. */
function requireGradient(training: TrainingGraph, microBatch: number, { flops }: ClientBudget): void {
  const most = MOST_OF_GRADIENT * (flops ?? Number.POSITIVE_INFINITY);
  const cost = estimateCost(training, microBatch).flops;
  if (cost <= most) return;
  const what = "floating-point operations a micro-batch with its gradient";
  throw new SessionError("limit-exceeded", `${cost} ${what}, the limit is ${most}`);
}

/** What the caller insists on besides the budget. */
export interface SessionDemands {
  /** Hex SHA-256 of the one graph that may be computed. */
  readonly graphHash: string | undefined;
  /** Fewest own samples that a result may be a sum over. */
  readonly minimumSamples: number | undefined;
}

/**
 * Compares a session with what the caller insists on and returns the graph's hash, null where none can be computed.
 * Throws TrainingError `refused-session`, or `insecure` where a hash is pinned and cannot be computed.
 */
export async function checkDemands(
  platform: Platform,
  { graph, plan, definition }: CheckedSession,
  { graphHash, minimumSamples }: SessionDemands,
): Promise<string | null> {
  if (minimumSamples !== undefined && definition.data.source === "local" && plan.microBatch < minimumSamples) {
    const shards = `shards of this session may be one micro-batch of ${plan.microBatch} samples`;
    throw new TrainingError("refused-session", `${shards}, this client answers none below ${minimumSamples}`);
  }
  const hash = (await platform.sha256?.(new TextEncoder().encode(canonicalJson(graph)))) ?? null;
  if (graphHash === undefined || hash === graphHash) return hash;
  if (hash === null) throw new TrainingError("insecure", "a pinned graph hash can be checked on secure pages only");
  throw new TrainingError("refused-session", `the graph's hash is ${hash}, pinned is ${graphHash}`);
}

export function sessionInfo(address: SessionAddress, session: CheckedSession, graphHash: string | null): SessionInfo {
  const { definition, parameters, plan } = session;
  return {
    id: address.id,
    title: definition.title,
    description: definition.description,
    contact: definition.contact,
    dataLicence: definition.dataLicence,
    modelLicence: definition.modelLicence,
    parameters,
    plan,
    graphHash,
    localColumns: definition.data.source === "local" ? definition.data.columns : null,
  };
}
