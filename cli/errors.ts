/** What goes wrong in a way that a person can mend: the message says how, and no stack is shown unless asked for. */

export class CliError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CliError";
  }
}

/** A coordinator's refusal: `code` and `status` are those of docs/protocol.md. */
export class RefusedError extends CliError {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "RefusedError";
    this.status = status;
    this.code = code;
  }
}

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** One line for people, or with `debug` where it came from and what caused it. Anything but a CliError is a fault of ours. */
export function describe(error: unknown, debug: boolean): string {
  if (debug) return `error: ${error instanceof Error ? describeStack(error) : String(error)}`;
  if (error instanceof CliError) return `error: ${error.message}`;
  return `error: ${messageOf(error)}\nthis was not expected; --debug shows where it came from`;
}

function describeStack(error: Error): string {
  const stack = error.stack ?? error.message;
  return error.cause instanceof Error ? `${stack}\ncaused by ${describeStack(error.cause)}` : stack;
}
