/**
 * How many steps a training takes to an accuracy. That is a matter of batch, learning rate and seed, not of who computes: the
 * weights have the same bits in any fleet of WASM. So one volunteer in this process finds it, who looks at the test set again and
 * again at steps that are always the same: with looks where a clock has them, one training is seen to be there a fifth sooner or later.
 */

import { joinTraining } from "../../client/node/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { valuesOf } from "../harness/mnist.ts";

/** Samples between two looks, at least. */
const INTERVAL = 1024;

function testSet(): { readonly images: Float32Array; readonly classes: Uint8Array } {
  return { images: Float32Array.from(valuesOf("testImages"), (pixel) => pixel / 255), classes: valuesOf("testLabels") };
}

function accuracyOf(scores: Float32Array, classes: Uint8Array): number {
  const width = scores.length / classes.length;
  let right = 0;
  for (const [sample, label] of classes.entries()) {
    const own = scores.subarray(sample * width, (sample + 1) * width);
    if (own.indexOf(Math.max(...own)) === label) right += 1;
  }
  return right / classes.length;
}

/** Steps after which the test set's accuracy is first seen at the target; null if it is not within so many. */
export async function stepsTo(
  coordinator: LocalCoordinator,
  definition: SessionDefinition,
  target: number,
  most: number,
): Promise<number | null> {
  const { images, classes } = testSet();
  const { id } = await coordinator.api.createSession(definition);
  const interval = Math.ceil(INTERVAL / definition.batchSize);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
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
        const reached = accuracyOf(await handle.predict({ x: images }), classes) >= target;
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
