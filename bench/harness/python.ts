/** A Python process with PyTorch that answers one line to each line that it is asked. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Refusal } from "./race.ts";

const HINT = "PyTorch is not here: on Debian, apt-get install python3-torch";

/** Python that is asked; a virtual environment's by PYTHON. */
const interpreter = (): string => process.env.PYTHON ?? "/usr/bin/python3";

export class Conversation {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  /** Starts a script, which says one line when it is ready. Throws Refusal `unavailable` if it cannot run. */
  static async start(script: string, args: readonly string[]): Promise<Conversation> {
    const child = spawn(interpreter(), [script, ...args], { stdio: ["pipe", "pipe", "ignore"] });
    child.on("error", () => {}); // its output ends, which says so
    const conversation = new Conversation(child);
    await conversation.#listen();
    return conversation;
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error("a child process without its output");
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  /** Throws Refusal `unavailable` when there is no answer any more. */
  ask(question: string): Promise<string> {
    this.#child.stdin?.write(`${question}\n`);
    return this.#listen();
  }

  end(): void {
    this.#child.stdin?.end();
  }

  async #listen(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Refusal("unavailable", HINT);
    return value;
  }
}
