/**
 * Bugs that the simulation must find, by name: each breaks one promise at a seam, while the source stays as it is. A test of the
 * tests: `test/coordinator/simulate.test.ts` runs them all.
 */

import { StepAggregate } from "../../coordinator/aggregate/index.ts";
import type { Lease, RoundEffect, RoundEvent } from "../../coordinator/round/index.ts";
import { Admission } from "../../coordinator/session/admission.ts";
import { Ledger } from "../../coordinator/session/ledger.ts";
import { Run } from "../../coordinator/session/run.ts";
import { SessionStore } from "../../coordinator/store/store.ts";
import type { PlatformMutation } from "./platform.ts";
import { framesSeam } from "./seams/frames.ts";
import { roundSeam } from "./seams/round.ts";

export interface Mutation {
  readonly breaks: string;
  readonly platform?: PlatformMutation;
  /** Breaks it; what it returns puts it right again. */
  readonly tamper?: () => () => void;
}

/** Puts another method in a method's place. */
function replace<Target extends object, Name extends keyof Target>(
  target: Target,
  name: Name,
  by: (real: Target[Name]) => Target[Name],
): () => void {
  const real = target[name];
  target[name] = by(real);
  return () => {
    target[name] = real;
  };
}

/** Changes the round's effects. */
const effects = (change: (effect: RoundEffect) => readonly RoundEffect[]): (() => () => void) => {
  return () =>
    replace(roundSeam, "through", () => (machine) => (state, event) => machine(state, event).flatMap(change));
};

/** Changes the round's events; null is not told. */
const events = (change: (event: RoundEvent) => RoundEvent | null): (() => () => void) => {
  return () =>
    replace(roundSeam, "through", () => (machine) => (state, event) => {
      const told = change(event);
      return told === null ? [] : machine(state, told);
    });
};

/** Now and then: the first time too. */
const every = (count: number): (() => boolean) => {
  let times = 0;
  return () => times++ % count === 0;
};

export const MUTATIONS = {
  "double-count": {
    breaks: "a result is added twice",
    tamper: () => {
      const isNow = every(7);
      return effects((effect) => (effect.type === "accept" && isNow() ? [effect, effect] : [effect]))();
    },
  },
  "lost-result": {
    breaks: "an accepted result is not added",
    tamper: () => {
      const isNow = every(7);
      return effects((effect) => (effect.type === "accept" && isNow() ? [] : [effect]))();
    },
  },
  "double-added": {
    breaks: "what was computed again to be compared is added as well",
    tamper: effects((effect) => (effect.type === "compared" ? [{ ...effect, type: "accept" }] : [effect])),
  },
  "lost-lease": {
    breaks: "a lease that ran out is handed to nobody else",
    tamper: events((event) => (event.type === "tick" ? null : event)),
  },
  "broadcast-before-durable": {
    breaks: "weights go out before the step is durable",
    platform: { sendsBeforeDurable: true },
  },
  "stale-gradient": {
    breaks: "a gradient of other weights is accepted",
    tamper: () => {
      const leases = new Map<number, Lease>();
      const undo = [
        effects((effect) => {
          if (effect.type === "assign") leases.set(effect.lease.id, effect.lease);
          return [effect];
        })(),
        replace(framesSeam, "read", () => (frame) => {
          const lease = leases.get(frame.lease);
          return lease === undefined ? frame : { ...frame, version: lease.version, step: lease.step };
        }),
      ];
      return () => {
        for (const each of undo) each();
      };
    },
  },
  "step-not-logged": {
    breaks: "the optimizer's input is not in the step's transaction",
    tamper: () =>
      replace(SessionStore.prototype, "commit", (real) => {
        return function (this: SessionStore, commit) {
          real.call(this, { ...commit, record: null });
        };
      }),
  },
  "replayed-twice": {
    breaks: "recovery applies the log's last step twice",
    tamper: () =>
      replace(SessionStore.prototype, "records", (real) => {
        return function* (this: SessionStore) {
          const records = [...real.call(this)];
          yield* records;
          const last = records.at(-1);
          if (last !== undefined) yield last;
        };
      }),
  },
  "torn-transaction": {
    breaks: "a death in the middle of a transaction leaves half of it",
    platform: { tearsTransactions: true },
  },
  "checkpoint-without-moments": {
    breaks: "a checkpoint has the weights, and the optimizer's state of before",
    tamper: () =>
      replace(SessionStore.prototype, "checkpoint", (real) => {
        return function (this: SessionStore, state, { weights }, ...entry) {
          real.call(this, state, { weights }, ...entry);
        };
      }),
  },
  "lease-numbers-again": {
    breaks: "after a restart leases have the numbers of those before it",
    tamper: () => replace(SessionStore.prototype, "nextIncarnation", () => () => 1),
  },
  "lost-alarm": {
    breaks: "alarms are not set",
    platform: { losesAlarms: true },
  },
  "unchecked-frames": {
    breaks: "a result's kind and size are not looked at",
    tamper: () => replace(Admission.prototype, "checkHeader", () => () => {}),
  },
  "lost-credit": {
    breaks: "who computed a step is not written down with it",
    tamper: () => {
      const isNow = every(5);
      return replace(SessionStore.prototype, "commit", (real) => {
        return function (this: SessionStore, commit) {
          real.call(this, isNow() ? { ...commit, gains: [] } : commit);
        };
      });
    },
  },
  "ledger-leak": {
    breaks: "memory of weights that were acknowledged is not given back",
    tamper: () =>
      replace(Ledger.prototype, "give", (real) => {
        return function (this: Ledger, account, bytes) {
          if (account !== "downlinks") real.call(this, account, bytes);
        };
      }),
  },
  "sums-kept": {
    breaks: "a piece of work begins with the figures of the one before",
    tamper: () => replace(StepAggregate.prototype, "reset", () => () => {}),
  },
  "grid-forgotten": {
    breaks: "after a restart the grid is that of no gradients",
    tamper: () =>
      replace(SessionStore.prototype, "state", (real) => {
        return function (this: SessionStore) {
          const state = real.call(this);
          return { ...state, envelope: state.envelope.map((exponent) => Math.max(0, exponent - 1)) };
        };
      }),
  },
  "completes-early": {
    breaks: "a step is complete before its last result is added",
    tamper: () =>
      replace(Run.prototype, "add", (real) => {
        return function (this: Run, contribution, ...whose) {
          return this.samples > 0 && contribution.microBatches === 1 ? true : real.call(this, contribution, ...whose);
        };
      }),
  },
} as const satisfies Readonly<{ [name: string]: Mutation }>;
