/**
 * One training of MNIST by a fleet of WASM volunteers in Node, with or without churn; what it came to. Used by the test
 * (one seed, fewer steps) and by `scripts/exactness.ts` (all seeds).
 */

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { SessionMetrics } from "../../cli/api.ts";
import { packageRoot } from "../../cli/root.ts";
import { parseAddress } from "../../client/core/address.ts";
import { Volunteer } from "../../client/core/volunteer.ts";
import { joinTraining } from "../../client/node/index.ts";
import { nodePlatform } from "../../client/node/platform.ts";
import { decodeCoordinatorMessage, isFrame } from "../../shared/protocol/messages.ts";
import { mnistSession, type TestCoordinator, untilDone } from "./coordinator.ts";

export interface Outcome {
  readonly weightsHash: string;
  /** Training samples that the coordinator counted, by step. */
  readonly samples: readonly number[];
  readonly kills: number;
  readonly dropped: number;
}

function outcomeOf({ result, steps }: SessionMetrics, kills = 0, dropped = 0): Outcome {
  const weightsHash = result?.weightsHash ?? "";
  return {
    weightsHash,
    samples: steps.map((step) => (step as unknown as { samples: number }).samples),
    kills,
    dropped,
  };
}

async function create(
  { api, url }: TestCoordinator,
  seed: number,
  steps: number,
): Promise<{ id: string; link: string }> {
  const { id } = await api.createSession(mnistSession({ seed, maxSteps: steps, epochs: Math.ceil(steps / 215) }));
  return { id, link: `${url}/s/${id}` };
}

/** `clients` steady volunteers. */
export async function trainSteadily(
  coordinator: TestCoordinator,
  seed: number,
  steps: number,
  clients: number,
): Promise<Outcome> {
  const { id, link } = await create(coordinator, seed, steps);
  const handles = await Promise.all(
    Array.from({ length: clients }, () => joinTraining(link, { engine: "wasm", workers: 1 })),
  );
  const metrics = await untilDone(coordinator.api, id);
  await Promise.allSettled(handles.map((handle) => handle.leave()));
  return outcomeOf(metrics);
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A generator for the schedule of kills: only its determinism matters. */
function schedule(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

/**
 * Three volunteers as processes that are killed (SIGKILL) and started again on a seeded schedule, and one whose first
 * result comes after its lease expired.
 */
export async function trainWithChurn(
  coordinator: TestCoordinator,
  seed: number,
  steps: number,
  say: (line: string) => void,
): Promise<Outcome> {
  const { id, link } = await create(coordinator, seed, steps);
  const random = schedule(seed);
  let kills = 0;
  let over = false;
  const children = new Set<ChildProcess>();

  const live = async (name: number): Promise<void> => {
    while (!over) {
      const bin = join(packageRoot, "bin/commonweight.js");
      const child = spawn(process.execPath, [bin, "volunteer", link, "--engine", "wasm", "--workers", "1", "--quiet"], {
        stdio: "ignore",
      });
      children.add(child);
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      const delay = 1500 + Math.round(random() * 3000);
      await Promise.race([ended, pause(delay)]);
      if (!over && child.exitCode === null) {
        kills += 1;
        say(`seed ${seed}: volunteer ${name} killed after ${delay} ms`);
        child.kill("SIGKILL");
      }
      await ended;
      children.delete(child);
    }
  };
  const lives = [0, 1, 2].map(live);

  const slow = slowVolunteer(link);
  const metrics = await untilDone(coordinator.api, id);
  // A short run is over before the late result comes: it is dropped all the same.
  over = true;
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(lives);
  slow.volunteer.leave();
  await slow.volunteer.finished.catch(() => {});
  return outcomeOf(metrics, kills, slow.dropped());
}

/** Longer than a newcomer's lease, in milliseconds. */
const TOO_LATE = 31_000;

/**
 * A volunteer whose first result lies on a slow line until its lease has expired and others have done its work. It keeps
 * its place meanwhile; what the coordinator says of the late result is counted.
 */
function slowVolunteer(link: string): { volunteer: Volunteer; dropped: () => number } {
  let dropped = 0;
  let isFirst = true;
  const platform = {
    ...nodePlatform,
    openSocket: (url: string, protocols: readonly string[]) => {
      const socket = nodePlatform.openSocket(url, protocols);
      const send = socket.send.bind(socket);
      socket.send = (data) => {
        if (!isFirst || !isFrame(data.buffer)) return send(data);
        isFirst = false;
        setTimeout(() => send(data), TOO_LATE);
      };
      socket.addEventListener("message", ({ data }) => {
        if (!(data instanceof ArrayBuffer) || isFrame(data)) return;
        const message = decodeCoordinatorMessage(data);
        if (message.type === "receipt" && !message.accepted) dropped += 1;
      });
      return socket;
    },
  };
  const options = {
    address: parseAddress(link, undefined),
    engine: "wasm",
    workers: 1,
    identity: undefined,
    data: undefined,
    budget: undefined,
    name: "slow",
  } as const;
  return { volunteer: new Volunteer(options, platform, () => {}), dropped: () => dropped };
}
