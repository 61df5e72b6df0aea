/** Volunteers in this very process: the SDK itself, each with an engine of one thread, which computes in the calling one. */

import type { LocalColumns } from "../client/data/local.ts";
import { joinTraining, TrainingError, type TrainingHandle } from "../client/node/index.ts";
import { messageOf } from "./errors.ts";
import { Roster, type Volunteers } from "./volunteers.ts";

/** What computes in Node: onnxruntime-web's WASM, the same bits everywhere, or onnxruntime-node, which is faster. */
export type EngineHere = "wasm" | "native" | "auto";

export interface VolunteersHere {
  /** The session's page. */
  readonly url: string;
  readonly engine: EngineHere;
  /** One entry a volunteer: its own samples by column, or null where the session's data are hosted. */
  readonly data: readonly (LocalColumns | null)[];
  readonly say: (line: string) => void;
}

/** Resolves once all have joined. Rejects with TrainingError where one could not. */
export async function startHere({ url, engine, data, say }: VolunteersHere): Promise<Volunteers> {
  const roster = new Roster(data.length, say);
  const handles: TrainingHandle[] = [];
  const stop = async (): Promise<void> => {
    roster.dismiss();
    // How each of them ended was heard below.
    await Promise.allSettled(handles.map((handle) => handle.leave()));
  };
  const join = async (own: LocalColumns | null, index: number): Promise<void> => {
    const handle = await joinTraining(url, {
      engine,
      workers: 1,
      name: `volunteer ${index + 1}`,
      // Whoever trains in this process wants all of it.
      policies: { slow: "continue" },
      ...(own === null ? {} : { data: own }),
    });
    handles.push(handle);
    handle.finished.then(
      ({ outcome, reason }) => roster.end(index + 1, outcome === "failed" ? reason : ""),
      (error: unknown) => roster.end(index + 1, messageOf(error)),
    );
  };
  const joined = await Promise.allSettled(data.map(join));
  const refused = joined.find(({ status }) => status === "rejected");
  if (refused?.status === "rejected" && !isLate(refused.reason)) {
    await stop();
    throw refused.reason;
  }
  return {
    started: data.length,
    get alive() {
      return roster.alive;
    },
    get lastDeath() {
      return roster.lastDeath;
    },
    stop,
  };
}

/** The others may have done everything before this one had joined: that is no failure. */
const isLate = (error: unknown): boolean => error instanceof TrainingError && error.code === "finished";
