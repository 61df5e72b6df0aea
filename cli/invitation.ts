/** Links to sessions, with an invitation where a session needs one. */

import { InvalidArgumentError } from "commander";
import { type Capability, doorsOf, MOST_DAYS } from "../shared/session/access.ts";
import type { CoordinatorApi } from "./api.ts";

const DAY = 86_400;
const UNITS: Readonly<Record<string, number>> = { m: 60, h: 3_600, d: DAY };

/** Seconds that the links of commands last that train. */
const TRAINING = 30 * DAY;

/** A parser of durations such as `90m`, `12h` and `7d`, in seconds. */
export function duration(text: string): number {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text.trim()) ?? [];
  const seconds = Number(count) * (UNITS[unit ?? ""] ?? Number.NaN);
  if (seconds >= 60 && seconds <= MOST_DAYS * DAY) return seconds;
  throw new InvalidArgumentError(`expected minutes, hours or days, such as 90m, 12h or 7d, up to ${MOST_DAYS}d`);
}

/** A link that carries an invitation in its fragment, which browsers send to nobody. */
export async function inviteTo(
  api: CoordinatorApi,
  id: string,
  capability: Capability,
  seconds: number,
): Promise<{ readonly link: string; readonly expires: Date }> {
  const { token, expires } = await api.invite(id, capability, seconds);
  return { link: `${api.server}/s/${id}#join=${token}`, expires: new Date(expires * 1_000) };
}

/** The link to share: with an invitation where nobody comes in without one. */
export async function linkOf(api: CoordinatorApi, id: string): Promise<string> {
  if (doorsOf(id).join !== "invited") return `${api.server}/s/${id}`;
  return (await inviteTo(api, id, "join", TRAINING)).link;
}

/** The link for one's own volunteers, who pass no check: with an invitation where the one to share asks for it. */
export async function ownLinkOf(api: CoordinatorApi, id: string, shared: string): Promise<string> {
  return doorsOf(id).join === "checked" ? (await inviteTo(api, id, "join", TRAINING)).link : shared;
}
