/** Asks a person before something is done that cannot be undone. */

import { createInterface } from "node:readline/promises";
import { CliError } from "./errors.ts";

/** Resolves if it may be done. Throws CliError if not, and where nobody can be asked. */
export async function confirm(warning: string, { yes }: { readonly yes: boolean }): Promise<void> {
  if (yes) return;
  if (process.stdin.isTTY !== true) throw new CliError(`${warning} Nobody can be asked here: say --yes to do it.`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${warning} Go on? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new CliError("nothing was deleted");
  } finally {
    terminal.close();
  }
}
