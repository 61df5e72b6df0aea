/**
 * One identity per tab: kept in sessionStorage, so that a reloaded tab comes back as itself, and guarded by a lock,
 * because a duplicated tab starts with a copy of that storage and must not throw the first tab out.
 */

import type { SessionAddress } from "../core/address.ts";
import type { Identity } from "../core/events.ts";

const HEX = /^[0-9a-f]{32}$/;

const keyOf = ({ server, id }: SessionAddress): string => `commonweight:${server}/s/${id}`;

/** Storage is refused to sandboxed frames and by some settings: then every join is a new client. */
function storageOf(): Storage | null {
  try {
    return globalThis.sessionStorage;
  } catch {
    return null;
  }
}

function readStored(address: SessionAddress): Identity | null {
  const text = storageOf()?.getItem(keyOf(address)) ?? null;
  if (text === null) return null;
  const [client = "", resumeKey = ""] = text.split(" ");
  return HEX.test(client) && HEX.test(resumeKey) ? { client, resumeKey } : null;
}

/** A tab's claim to its identity; `release` lets another tab have it. */
export interface TabIdentity {
  readonly identity: Identity | null;
  keep(identity: Identity): void;
  forget(): void;
  release(): void;
}

/** Holds the lock of a client id until released; resolves false if another tab holds it. */
function claim(client: string, released: Promise<void>): Promise<boolean> {
  const { locks } = navigator;
  // Insecure pages have no locks: there the coordinator's `replaced` decides.
  if (locks === undefined) return Promise.resolve(true);
  return new Promise((resolve) => {
    locks
      .request(`commonweight:${client}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock === null ? undefined : released;
      })
      .catch(() => resolve(true));
  });
}

export async function claimTabIdentity(address: SessionAddress): Promise<TabIdentity> {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const stored = readStored(address);
  const identity = stored !== null && (await claim(stored.client, released)) ? stored : null;
  let claimed = identity?.client ?? null;
  return {
    identity,
    keep({ client, resumeKey }) {
      try {
        storageOf()?.setItem(keyOf(address), `${client} ${resumeKey}`);
      } catch {
        // A full storage costs no more than a new identity after a reload.
      }
      if (claimed !== client) void claim(client, released);
      claimed = client;
    },
    forget: () => storageOf()?.removeItem(keyOf(address)),
    release,
  };
}
