/** The token of an invitation, as it stands in a link. */

import { TrainingError } from "./errors.ts";

const FIELD = "join";
/** Three parts of base64url: the letters that a subprotocol may have. */
const TOKEN = /^[A-Za-z0-9_-]{1,400}(?:\.[A-Za-z0-9_-]{1,400}){2}$/;

/** The token of a link's fragment, with or without its `#`; undefined if it has none. Throws TrainingError `invalid-argument`. */
export function tokenOf(fragment: string): string | undefined {
  const token = new URLSearchParams(fragment.replace(/^#/, "")).get(FIELD);
  return token === null ? undefined : checkToken(token);
}

/** Throws TrainingError `invalid-argument` for what cannot be one: it is not quoted, for it may be a secret. */
export function checkToken(token: string): string {
  if (TOKEN.test(token)) return token;
  throw new TrainingError("invalid-argument", "the invitation is damaged: copy the whole link, to its last letter");
}
