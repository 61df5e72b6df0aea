/**
 * A pool member in another thread: calls and answers over a message port, as browser workers and Node's worker threads
 * both have one.
 */

import { isBytes } from "../bytes.ts";
import { type Contribution, EngineError, type EngineErrorCode, type EngineOptions, type Input } from "../engine.ts";
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

/** Nobody waits for these: their answers go with the next one's, unless only such calls come and buffers pile up. */
const PREPARING: ReadonlySet<Method> = new Set<Method>(["setWeights", "begin"]);
const MOST_HELD = 2;

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
  let answers: Answer[] = [];
  let moved: ArrayBufferLike[] = [];
  const answer = (call: Call, given: Answer, isAwaited: boolean, buffers: readonly ArrayBufferLike[] = []): void => {
    answers.push(given);
    moved.push(...call.lent, ...buffers);
    if (!isAwaited && answers.length <= MOST_HELD) return;
    port.postMessage(answers, moved);
    answers = [];
    moved = [];
  };
  port.listen((data) => {
    for (const call of data as readonly Call[]) {
      const { id, method, lent } = call;
      carryOut(call).then(
        (value) => {
          const given = GIVEN[method]?.(value);
          answer(call, { id, lent, value }, !PREPARING.has(method), given === undefined ? [] : [given]);
        },
        (error: unknown) => {
          const code = error instanceof EngineError ? error.code : "failed";
          const message = error instanceof Error ? error.message : String(error);
          answer(call, { id, lent, code, message }, true);
        },
      );
    }
  });
}

/** Buffers on their way to a thread and back: after the first steps nothing is allocated for what is sent. */
class Loan {
  readonly #spare: ArrayBuffer[];
  readonly buffers: ArrayBuffer[] = [];

  constructor(spare: ArrayBuffer[]) {
    this.#spare = spare;
  }

  copy(input: Input): Input {
    return isBytes(input) ? { ...input, bytes: this.copyOf(input.bytes) } : this.copyOf(input);
  }

  copyOf<T extends Float32Array | Int32Array | Uint8Array>(values: T): T {
    const at = this.#spare.findIndex(({ byteLength }) => byteLength === values.byteLength);
    const [buffer] = at === -1 ? [new ArrayBuffer(values.byteLength)] : this.#spare.splice(at, 1);
    this.buffers.push(buffer);
    const copy = new (values.constructor as new (buffer: ArrayBuffer) => T)(buffer);
    copy.set(values);
    return copy;
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
    for (const answer of data as readonly Answer[]) {
      spare.push(...answer.lent);
      const call = pending.get(answer.id);
      pending.delete(answer.id);
      if ("code" in answer) call?.reject(new EngineError(answer.code, answer.message));
      else call?.resolve(answer.value);
    }
  });
  thread.onDeath((reason) => {
    death = new EngineError("failed", `a pool worker died: ${reason}`);
    for (const call of pending.values()) call.reject(death);
    pending.clear();
  });

  /** Calls that go with the next one. */
  let held: Call[] = [];
  /** @param lent buffers of the arguments that come back; @param given those that do not */
  const send = <T>(
    method: Method,
    args: readonly unknown[],
    lent: readonly ArrayBuffer[] = [],
    given: readonly ArrayBufferLike[] = [],
  ): Promise<T> => {
    if (death !== null) return Promise.reject(death);
    return new Promise<T>((resolve, reject) => {
      const id = calls++;
      pending.set(id, { resolve: (value) => resolve(value as T), reject });
      held.push({ id, method, args, lent });
      if (method === "begin") return;
      thread.port.postMessage(held, [...lent, ...given]);
      held = [];
    });
  };

  try {
    await send("create", [setup, options]);
  } catch (error) {
    await thread.terminate();
    throw error;
  }

  /** Of the calls that nobody waited for: the next one that is waited for tells. */
  let prepared: Promise<unknown> = Promise.resolve();
  const prepare = (call: Promise<void>): void => {
    prepared = Promise.all([prepared, call]).then(() => {});
    prepared.catch(() => {});
  };
  /** What `send` answers, unless what went before it failed. */
  const afterPreparing = async <T>(answer: Promise<T>): Promise<T> => {
    const before = prepared;
    prepared = Promise.resolve();
    const [value] = await Promise.all([answer, before]);
    return value;
  };
  return {
    queue: QUEUE,
    // The copy is made: nobody need wait for the thread to have its own.
    async setWeights(values) {
      const loan = new Loan(spare);
      prepare(send("setWeights", [loan.copyOf(values)], loan.buffers));
    },
    async begin(task) {
      // Of a view the whole buffer would go: that of all weights.
      prepare(send("begin", [{ ...task, exponents: task.exponents.slice() }]));
    },
    run({ inputs, position }) {
      const loan = new Loan(spare);
      const copies = Object.entries(inputs).map(([name, values]) => [name, loan.copy(values)]);
      return send("run", [{ inputs: Object.fromEntries(copies), position }], loan.buffers);
    },
    take: (into) => afterPreparing(send<Contribution>("take", [into], [], into === undefined ? [] : [into.buffer])),
    predict: (features, samples) => afterPreparing(send<Float32Array>("predict", [features, samples])),
    dispose: async () => {
      await send("dispose", []).catch(() => {}); // it ends either way
      await thread.terminate();
    },
  };
}
