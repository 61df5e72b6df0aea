/** Session ids: 128 random bits in hex and what the session's access adds (shared/session/access.ts), unlisted and opaque. */

import type { TrainingSession } from "../coordinator/session/session.ts";
import { type Access, idEnding, isSessionId, OPEN } from "../shared/session/access.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { Env } from "./env.ts";
import { HttpError } from "./errors.ts";

export function newSessionId({ access = OPEN }: Pick<SessionDefinition, "access">): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("") + idEnding(access satisfies Access);
}

/**
 * The object of a session. The only place that decodes an id, so that jurisdiction and placement can be fixed at creation.
 * Throws HttpError 404 `unknown-session` for what cannot be an id.
 */
export function sessionStub(env: Env, id: string): DurableObjectStub<TrainingSession> {
  if (!isSessionId(id)) {
    throw new HttpError(404, "unknown-session", "a session's id is 32 or 34 lower-case hexadecimal characters");
  }
  return env.SESSION.get(env.SESSION.idFromName(id));
}
