/**
 * A session that trains while somebody floods its door: 256 clients at work, 2,000 at rest, each from an address of its own, and 10,000
 * joins in ten seconds from the address of one of them. Everyone comes by the door that hears addresses, as Cloudflare's does.
 */

import { parseAddress, socketUrl } from "../../client/core/address.ts";
import { Child } from "../harness/child.ts";
import { LocalCoordinator } from "../harness/local-coordinator.ts";
import { type NetworkSize, sessionOfSize } from "../harness/networks.ts";
import { type Contestant, type Race, Refusal } from "../harness/race.ts";
import { Fleet } from "./fleet.ts";
import type { FloodOrder, FloodReport } from "./flood.ts";

const CLIENTS = { working: 256, resting: 2_000 } as const;
const SIZE: NetworkSize = { parameters: 10_000, codec: "fixed16", microBatches: CLIENTS.working, steps: 6_000 };
const FLOOD = { joins: 10_000, seconds: 10 } as const;
/** What the door lets in of one address: at once, and each second (workers/rate.ts). */
const DOOR = { burst: 512, perSecond: 32 } as const;
/** Address of the first client. */
const ADDRESS = "127.1.0.0";
/** Milliseconds of training before the flood, and after it. */
const CALM = 10_000;

const NAME = "flooded";

interface Row {
  readonly time: number;
  readonly samples: number;
}

function perSecond(rows: readonly Row[], from: number, to: number): number {
  return (rows.filter(({ time }) => time >= from && time < to).length * 1000) / (to - from);
}

async function measure(): Promise<{ readonly during: number; readonly facts: Readonly<Record<string, number>> }> {
  await using coordinator = await LocalCoordinator.start();
  const { api } = coordinator;
  const definition = sessionOfSize(SIZE);
  const { id } = await api.createSession(definition);
  await api.control(id, "pause");
  const url = socketUrl(parseAddress(id, coordinator.frontDoor));
  const fleet = await Fleet.join(url, CLIENTS, SIZE);
  const flooder = new Child<FloodOrder, FloodReport>(new URL("./flood.ts", import.meta.url));
  const calm = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, CALM));
  try {
    await api.control(id, "resume");
    await calm();
    const begun = Date.now();
    const flood = await flooder.ask({ type: "flood", url, localAddress: ADDRESS, ...FLOOD }, "flooded");
    const ended = Date.now();
    await calm();
    const over = Date.now();
    await api.control(id, "pause");
    const rows: Row[] = [];
    for (;;) {
      const { steps } = await api.readMetrics(id, rows.length);
      if (steps.length === 0) break;
      rows.push(...steps);
    }
    if (rows.length === 0) throw new Refusal("failed", "no step was made");
    const counts = await fleet.counts();
    const { progress } = await api.readSession(id);
    const { ledger } = await api.readDiagnostics(id);
    const { statuses, knocking, seconds } = flood;
    return {
      during: perSecond(rows, begun, ended),
      facts: {
        "steps/s before": perSecond(rows, begun - CALM, begun),
        "steps/s after": perSecond(rows, ended, over),
        "seconds of knocking": knocking,
        "until the last answer": seconds,
        "let in": statuses["101"] ?? 0,
        "beyond the limit": Math.max(0, (statuses["101"] ?? 0) - DOOR.burst - Math.ceil(DOOR.perSecond * seconds)),
        refused: statuses["429"] ?? 0,
        "answered otherwise": FLOOD.joins - (statuses["101"] ?? 0) - (statuses["429"] ?? 0),
        "steps lost": progress.step - rows.filter(({ samples }) => samples === definition.batchSize).length,
        "closed sockets": counts.reduce((sum, { lost }) => sum + lost, 0),
        "object MB": ledger.peak / 1e6,
      },
    };
  } finally {
    flooder.end();
    fleet.end();
  }
}

export function floodRace(): Race {
  let facts: Readonly<Record<string, number>> = {};
  const contestant: Contestant = {
    name: NAME,
    ours: true,
    prepare: async () => ({}),
    async measure() {
      const measured = await measure();
      facts = measured.facts;
      return measured.during;
    },
    finish: async () => facts,
  };
  const none = (fact: string) => ({ kind: "fact", ours: NAME, fact, atMost: 0 }) as const;
  return {
    name: "flood",
    work:
      `${CLIENTS.working} clients at work and ${CLIENTS.resting} at rest, ${SIZE.parameters} parameters, while ${FLOOD.joins} joins come ` +
      `from one of their addresses in ${FLOOD.seconds} s`,
    unit: "steps/s",
    better: "higher",
    contestants: [contestant],
    claims: ["beyond the limit", "steps lost", "closed sockets"].map(none),
  };
}
