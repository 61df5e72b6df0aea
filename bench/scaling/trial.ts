/** One session from its first step to its last, by a fleet of made-up clients on a coordinator of its own. */

import type { CoordinatorApi } from "../../cli/api.ts";
import { parseAddress, socketUrl } from "../../client/core/address.ts";
import { LocalCoordinator } from "../harness/local-coordinator.ts";
import { type NetworkSize, sessionOfSize } from "../harness/networks.ts";
import { cpuSeconds, findDescendants, residentBytes } from "../harness/processes.ts";
import { Refusal } from "../harness/race.ts";
import { Fleet, type FleetSize } from "./fleet.ts";

/** Milliseconds between two looks at a session that runs, and after which one that does not end has failed. */
const INTERVAL = 100;
const PATIENCE = 240_000;

export interface Trial {
  readonly stepsPerSecond: number;
  /** Steps that are not in the record, or not with all samples. */
  readonly lost: number;
  /** Of workerd's process, by step: of those between the first and the last, for to close thousands of sockets is no part of one. */
  readonly cpuSeconds: number;
  /** Of all messages, both ways, by step. */
  readonly bytes: number;
  /** The most that the object's own ledger ever held. */
  readonly ledgerPeak: number;
  /** Largest resident set of workerd that was seen. */
  readonly resident: number;
  /** Clients that wanted work and never took part in a training step. */
  readonly starved: number;
  /** Sockets that were closed before the session ended, whoever closed them. */
  readonly closed: number;
}

async function untilOver(api: CoordinatorApi, id: string, look: (step: number) => void): Promise<void> {
  const end = performance.now() + PATIENCE;
  for (;;) {
    const { progress } = await api.readSession(id);
    if (progress.stage === "done") return;
    look(progress.step);
    if (progress.status === "failed") throw new Refusal("failed", `the session failed: ${progress.reason}`);
    if (performance.now() > end) throw new Refusal("failed", `step ${progress.step} after ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

export async function runTrial(clients: FleetSize, size: NetworkSize): Promise<Trial> {
  const others = new Set(findDescendants(process.pid, "workerd"));
  await using coordinator = await LocalCoordinator.start();
  const { api } = coordinator;
  const definition = sessionOfSize(size);
  const { id } = await api.createSession(definition);
  // Nothing begins before everyone is there.
  await api.control(id, "pause");
  const fleet = await Fleet.join(socketUrl(parseAddress(id, coordinator.url)), clients, size);
  try {
    const own = findDescendants(process.pid, "workerd").filter((pid) => !others.has(pid));
    const cpu = (): number => own.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    let resident = 0;
    const begun = cpu();
    const seen: { readonly step: number; readonly seconds: number }[] = [];
    await api.control(id, "resume");
    await untilOver(api, id, (step) => {
      if (step > (seen.at(-1)?.step ?? 0)) seen.push({ step, seconds: cpu() });
      resident = Math.max(
        resident,
        own.reduce((sum, pid) => sum + residentBytes(pid), 0),
      );
    });
    const whole = (cpu() - begun) / size.steps;
    const [first, last] = [seen[0], seen.at(-1)];
    const isLong = first !== undefined && last !== undefined && last.step > first.step;
    const { steps } = await api.readMetrics(id, 0);
    const { ledger } = await api.readDiagnostics(id);
    const counts = await fleet.counts();
    const complete = steps.filter(({ samples }) => samples === definition.batchSize);
    return {
      stepsPerSecond: ((steps.length - 1) * 1000) / ((steps.at(-1)?.time ?? 0) - (steps[0]?.time ?? 0)),
      lost: size.steps - complete.length,
      cpuSeconds: isLong ? (last.seconds - first.seconds) / (last.step - first.step) : whole,
      bytes: counts.reduce((sum, { bytesUp, bytesDown }) => sum + bytesUp + bytesDown, 0) / size.steps,
      ledgerPeak: ledger.peak,
      resident,
      starved: counts.filter(({ trained }) => trained === 0).length - clients.resting,
      closed: counts.reduce((sum, { lost }) => sum + lost, 0),
    };
  } finally {
    fleet.end();
  }
}
