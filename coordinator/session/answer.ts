/**
 * What a session's methods answer over RPC: errors lose their class on the way, so expected refusals are values. Bodies
 * are JSON text, made once and passed through as they are.
 */

export interface Refusal {
  readonly ok: false;
  /** HTTP status. */
  readonly status: 400 | 404 | 409 | 422 | 503;
  readonly code: string;
  readonly message: string;
}

export type Answer = { readonly ok: true; readonly json: string } | Refusal;

export const answer = (value: unknown): Answer => ({ ok: true, json: JSON.stringify(value) });

export const refuse = (status: Refusal["status"], code: string, message: string): Refusal => ({
  ok: false,
  status,
  code,
  message,
});

export const UNKNOWN_SESSION: Refusal = refuse(
  404,
  "unknown-session",
  "there is no such session; it may have been deleted",
);
