/** A page of before an upgrade: the coordinator speaks another version of the protocol, and has the page that goes with it. */

import { hasPassed } from "../../shared/clock.ts";

const KEY = "commonweight-reloaded";
/** Milliseconds within which a second reload would help no more than the first. */
const PATIENCE = 60_000;

/** Loads the page anew where that is what the code asks for, at most once a minute; answers whether it does. */
export function reloadIfOld(
  code: string | null,
  { sessionStorage, location }: Pick<typeof globalThis, "sessionStorage" | "location"> = globalThis,
  now: number = Date.now(),
): boolean {
  if (code !== "protocol-version") return false;
  try {
    const last = Number(sessionStorage.getItem(KEY) ?? 0);
    if (!hasPassed(last, PATIENCE, now)) return false;
    sessionStorage.setItem(KEY, String(now));
  } catch {
    // Without a memory of it this could go on for ever: the person is told instead.
    return false;
  }
  location.reload();
  return true;
}
