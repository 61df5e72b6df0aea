/** Chooses the data source that a session asks for. */

import { datasetBytes } from "../../shared/session/manifest.ts";
import type { SessionAddress } from "../core/address.ts";
import { sessionUrl } from "../core/address.ts";
import { TrainingError } from "../core/errors.ts";
import type { Platform } from "../core/platform.ts";
import type { CheckedSession } from "../core/session.ts";
import { ChunkStore } from "./chunks.ts";
import { HostedSource } from "./hosted.ts";
import type { LocalColumns } from "./local.ts";
import { LocalSource } from "./local.ts";
import type { DataSource } from "./source.ts";

/**
 * Throws TrainingError `invalid-argument` if the session wants the caller's own data and there are none, or the other
 * way round.
 */
export function openData(
  platform: Platform,
  address: SessionAddress,
  session: CheckedSession,
  columns: LocalColumns | undefined,
  onLoaded: (loadedBytes: number, totalBytes: number) => void,
): DataSource {
  const { definition, graph, manifest, plan } = session;
  const { data, seed } = definition;
  if (data.source === "local") {
    if (columns === undefined) {
      const names = data.columns.map(({ name, shape }) => `${name} [${["samples", ...shape].join(", ")}]`).join(", ");
      throw new TrainingError(
        "invalid-argument",
        `this session trains on the clients' own data: pass { data } with ${names}`,
      );
    }
    const shuffleSeed = Math.floor(platform.random() * 2 ** 32);
    return new LocalSource({ graph, data, columns, plan, shuffleSeed });
  }
  if (columns !== undefined) {
    throw new TrainingError("invalid-argument", "this session trains on its own data set: leave { data } out");
  }
  if (manifest === null) throw new TrainingError("refused-session", "a hosted session without a data set");
  const total = datasetBytes(manifest);
  const chunks = new ChunkStore({
    platform,
    url: (hash) => sessionUrl(address, `chunks/${hash}`),
    onLoaded: (loaded) => onLoaded(loaded, total),
  });
  return new HostedSource({ graph, data, manifest, plan, seed, chunks, now: platform.now });
}
