/** Session ids: 128 random bits in hex, unlisted and opaque. Nothing else decodes them. */

import type { TrainingSession } from "../coordinator/session/session.ts";
import type { Env } from "./env.ts";
import { HttpError } from "./errors.ts";

const SESSION_ID = /^[0-9a-f]{32}$/;

export function newSessionId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const isSessionId = (id: string): boolean => SESSION_ID.test(id);

/**
 * The object of a session. The only place that decodes an id, so that jurisdiction and placement can be fixed at creation.
 * Throws HttpError 404 `unknown-session` for what cannot be an id.
 */
export function sessionStub(env: Env, id: string): DurableObjectStub<TrainingSession> {
  if (!isSessionId(id)) {
    throw new HttpError(404, "unknown-session", "a session's id is 32 lower-case hexadecimal characters");
  }
  return env.SESSION.get(env.SESSION.idFromName(id));
}
