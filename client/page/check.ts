/**
 * The way to the check and back, for sessions that ask for one before joining. It is on a page of its own, for this one is isolated
 * from other origins and could not show it. Who pressed the button and passed need not press it again: the tab remembers.
 */

import type { EngineChoice } from "../index.ts";
import { storageOfTab, token } from "./token.ts";

const keyOf = (path: string): string => `commonweight:wish:${path}`;
const ENGINES: readonly EngineChoice[] = ["auto", "webgpu", "wasm"];

/** @param engine what the volunteer wants to compute on */
export function goToCheck(engine: EngineChoice): void {
  const { pathname, search } = location;
  storageOfTab()?.setItem(keyOf(pathname), engine);
  location.assign(`${pathname}/door${search}`);
}

/** What to compute on, for who comes back from the check with a token; null for everyone else. Only once. */
export function wishAfterCheck(): EngineChoice | null {
  const key = keyOf(location.pathname);
  const storage = storageOfTab();
  const wish = storage?.getItem(key);
  storage?.removeItem(key);
  return token === undefined ? null : (ENGINES.find((engine) => engine === wish) ?? null);
}
