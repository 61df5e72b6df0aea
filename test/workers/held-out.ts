/** A data set with samples to hold out, for scripted clients that make up what they compute. */

import { expect } from "vitest";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import { asAdmin, request } from "./fleet.ts";

/** Samples to train on, and after them those to hold out. */
export const TRAIN = 16;
export const HELD_OUT = 8;

/** Pushes it as `held-out`: columns x (one byte) and y (a class). */
export async function pushHeldOut(): Promise<void> {
  const samples = TRAIN + HELD_OUT;
  const bytes = new Uint8Array(samples * 5);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hash = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  expect((await request(`/api/chunks/${hash}`, asAdmin({ method: "PUT", body: bytes }))).ok).toBe(true);
  const manifest: DatasetManifest = {
    format: 1,
    name: "held-out",
    samples,
    chunkSamples: samples,
    columns: [
      { name: "x", dtype: "uint8", shape: [1] },
      { name: "y", dtype: "int32", shape: [] },
    ],
    splits: { train: [0, samples] },
    chunks: [hash],
  };
  const pushed = await request("/api/datasets/held-out", asAdmin({ method: "PUT", body: JSON.stringify(manifest) }));
  expect(pushed.ok).toBe(true);
}
