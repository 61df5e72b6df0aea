/**
 * A pool member in another thread: calls and answers over a message port, as browser workers and Node's worker threads
 * both have one.
 */

import { type Contribution, EngineError, type EngineErrorCode, type EngineOptions, type Tensor } from "../engine.ts";
import { OnnxCompute, type PoolMember } from "./compute.ts";
import type { OnnxRuntime } from "./runtime.ts";

/** The part of a Worker, a worker's own scope or a Node MessagePort that is used. */
export interface Port {
  /** Moves the buffers in `transfer` instead of copying them. */
  postMessage(message: unknown, transfer: ArrayBufferLike[]): void;
  /** Called with every message's data. */
  listen(listener: (data: unknown) => void): void;
}

type Method = Exclude<keyof PoolMember, "queue" | "dispose"> | "create" | "dispose";

interface Call {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
  /** Buffers of the arguments that come back with the answer, to be filled again. */
  readonly lent: readonly ArrayBuffer[];
}

type Answer = { readonly id: number; readonly lent: readonly ArrayBuffer[] } & (
  | { readonly value: unknown }
  | { readonly code: EngineErrorCode; readonly message: string }
);

/** Buffers that go with an answer instead of being copied. */
const GIVEN: { readonly [M in Method]?: (value: unknown) => ArrayBufferLike } = {
  take: (value) => (value as Contribution).sums.buffer,
  predict: (value) => (value as Float32Array).buffer,
};

/** Serves one member behind a port. The runtime is loaded when the first call says what it needs. */
export function serveMember<Setup>(port: Port, load: (setup: Setup) => Promise<OnnxRuntime>): void {
  let member: OnnxCompute | null = null;
  const carryOut = async ({ method, args }: Call): Promise<unknown> => {
    if (method === "create") {
      const [setup, options] = args as [Setup, EngineOptions];
      member = new OnnxCompute(await load(setup), options);
      return member.prepare();
    }
    if (member === null) throw new EngineError("failed", `${method} before create`);
    return (member[method] as (...args: readonly unknown[]) => Promise<unknown>).apply(member, [...args]);
  };
  port.listen((data) => {
    const call = data as Call;
    const { id, lent } = call;
    carryOut(call).then(
      (value) => {
        const given = GIVEN[call.method]?.(value);
        port.postMessage({ id, lent, value } satisfies Answer, [...lent, ...(given === undefined ? [] : [given])]);
      },
      (error: unknown) => {
        const code = error instanceof EngineError ? error.code : "failed";
        const message = error instanceof Error ? error.message : String(error);
        port.postMessage({ id, lent, code, message } satisfies Answer, [...lent]);
      },
    );
  });
}

/** Buffers on their way to a thread and back: after the first steps nothing is allocated for what is sent. */
class Loan {
  readonly #spare: ArrayBuffer[];
  readonly buffers: ArrayBuffer[] = [];

  constructor(spare: ArrayBuffer[]) {
    this.#spare = spare;
  }

  copy<T extends Tensor>(values: T): T {
    const at = this.#spare.findIndex(({ byteLength }) => byteLength === values.byteLength);
    const [buffer] = at === -1 ? [new ArrayBuffer(values.byteLength)] : this.#spare.splice(at, 1);
    this.buffers.push(buffer);
    const copy = values instanceof Int32Array ? new Int32Array(buffer) : new Float32Array(buffer);
    copy.set(values);
    return copy as T;
  }
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: EngineError): void;
}

export interface RemoteThread {
  readonly port: Port;
  terminate(): Promise<void> | void;
  /** Calls back if the thread dies. */
  onDeath(listener: (reason: string) => void): void;
}

/** One is computed and the next one is there: the thread never waits for a message. */
const QUEUE = 2;

/** Starts a member in a thread. Throws EngineError if it cannot be created there. */
export async function connectMember<Setup>(
  thread: RemoteThread,
  setup: Setup,
  options: EngineOptions,
): Promise<PoolMember> {
  const pending = new Map<number, Pending>();
  let calls = 0;
  let death: EngineError | null = null;

  const spare: ArrayBuffer[] = [];

  thread.port.listen((data) => {
    const answer = data as Answer;
    spare.push(...answer.lent);
    const call = pending.get(answer.id);
    pending.delete(answer.id);
    if ("code" in answer) call?.reject(new EngineError(answer.code, answer.message));
    else call?.resolve(answer.value);
  });
  thread.onDeath((reason) => {
    death = new EngineError("failed", `a pool worker died: ${reason}`);
    for (const call of pending.values()) call.reject(death);
    pending.clear();
  });

  const send = <T>(
    method: Method,
    args: readonly unknown[],
    lent: readonly ArrayBuffer[],
    given: readonly ArrayBufferLike[],
  ) => {
    if (death !== null) return Promise.reject(death);
    return new Promise<T>((resolve, reject) => {
      const id = calls++;
      pending.set(id, { resolve: (value) => resolve(value as T), reject });
      thread.port.postMessage({ id, method, args, lent } satisfies Call, [...lent, ...given]);
    });
  };
  const ask = <T>(method: Method, ...args: readonly unknown[]): Promise<T> => send<T>(method, args, [], []);

  try {
    await ask("create", setup, options);
  } catch (error) {
    await thread.terminate();
    throw error;
  }

  /** Of the last `setWeights`. */
  let weights: Promise<void> = Promise.resolve();
  return {
    queue: QUEUE,
    // The copy is made: nobody need wait for the thread to have its own.
    async setWeights(values) {
      const loan = new Loan(spare);
      const copy = loan.copy(values);
      weights = send<void>("setWeights", [copy], loan.buffers, []);
      weights.catch(() => {});
    },
    begin: (task) => ask("begin", task),
    run({ inputs, position }) {
      const loan = new Loan(spare);
      const copies = Object.entries(inputs).map(([name, values]) => [name, loan.copy(values)]);
      return send("run", [{ inputs: Object.fromEntries(copies), position }], loan.buffers, []);
    },
    async take(into) {
      const given = into === undefined ? [] : [into.buffer];
      const taken = send<Contribution>("take", [into], [], given);
      await weights;
      return taken;
    },
    async predict(features, samples) {
      const prediction = ask<Float32Array>("predict", features, samples);
      await weights;
      return prediction;
    },
    dispose: async () => {
      await ask("dispose").catch(() => {}); // it ends either way
      await thread.terminate();
    },
  };
}
