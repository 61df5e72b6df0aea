/**
 * How many steps a training takes to an accuracy. That is a matter of batch, learning rate and seed, not of who computes: the
 * weights have the same bits in any fleet of WASM. So one volunteer in this process finds it, who looks at the test set again and
 * again at steps that are always the same: with looks where a clock has them, one training is seen to be there a fifth sooner or later.
 */

import { joinTraining } from "../../client/node/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { valuesOf } from "../harness/mnist.ts";
import { countRight } from "./page/right.ts";

/** Samples between two looks, at least. */
const INTERVAL = 1024;

/** Steps after which the test set's accuracy is first seen at the target; null if it is not within so many. */
export async function stepsTo(
  coordinator: LocalCoordinator,
  definition: SessionDefinition,
  target: number,
  most: number,
): Promise<number | null> {
  const images = Float32Array.from(valuesOf("testImages"), (pixel) => pixel / 255);
  const labels = valuesOf("testLabels");
  const { id } = await coordinator.api.createSession(definition);
  const interval = Math.ceil(INTERVAL / definition.batchSize);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  // What ends the client also rejects the joining itself, where it had not come so far.
  promise.catch(() => {});
  const handle = await joinTraining(`${coordinator.url}/s/${id}`, {
    engine: "wasm",
    workers: 1,
    onEvent(event) {
      if (event.type === "error" && event.detail.fatal) reject(new Error(event.detail.message));
      if (event.type !== "weights") return;
      const { step } = event.detail;
      if (step === 0 || step % interval !== 0) return;
      // The only volunteer predicts before it computes: no step passes in between.
      const look = async () => {
        const right = countRight(await handle.predict({ x: images }), labels);
        const reached = right >= target * labels.length;
        if (reached || step >= most) resolve(reached ? step : null);
      };
      look().catch(reject);
    },
  });
  try {
    return await promise;
  } finally {
    await handle.leave();
    await coordinator.api.deleteSession(id);
  }
}
