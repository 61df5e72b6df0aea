/** Progress for everyone who watches: built from what the run knows, and cut until it fits a message. */

import { encodeMessage, type Progress, ProtocolError } from "../../shared/protocol/messages.ts";

/** Milliseconds between two progress messages, and of them those that each client is good for: all together get 500 a second at most. */
const SHORTEST_INTERVAL = 250;
const INTERVAL_OF_EACH = 2;

/** Milliseconds between two progress messages to so many clients. */
export const progressInterval = (clients: number): number => Math.max(SHORTEST_INTERVAL, INTERVAL_OF_EACH * clients);

/** Clients that progress is told of; the others are counted. */
export const MOST_SHOWN = 256;

const MOST_IN_MESSAGE = 24;
const DEVICE_CHARACTERS = 48;

/** At most so many of the clients, those with most samples: in the order of samples if some are left out. */
export function mostContributed<Contributor extends { readonly samples: number }>(
  clients: readonly Contributor[],
  most: number,
): readonly Contributor[] {
  if (clients.length <= most) return clients;
  return [...clients].sort((a, b) => b.samples - a.samples).slice(0, most);
}

/**
 * Encodes a progress message of at most 4 KB: the clients that contributed most come first, and the list is cut where
 * it does not fit. `clientCount` still counts them all.
 */
export function encodeProgress(progress: Progress): Uint8Array<ArrayBuffer> {
  let clients = [...progress.clients]
    .sort((a, b) => b.samples - a.samples)
    .slice(0, MOST_IN_MESSAGE)
    .map((client) => ({ ...client, device: client.device.slice(0, DEVICE_CHARACTERS) }));
  for (;;) {
    try {
      return encodeMessage({ ...progress, clients });
    } catch (error) {
      if (!(error instanceof ProtocolError) || clients.length === 0) throw error;
      clients = clients.slice(0, Math.floor(clients.length / 2));
    }
  }
}
