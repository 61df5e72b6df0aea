/**
 * What a step really carries: one volunteer trains MNIST by a real coordinator, and a proxy counts the bytes of its socket. Beside
 * it stands what they ought to be, from the formats alone: the same training in one process, whose sums and changes are encoded and
 * go nowhere. Both must end with the same weights, or the figures are of two trainings.
 */

import { createHash } from "node:crypto";
import { joinTraining } from "../../client/node/index.ts";
import { blockCount, encodeSparse } from "../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../shared/graph/parameters.ts";
import {
  changeLayout,
  HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  upwardLayout,
  weightsLayout,
} from "../../shared/protocol/frames.ts";
import { type ClientMessage, type CoordinatorMessage, encodeMessage } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { planRun } from "../../shared/session/plan.ts";
import { trainInProcess } from "../../test/parity/in-process.ts";
import { LocalCoordinator } from "../harness/local-coordinator.ts";
import { MICRO_BATCH, mnistSession, PERCEPTRON, smallMnist, valuesOf } from "../harness/mnist.ts";
import { type Claim, type Contestant, type Race, Refusal } from "../harness/race.ts";
import { startCountingLine } from "./counting-line.ts";
import { pictureBatches } from "./programs.ts";
import { LEAST_TRAFFIC, nameOf, PLAIN, type Way } from "./ways.ts";

const STEPS = 200;
const QUICK_STEPS = 12;
const BATCH = 256;
const SAMPLES = 39 * BATCH;
/** Per cent that measured bytes may be off. */
const MOST_OFF = 2;

const sessionOf = ({ codec, downlink }: Way, maxSteps: number): SessionDefinition =>
  mnistSession({
    network: PERCEPTRON,
    batchSize: BATCH,
    lr: 1e-3,
    seed: 0,
    train: SAMPLES,
    maxSteps,
    wire: { codec, downlink },
  });

interface Traffic {
  readonly up: number;
  readonly down: number;
  readonly weightsHash: string;
}

/** Bytes of a message on the line (RFC 6455): a client's is masked. */
function lineBytes(payload: number, from: "up" | "down"): number {
  const head = payload < 126 ? 2 : payload < 65_536 ? 4 : 10;
  return payload + head + (from === "up" ? 4 : 0);
}

/** Bytes of a body's frames on the line. */
function framesBytes(body: number, from: "up" | "down"): number {
  let bytes = 0;
  for (let left = body; left > 0; left -= MAX_PAYLOAD_BYTES) {
    bytes += lineBytes(HEADER_BYTES + Math.min(left, MAX_PAYLOAD_BYTES), from);
  }
  return bytes;
}

const messageBytes = (message: ClientMessage | CoordinatorMessage, from: "up" | "down"): number =>
  lineBytes(encodeMessage(message).byteLength, from);

/** What all of the training ought to carry: its results, weights, and the messages that go with each. */
async function expectedTraffic(definition: SessionDefinition): Promise<Traffic> {
  const { graph, optimizer, codec, downlink = "float32", seed } = definition;
  const parameters = parameterLength(graph);
  const blocks = blockCount(parameters);
  const plan = planRun(definition);
  const metrics = metricNames(graph).length;
  const whole = framesBytes(weightsLayout(blocks, parameters).total, "down");
  const assign = { type: "assign", lease: 300_000, work: "train", step: 100, version: 100, from: 0, to: 8 } as const;
  const receipt = { type: "receipt", lease: 300_000, accepted: true, reason: "", samples: BATCH } as const;
  let up = 0;
  // The calibration's version: nothing but the exponents is new.
  let down = downlink === "delta" ? framesBytes(changeLayout(blocks).units + 8, "down") : whole;
  let weightsHash = "";
  let updates = 0;
  await trainInProcess({
    graph,
    optimizer,
    plan,
    seed,
    codec,
    downlink,
    microBatch: pictureBatches(
      { images: valuesOf("testImages"), labels: valuesOf("testLabels") },
      { samples: SAMPLES, batch: BATCH, micro: MICRO_BATCH },
      seed,
    ),
    sent: (_, sums, squares) => {
      up += framesBytes(upwardLayout("gradient", { metrics, blocks, squares }).sums + sums.byteLength, "up");
      down += messageBytes(assign, "down") + messageBytes(receipt, "down");
    },
    changed: (change) => {
      updates += 1;
      // The last weights are there to be fetched, nobody is sent them.
      if (updates === plan.totalSteps) return;
      up += messageBytes({ type: "ready", version: 100 }, "up");
      const units = change === null ? null : changeLayout(blocks).units + encodeSparse(change.units).byteLength;
      down += units === null ? whole : framesBytes(units, "down");
    },
    finished: (weights) => {
      weightsHash = createHash("sha256").update(new Uint8Array(weights.slice().buffer)).digest("hex");
    },
  });
  return { up, down, weightsHash };
}

async function measuredTraffic(definition: SessionDefinition): Promise<Traffic> {
  await using coordinator = await LocalCoordinator.start(smallMnist());
  const { api } = coordinator;
  const line = await startCountingLine(coordinator.url);
  try {
    const { id } = await api.createSession(definition);
    const handle = await joinTraining(`${line.url}/s/${id}`, { engine: "wasm", workers: 1 });
    const { outcome } = await handle.finished;
    if (outcome !== "finished") throw new Refusal("failed", `the session ended as ${outcome}`);
    const { result } = await api.readMetrics(id, 0);
    return { ...line.counted, weightsHash: result?.weightsHash ?? "" };
  } finally {
    await line.stop();
  }
}

const off = (measured: number, expected: number): number => (measured / expected - 1) * 100;

function contestant(way: Way, steps: number): Contestant {
  const definition = sessionOf(way, steps);
  let expected: Traffic = { up: 0, down: 0, weightsHash: "" };
  let last: Traffic = expected;
  return {
    name: nameOf(way),
    ours: way !== PLAIN,
    async prepare() {
      expected = await expectedTraffic(definition);
      return {};
    },
    async measure() {
      last = await measuredTraffic(definition);
      if (last.weightsHash !== expected.weightsHash) {
        throw new Refusal(
          "wrong",
          `it ended with weights ${last.weightsHash}, in one process with ${expected.weightsHash}`,
        );
      }
      return (last.up + last.down) / steps / 1000;
    },
    finish: async () => ({
      "kB up": last.up / steps / 1000,
      "kB down": last.down / steps / 1000,
      "% off, up": off(last.up, expected.up),
      "% off, down": off(last.down, expected.down),
      "% off at most": Math.max(Math.abs(off(last.up, expected.up)), Math.abs(off(last.down, expected.down))),
    }),
  };
}

export function trafficRace(ways: readonly Way[], quick: boolean): Race {
  const steps = quick ? QUICK_STEPS : STEPS;
  const claims = ways.map(
    (way): Claim => ({ kind: "fact", ours: nameOf(way), fact: "% off at most", atMost: MOST_OFF }),
  );
  const { way, times } = LEAST_TRAFFIC;
  claims.push({ kind: "gain", ours: nameOf(way), rival: nameOf(PLAIN), atLeast: times });
  const work = `784-256-128-10 on MNIST, batch ${BATCH}, ${steps} steps of one volunteer by a real socket`;
  return {
    name: "traffic",
    work,
    unit: "kB a step",
    better: "lower",
    contestants: ways.map((each) => contestant(each, steps)),
    claims: quick ? [] : claims,
  };
}
