/** A coordinator that is killed while a session trains, and started again as another version of this package, with real processes. */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { prepareBundle } from "../../cli/coordinator.ts";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { joinTraining, type TrainingHandle } from "../../client/node/index.ts";
import { PROTOCOL_ERRORS, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { mnistFiles } from "../fixtures/mnist.ts";
import { mnistSession, untilDone } from "./coordinator.ts";
import { type Dev, HERE, killTree, startDev } from "./dev.ts";
import { type Difference, makeVersion, NEWER_PROTOCOL } from "./other-version.ts";

const { trainImages: images, trainLabels: labels, testImages, testLabels } = mnistFiles;
const folder = mkdtempSync(join(tmpdir(), "commonweight-upgrade-"));
const state = join(folder, "state");
const definition = mnistSession({ maxSteps: 30 });

describe("a coordinator that is upgraded while a session trains", () => {
  let dev: Dev;
  let expected: string;

  const begin = async (): Promise<{ id: string; volunteer: TrainingHandle }> => {
    const { id } = await dev.api.createSession(definition);
    const volunteer = await joinTraining(`${dev.url}/s/${id}`, { engine: "wasm", workers: 1 });
    return { id, volunteer };
  };
  /** Kills it once so many steps are done, and starts another version on the same port and state. */
  const upgrade = async (id: string, difference: Difference): Promise<string> => {
    const root = makeVersion(join(folder, difference), difference);
    await expect
      .poll(async () => (await dev.api.readSession(id)).progress.step, { timeout: 120_000, interval: 20 })
      .toBeGreaterThan(4);
    killTree(dev);
    dev = await startDev(state, new URL(dev.url).port, { ...HERE, root });
    return root;
  };
  const result = async (id: string) => (await untilDone(dev.api, id)).result?.weightsHash;

  beforeAll(async () => {
    await prepareBundle(() => {});
    dev = await startDev(state);
    const { manifest, chunks } = cutDataset("mnist", readImageSet({ images, labels, testImages, testLabels }));
    await dev.api.pushDataset(manifest, chunks, () => {});
    const { id, volunteer } = await begin();
    expected = (await result(id)) ?? "";
    expect(expected).toMatch(/^[0-9a-f]{64}$/);
    await volunteer.finished;
  });
  afterAll(() => {
    if (dev !== undefined) killTree(dev);
    rmSync(folder, { recursive: true, force: true });
  });

  it("goes on with the clients that are there, to the same bits, where another build speaks the same protocol", async () => {
    const { id, volunteer } = await begin();
    await upgrade(id, "build");
    expect(await result(id)).toBe(expected);
    await volunteer.finished;
    // What of its log was written by the other build it computed again.
    const { events } = await dev.api.readJournal(id);
    expect(events.map(({ event }) => event)).toContain("kernels");
  });

  it("tells old clients so where it speaks a newer protocol, and ends with the same bits by new ones", async () => {
    const { id, volunteer } = await begin();
    const ended = expect(volunteer.finished).rejects.toMatchObject({
      code: "protocol-version",
      message: `this coordinator speaks ${NEWER_PROTOCOL}, not ${SUBPROTOCOL}: load the newer client`,
    });
    const root = await upgrade(id, "protocol");
    await ended;
    const socket = new WebSocket(`${dev.url.replace("http", "ws")}/api/sessions/${id}/socket`, SUBPROTOCOL);
    const close = await new Promise<CloseEvent>((resolve) => socket.addEventListener("close", resolve));
    expect([close.code, close.reason]).toEqual([PROTOCOL_ERRORS["protocol-version"].close, "protocol-version"]);

    const bin = join(root, "bin/commonweight.js");
    const link = `${dev.url}/s/${id}`;
    const newer = spawn(process.execPath, [bin, "volunteer", link, "--engine", "wasm", "--workers", "1"], {
      stdio: "ignore",
    });
    try {
      expect(await result(id)).toBe(expected);
    } finally {
      newer.kill("SIGKILL");
    }
  });
});
