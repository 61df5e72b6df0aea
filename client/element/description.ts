/**
 * What the element shows of a session before anyone takes part: a title and how far it is. Read without the rest of the SDK
 * and trusted for nothing but display; whoever joins reads the session again, with every check (client/core/session.ts).
 */

import { type SessionAddress, sessionUrl } from "../core/address.ts";
import { TrainingError } from "../core/errors.ts";
import { invitationHeaders } from "../core/invitation.ts";

/** Characters of a title that are shown; a coordinator accepts no longer ones. */
const TITLE_LIMIT = 200;

/** Statuses of a session after which nothing is left to compute. */
export const ENDS: ReadonlySet<unknown> = new Set(["finished", "stopped", "failed"]);

export interface SessionStanding {
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number | null;
  /** Nothing is left to compute. */
  readonly isOver: boolean;
}

export interface SessionDescription extends SessionStanding {
  readonly title: string;
}

/** Before anything was heard. */
export const NOTHING_YET: SessionDescription = { title: "", step: 0, totalSteps: 0, loss: null, isOver: false };

/** A stranger's JSON: any field may be absent or of any type. */
type Untrusted<T> = { readonly [Key in keyof T]?: unknown };

const count = (value: unknown): number => (typeof value === "number" && value >= 0 ? value : 0);

function parseDescription(reply: unknown): SessionDescription {
  const { definition, progress } = (reply ?? {}) as Untrusted<{ definition: unknown; progress: unknown }>;
  const { title } = (definition ?? {}) as Untrusted<{ title: string }>;
  const { step, totalSteps, loss, status } = (progress ?? {}) as Untrusted<{
    step: number;
    totalSteps: number;
    loss: number;
    status: string;
  }>;
  return {
    title: typeof title === "string" ? title.slice(0, TITLE_LIMIT) : "",
    step: count(step),
    totalSteps: count(totalSteps),
    loss: typeof loss === "number" ? loss : null,
    isOver: ENDS.has(status),
  };
}

/** Throws TrainingError `unknown-session` or `network`, or the signal's reason. */
export async function readDescription(address: SessionAddress, signal: AbortSignal): Promise<SessionDescription> {
  let response: Response;
  try {
    response = await fetch(sessionUrl(address), {
      headers: invitationHeaders(address),
      credentials: "omit",
      referrerPolicy: "no-referrer",
      redirect: "error",
      signal,
    });
    if (response.ok) return parseDescription(await response.json());
  } catch (cause) {
    signal.throwIfAborted();
    throw new TrainingError("network", `the coordinator at ${address.server} does not answer`, { cause });
  }
  if (response.status === 404) {
    throw new TrainingError("unknown-session", "there is no such session; it may have been deleted");
  }
  if (response.status === 401 || response.status === 403) {
    throw new TrainingError("not-invited", "this session is by invitation, and the link has none that is good");
  }
  throw new TrainingError("network", `the coordinator at ${address.server} answered ${response.status}`);
}
