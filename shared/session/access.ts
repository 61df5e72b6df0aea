/**
 * Who may join a session and who may read it. Its id says both, in two digits after its 128 random bits, so that the edge
 * knows what to ask for without waking anything; the id without them, or with others, is the id of no session.
 */

import * as v from "valibot";

export interface Access {
  /**
   * Whether the link is enough to take part, or an invitation is needed, or a check that the coordinator's own page has (Cloudflare
   * Turnstile): who has an invitation needs none.
   */
  readonly join: "open" | "checked" | "invited";
  /** Whether the session, its metrics, weights and chunks are for everyone who has the link, or for the invited. */
  readonly read: "open" | "invited";
  /**
   * Pages that may connect to it, such as `https://example.org`; absent for all. A client that names no origin, as programs
   * outside browsers, then needs an invitation.
   */
  readonly origins?: readonly string[];
}

export const OPEN: Access = { join: "open", read: "open" };

const MOST_ORIGINS = 32;

const origin = v.pipe(
  v.string(),
  v.maxLength(200),
  v.regex(
    /^https?:\/\/(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?$/,
    "an origin is a scheme, a host in small letters and perhaps a port, as https://example.org",
  ),
);

export const accessSchema = v.pipe(
  v.strictObject({
    join: v.picklist(["open", "checked", "invited"]),
    read: v.picklist(["open", "invited"]),
    origins: v.exactOptional(v.pipe(v.array(origin), v.minLength(1), v.maxLength(MOST_ORIGINS))),
  }),
  // Who takes part holds the weights.
  v.check(({ join, read }) => join === "invited" || read === "open", "who may join may read: give join: invited, too"),
);

type Doors = Pick<Access, "join" | "read">;

/** By what comes after the random digits of an id. */
const DOORS: Readonly<Record<string, Doors>> = {
  "": OPEN,
  "01": { join: "invited", read: "open" },
  "02": { join: "checked", read: "open" },
  "03": { join: "invited", read: "invited" },
};

/** Ids of 32 hex digits, or 34 where the link alone is not enough. */
const SESSION_ID = /^[0-9a-f]{32}(01|02|03)?$/;

export const isSessionId = (id: string): boolean => SESSION_ID.test(id);

/** What comes after the random digits of the id of a session with this access. */
export function idEnding({ join, read }: Doors): string {
  if (join === "invited") return read === "open" ? "01" : "03";
  return join === "checked" ? "02" : "";
}

/** What the id of a session asks for. */
export const doorsOf = (id: string): Doors => DOORS[SESSION_ID.exec(id)?.[1] ?? ""] ?? OPEN;

/** What a token may allow; each allows what those after it allow. */
export const CAPABILITIES = ["admin", "join", "observe"] as const;
export type Capability = (typeof CAPABILITIES)[number];

export const allows = (held: Capability, wanted: Capability): boolean =>
  CAPABILITIES.indexOf(held) <= CAPABILITIES.indexOf(wanted);

/** Most days that a token may last. */
export const MOST_DAYS = 366;

/** What the check's widget and Cloudflare's word on its response call the occasion: a response for anything else counts for nothing. */
export const CHECK_ACTION = "join";

/** The WebSocket subprotocol that carries a token: browsers can send no header with an upgrade. */
export const BEARER_SUBPROTOCOL = "bearer.";
