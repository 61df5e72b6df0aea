/**
 * A pool member in another thread: calls and answers over a message port, as browser workers and Node's worker threads
 * both have one.
 */

import { EngineError, type EngineErrorCode, type EngineOptions } from "../engine.ts";
import { OnnxCompute, type PoolMember } from "./compute.ts";
import type { OnnxRuntime } from "./runtime.ts";

/** The part of a Worker, a worker's own scope or a Node MessagePort that is used. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  /** Called with every message's data. */
  listen(listener: (data: unknown) => void): void;
}

type Method = Exclude<keyof PoolMember, "dispose"> | "create" | "dispose";

interface Call {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}

type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly code: EngineErrorCode; readonly message: string };

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
    carryOut(call).then(
      (value) => port.postMessage({ id: call.id, value } satisfies Answer, []),
      (error: unknown) => {
        const code = error instanceof EngineError ? error.code : "failed";
        const message = error instanceof Error ? error.message : String(error);
        port.postMessage({ id: call.id, code, message } satisfies Answer, []);
      },
    );
  });
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

/** Starts a member in a thread. Throws EngineError if it cannot be created there. */
export async function connectMember<Setup>(
  thread: RemoteThread,
  setup: Setup,
  options: EngineOptions,
): Promise<PoolMember> {
  const pending = new Map<number, Pending>();
  let calls = 0;
  let death: EngineError | null = null;

  thread.port.listen((data) => {
    const answer = data as Answer;
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

  const ask = <T>(method: Method, ...args: readonly unknown[]): Promise<T> => {
    if (death !== null) return Promise.reject(death);
    return new Promise<T>((resolve, reject) => {
      const id = calls++;
      pending.set(id, { resolve: (value) => resolve(value as T), reject });
      thread.port.postMessage({ id, method, args } satisfies Call, []);
    });
  };

  try {
    await ask("create", setup, options);
  } catch (error) {
    await thread.terminate();
    throw error;
  }
  return {
    setWeights: (weights) => ask("setWeights", weights),
    begin: (task) => ask("begin", task),
    run: (microBatch) => ask("run", microBatch),
    take: () => ask("take"),
    predict: (features, samples) => ask("predict", features, samples),
    dispose: async () => {
      await ask("dispose").catch(() => {}); // it ends either way
      await thread.terminate();
    },
  };
}
