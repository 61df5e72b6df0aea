/**
 * Adding as one would first write it around the same kernels: the frames are put together into one body, which is copied whole into
 * linear memory, and then added. What the coordinator saves by leaving frames where they are is seen against it.
 */

import kernelsModule from "../../../coordinator/optim/kernels.wasm";
import { blockCount } from "../../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../../shared/graph/parameters.ts";
import { cutBody, decodeFrame, upwardLayout } from "../../../shared/protocol/frames.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { makeBody, makeHeader } from "../../harness/contributions.ts";
import { type Bench, sumOfMagnitudes } from "./bench.ts";
import type { JobCodec, WorkName } from "./job.ts";

interface AddKernels {
  addFixed32(sums: number, incoming: number, count: number, bound: number): number;
  addFixed16(sums: number, incoming: number, count: number, bound: number): number;
}

export class StagedBench implements Bench {
  readonly #frames: readonly ArrayBuffer[];
  readonly #sumsAt: number;
  readonly #sums: Int32Array;
  readonly #incoming: Uint8Array;
  readonly #add: (count: number) => void;

  constructor(definition: SessionDefinition, codec: JobCodec) {
    const { graph } = definition;
    const parameters = parameterLength(graph);
    const blocks = blockCount(parameters);
    const bytesPerSum = codec === "fixed32" ? 4 : 2;
    const metrics = metricNames(graph).length;
    this.#sumsAt = upwardLayout("gradient", { metrics, blocks }).sums;
    const header = makeHeader(definition, "train", { lease: 1, step: 0, version: 2, from: 0, to: 1 });
    this.#frames = [...cutBody(header, makeBody(definition, "train"))].map(({ buffer }) => buffer);
    const memory = new WebAssembly.Memory({ initial: Math.ceil((parameters * 8) / 65_536) });
    const { exports } = new WebAssembly.Instance(kernelsModule, { env: { memory } });
    const { addFixed32, addFixed16 } = exports as unknown as AddKernels;
    this.#sums = new Int32Array(memory.buffer, 0, parameters);
    this.#incoming = new Uint8Array(memory.buffer, parameters * 4, parameters * bytesPerSum);
    const add = { fixed32: addFixed32, fixed16: addFixed16 }[codec];
    this.#add = (count) => add(0, this.#incoming.byteOffset, count, 2 ** 31 - 1);
    this.#take();
  }

  async run(_: WorkName, repetitions: number): Promise<void> {
    for (let repetition = 0; repetition < repetitions; repetition++) this.#take();
  }

  figure(): number {
    return sumOfMagnitudes(this.#sums);
  }

  #take(): void {
    let body: Uint8Array | null = null;
    for (const buffer of this.#frames) {
      const { payload, offset, total } = decodeFrame(buffer);
      if (payload.byteLength === total) body = payload;
      else {
        body ??= new Uint8Array(total);
        body.set(payload, offset);
      }
    }
    if (body === null) return;
    this.#incoming.set(body.subarray(this.#sumsAt));
    this.#add(this.#sums.length);
  }
}
