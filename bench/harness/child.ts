/** A process of a benchmark that is told what to do by messages, and reports on each; it ends with the one that started it. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { Refusal } from "./race.ts";

/** Every table of reports has this one. */
export interface Failure {
  readonly type: "failed";
  readonly problem: string;
}

interface Message {
  readonly type: string;
}

export class Child<Order extends Message, Report extends Message> {
  readonly #process: ChildProcess;

  constructor(file: URL) {
    this.#process = fork(file);
  }

  /** Throws Refusal `failed` for any other report, or when the process is gone. */
  async ask<Type extends Report["type"]>(order: Order, type: Type): Promise<Extract<Report, { readonly type: Type }>> {
    const ending = new AbortController();
    const gone = once(this.#process, "exit", { signal: ending.signal }).then(
      ([code]): Failure => ({ type: "failed", problem: `a process of the benchmark ended with ${code}` }),
    );
    const answered = once(this.#process, "message", { signal: ending.signal }).then(([report]) => report as Report);
    this.#process.send(order);
    const report: Message | Failure = await Promise.race([answered, gone]);
    ending.abort();
    await Promise.allSettled([answered, gone]);
    if (report.type !== type) throw new Refusal("failed", "problem" in report ? report.problem : report.type);
    return report as Extract<Report, { readonly type: Type }>;
  }

  end(): void {
    if (this.#process.connected) this.#process.disconnect();
  }
}
