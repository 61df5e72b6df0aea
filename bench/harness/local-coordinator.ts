/** A coordinator as the command line embeds it, in a folder that goes with it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CoordinatorApi } from "../../cli/api.ts";
import { type Coordinator, startCoordinator } from "../../cli/coordinator.ts";
import { cutDataset, type DatasetContent } from "../../cli/dataset.ts";
import { openState, type StateFolder } from "../../cli/state.ts";

/** With one data set, named `mnist`, or with none. */
export class LocalCoordinator {
  readonly api: CoordinatorApi;
  readonly url: string;
  /** Where the Worker hears the address that a client comes from, as it does on Cloudflare. */
  readonly frontDoor: string;
  readonly #coordinator: Coordinator;
  readonly #state: StateFolder;
  readonly #folder: string;

  static async start(content?: DatasetContent): Promise<LocalCoordinator> {
    const folder = mkdtempSync(join(tmpdir(), "commonweight-bench-"));
    const state = openState(join(folder, "state"));
    const coordinator = await startCoordinator({ state, port: 0, say: () => {} });
    const started = new LocalCoordinator(coordinator, state, folder);
    if (content === undefined) return started;
    try {
      const { manifest, chunks } = cutDataset("mnist", content);
      await started.api.pushDataset(manifest, chunks, () => {});
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
    return started;
  }

  private constructor(coordinator: Coordinator, state: StateFolder, folder: string) {
    this.#coordinator = coordinator;
    this.#state = state;
    this.#folder = folder;
    this.url = coordinator.url;
    this.frontDoor = coordinator.frontDoor;
    this.api = new CoordinatorApi(coordinator.url, state.secret);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#coordinator.stop();
    this.#state.release();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
