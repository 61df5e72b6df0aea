/**
 * The log: one JSON object a line, with the session and its step where there are any, so that a machine can filter it. It goes to the
 * console, which Cloudflare keeps (`wrangler tail`, Workers Logs) and the local coordinator writes to `coordinator.log`.
 */

export type Level = "info" | "warn" | "error";

export interface LogFields {
  /** Id of the session. */
  readonly session?: string;
  readonly step?: number;
  readonly [name: string]: string | number | boolean | null | undefined;
}

const METHODS = { info: "log", warn: "warn", error: "error" } as const satisfies Record<Level, keyof Console>;

/** @param event a stable name in lower case, such as `paused` or `request-failed` */
export function log(level: Level, event: string, fields: LogFields): void {
  console[METHODS[level]](JSON.stringify({ level, event, ...fields }));
}

/** What is known of an error, as fields of a line. The log is the operator's: the stack belongs in it, and nowhere else. */
export const errorFields = (error: unknown): LogFields =>
  error instanceof Error ? { error: error.message, stack: error.stack ?? "" } : { error: String(error) };
