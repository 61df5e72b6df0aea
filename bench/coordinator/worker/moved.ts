/**
 * What memory costs, to compare a pass with: as many bytes as it reads, moved by one place with JavaScript's own `copyWithin`, and nothing
 * computed. No lower bound: as many are written, where Adam writes three quarters of what it reads.
 */

import { parameterLength } from "../../../shared/graph/parameters.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import type { Bench } from "./bench.ts";
import type { JobCodec, WorkName } from "./job.ts";

/** Floats that a parameter's part of the pass reads: sums and what is added to them; weights, two moments and sums. */
const FLOATS = { add: { fixed32: 2, fixed16: 1.5 }, adam: { fixed32: 4, fixed16: 4 } } as const;

const isMoved = (work: WorkName): work is keyof typeof FLOATS => work in FLOATS;

export class MovedBench implements Bench {
  readonly #parameters: number;
  readonly #codec: JobCodec;
  #values = new Float32Array(0);

  constructor({ graph }: SessionDefinition, codec: JobCodec) {
    this.#parameters = parameterLength(graph);
    this.#codec = codec;
  }

  async run(work: WorkName, repetitions: number): Promise<void> {
    if (!isMoved(work)) throw new RangeError(`nothing is moved for ${work}`);
    const floats = this.#parameters * FLOATS[work][this.#codec];
    if (this.#values.length !== floats) this.#values = new Float32Array(floats);
    for (let repetition = 0; repetition < repetitions; repetition++) this.#values.copyWithin(0, 4);
  }

  figure(): number {
    return 0;
  }
}
