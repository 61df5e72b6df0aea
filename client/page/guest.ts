/** The SDK's manners as the page uses them, where the SDK at hand does not have them yet. To be removed with its delivery. */

import type { TrainingHandle } from "../index.ts";

export type Circumstance = "hidden" | "battery" | "metered" | "slow";
export type Reaction = "continue" | "ease" | "pause";
export type PauseCause = "volunteer" | "session" | Circumstance;
export interface Usage {
  readonly computeSeconds: number;
  readonly activeSeconds: number;
  readonly bytesDown: number;
  readonly bytesUp: number;
  readonly share: number;
  readonly dutyCycle: number;
  readonly circumstances: readonly Circumstance[];
}

export interface GuestHandle extends Omit<TrainingHandle, "on"> {
  readonly usage?: Usage;
  setShare?(share: number): void;
  setPolicies?(policies: Partial<Record<Circumstance, Reaction>>): void;
  forget?(): Promise<void>;
  on: TrainingHandle["on"] & ((type: "usage", listener: (usage: Usage) => void) => () => void);
}

export const asGuest = (handle: TrainingHandle): GuestHandle => handle as unknown as GuestHandle;

export const causeOf = (detail: { readonly status: string; readonly cause?: PauseCause | null }): PauseCause | null =>
  detail.cause ?? (detail.status === "paused" ? "volunteer" : null);

export const nameOf = (client: object): string =>
  "name" in client && typeof client.name === "string" ? client.name : "";
