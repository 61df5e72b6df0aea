/** The page's side of the worker that predicts: requests are answered in their order. */

import type { TryAnswers, TryReply, TryRequest } from "./messages.ts";

interface Pending {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

export class Predictor {
  readonly #worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "commonweight-try" });
  readonly #pending: Pending[] = [];

  constructor() {
    this.#worker.addEventListener("message", ({ data }: MessageEvent<TryReply>) => {
      const pending = this.#pending.shift();
      if ("problem" in data) pending?.reject(new Error(data.problem));
      else pending?.resolve(data.answer as never);
    });
    this.#worker.addEventListener("error", ({ message }) => {
      const error = new Error(`the worker failed: ${message || "it could not be loaded"}`);
      for (const { reject } of this.#pending.splice(0)) reject(error);
    });
  }

  ask<Type extends TryRequest["type"]>(
    request: Extract<TryRequest, { readonly type: Type }>,
  ): Promise<TryAnswers[Type]> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      this.#worker.postMessage(request);
    });
  }

  dispose(): void {
    this.#worker.terminate();
    for (const { reject } of this.#pending.splice(0)) reject(new Error("the trial was closed"));
  }
}
