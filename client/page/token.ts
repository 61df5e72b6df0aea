/**
 * The invitation in this page's address: taken out of it before anything else happens, so that it is in no history, no
 * screenshot and no link that is copied from there. The tab keeps it, for a page that is read again.
 */

const FIELD = "join";
const keyOf = (path: string): string => `commonweight:invitation:${path}`;

/** What of the page's surroundings it needs. */
export interface Surroundings {
  readonly location: { readonly hash: string; readonly pathname: string; readonly search: string };
  readonly history: { replaceState(data: null, unused: string, url: string): void };
  /** Null where the browser allows none. */
  readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
}

/** The token, or undefined where nobody was invited. */
export function takeInvitation({ location, history, storage }: Surroundings): string | undefined {
  const { hash, pathname, search } = location;
  const given = new URLSearchParams(hash.slice(1)).get(FIELD);
  if (given === null) return storage?.getItem(keyOf(pathname)) ?? undefined;
  history.replaceState(null, "", pathname + search);
  storage?.setItem(keyOf(pathname), given);
  return given;
}

/** Null where the browser allows none. */
export function storageOfTab(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** This page's, taken as it loads. */
export let token: string | undefined =
  typeof location === "undefined" ? undefined : takeInvitation({ location, history, storage: storageOfTab() });

/** It is good for nothing any more. */
export function forgetInvitation(): void {
  token = undefined;
  storageOfTab()?.removeItem(keyOf(location.pathname));
}
