/**
 * The real volunteer before a coordinator that lies: real sockets, real HTTP, the WASM engine. At the platform's seam everything that it does
 * is counted: micro-batches that are computed, requests and where they go, bytes that come.
 */

import { TRAINING_ERRORS, TrainingError } from "../../client/core/errors.ts";
import type { TrainingEvent } from "../../client/core/events.ts";
import type { Platform } from "../../client/core/platform.ts";
import { Volunteer } from "../../client/core/volunteer.ts";
import type { GradientEngine } from "../../client/engine/engine.ts";
import { nodePlatform } from "../../client/node/platform.ts";
import { Chance } from "../coordinator/round/timeline.ts";
import { type Coordinator, SESSION_ID } from "./coordinator.ts";
import { LIES } from "./lies.ts";

/** Of this machine's time. */
const SHARE = 0.1;
/** Milliseconds that a micro-batch takes: the session is small, and only what takes time can take too much. */
const MICRO_BATCH = 10;
/** Milliseconds for which it is lied to. */
const VISIT = 500;
/** Milliseconds of work without a rest, and of idling that may be made up for (client/core/governor.ts, pacer.ts). */
const BURST = 50;
const CREDIT = 100;

const MOST_REQUESTS = 40;
const MOST_BYTES = 8_000_000;
const PATIENCE = 10_000;

export interface Visit {
  readonly lie: string;
  /** Of what it last said was wrong; null if nothing was. */
  readonly code: string | null;
  readonly message: string;
  readonly microBatches: number;
  /** Micro-batches beyond its share. */
  readonly above: number;
  readonly bytes: number;
  readonly milliseconds: number;
}

interface Counts {
  microBatches: number;
  requests: string[];
}

function counted(counts: Counts): Platform {
  return {
    ...nodePlatform,
    fetch(url, init) {
      counts.requests.push(url);
      return nodePlatform.fetch(url, init);
    },
    openSocket(url, protocols) {
      counts.requests.push(url.replace(/^ws/, "http"));
      return nodePlatform.openSocket(url, protocols);
    },
    async createEngine(request) {
      const engine = await nodePlatform.createEngine(request);
      const slow: GradientEngine = {
        kind: engine.kind,
        device: engine.device,
        setWeights: (weights) => engine.setWeights(weights),
        begin: (task) => engine.begin(task),
        async accumulate(microBatch) {
          counts.microBatches += 1;
          await engine.accumulate(microBatch);
          await new Promise((resolve) => setTimeout(resolve, MICRO_BATCH));
        },
        idle: () => engine.idle(),
        take: () => engine.take(),
        predict: (features, samples) => engine.predict(features, samples),
        dispose: () => engine.dispose(),
      };
      return slow;
    },
  };
}

/** Throws where the client does anything but go on within its share, say what is wrong, and leave when it is told to. */
export async function visit(coordinator: Coordinator, seed: number, lie: string): Promise<Visit> {
  const chance = new Chance(seed);
  coordinator.behave(LIES[lie]?.behaviour(chance) ?? {});
  const counts: Counts = { microBatches: 0, requests: [] };
  const events: TrainingEvent[] = [];
  const server = coordinator.address;
  const since = performance.now();
  const volunteer = new Volunteer(
    {
      address: { id: SESSION_ID, server },
      engine: "wasm",
      workers: 1,
      identity: undefined,
      data: undefined,
      budget: undefined,
      name: undefined,
      share: SHARE,
      policies: undefined,
      graphHash: undefined,
      minimumSamples: undefined,
    },
    counted(counts),
    (event) => events.push(event),
  );
  // The engine stands, and it asks for a socket.
  const isThere = (): boolean => counts.requests.some((url) => url.endsWith("/socket"));
  while (!isThere() && performance.now() - since < PATIENCE) await new Promise((resolve) => setTimeout(resolve, 10));
  const arrived = performance.now();
  await new Promise((resolve) => setTimeout(resolve, VISIT));
  volunteer.leave();
  await settled(volunteer.finished);
  const milliseconds = performance.now() - arrived;
  const { bytesDown } = volunteer.usage;
  coordinator.behave({});

  const errors = events.flatMap((event) => (event.type === "error" ? [event.detail] : []));
  for (const { code, message } of errors) {
    if (!Object.hasOwn(TRAINING_ERRORS, code)) throw new Error(`an error of no code: ${code}`);
    if (message.length === 0 || message.length > 500) throw new Error(`${code} says ${message.length} characters`);
  }
  const elsewhere = counts.requests.find((url) => !url.startsWith(`${server}/api/sessions/${SESSION_ID}`));
  if (elsewhere !== undefined) throw new Error(`it asked ${elsewhere}`);
  if (counts.requests.length > MOST_REQUESTS) throw new Error(`${counts.requests.length} requests in ${VISIT} ms`);
  if (bytesDown > MOST_BYTES) throw new Error(`${bytesDown} bytes came in ${VISIT} ms`);
  const probe: Readonly<Record<string, unknown>> = {};
  if (probe.polluted !== undefined) throw new Error("a message changed what all objects share");

  const most = Math.floor((SHARE * (milliseconds + CREDIT) + BURST) / MICRO_BATCH) + 2;
  const { code = null, message = "" } = errors.at(-1) ?? {};
  const { microBatches } = counts;
  return { lie, code, message, microBatches, above: Math.max(0, microBatches - most), bytes: bytesDown, milliseconds };
}

async function settled(finished: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not leave within ${PATIENCE} ms`)), PATIENCE);
  });
  try {
    await Promise.race([finished, late]);
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
  } finally {
    clearTimeout(timer);
  }
}
