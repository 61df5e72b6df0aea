/**
 * Names of parameters. Exporters keep PyTorch's, except where they rewrite a weight: a Linear without a bias, or one that
 * follows more than two axes, becomes a product with a transposed matrix of a made-up name, and a norm's scale gets further
 * axes of size 1. A state_dict gives them back, by equal values.
 */

import { sameShape } from "../graph/tensor.ts";
import type { NamedTensor, NamedTensors } from "../nn/weights.ts";

export interface Renamed {
  readonly name: string;
  /** As the state_dict has it. */
  readonly shape: readonly number[];
  /** Whether the state_dict has the matrix with rows and columns exchanged. */
  readonly isTransposed: boolean;
}

const MAX_NAME = 100;

const withoutOnes = (shape: readonly number[]): number[] => shape.filter((size) => size !== 1);

/** Whether two tensors are the same numbers in float32, up to axes of size 1, `b` read with rows and columns exchanged if asked. */
function isEqual(a: NamedTensor, b: NamedTensor, transposed: boolean): boolean {
  const shape = transposed ? [...b.shape].reverse() : b.shape;
  if (!sameShape(withoutOnes(a.shape), withoutOnes(shape))) return false;
  const columns = a.shape[1] ?? 1;
  const rows = a.shape[0] ?? 1;
  for (let at = 0; at < a.values.length; at++) {
    const other = transposed ? (at % columns) * rows + Math.floor(at / columns) : at;
    if (Math.fround(a.values[at]) !== Math.fround(b.values[other])) return false;
  }
  return true;
}

/** Hands out names, none of them twice. */
export class Names {
  readonly #dictionary: NamedTensors | null;
  readonly #taken = new Set<string>();
  readonly #free: Set<string>;

  /**
   * @param dictionary what to look made-up names up in
   * @param own names in the file: those that the dictionary has, too, are not free
   */
  constructor(dictionary: NamedTensors | null, own: readonly string[]) {
    this.#dictionary = dictionary;
    this.#free = new Set(dictionary?.keys() ?? []);
    for (const name of own) this.#free.delete(name);
  }

  /** A name for a tensor that the file calls `name`. */
  give(name: string, tensor: NamedTensor): Renamed {
    if (this.#dictionary !== null && !this.#dictionary.has(name)) {
      for (const candidate of this.#free) {
        const other = this.#dictionary.get(candidate);
        if (other === undefined) continue;
        for (const isTransposed of tensor.shape.length === 2 ? [false, true] : [false]) {
          if (!isEqual(tensor, other, isTransposed)) continue;
          this.#free.delete(candidate);
          return { name: this.#unique(candidate), shape: other.shape, isTransposed };
        }
      }
    }
    return { name: this.#unique(name), shape: tensor.shape, isTransposed: false };
  }

  /** Printable and not too long, whatever the file says. */
  #unique(name: string): string {
    const base = name.replace(/[^\x21-\x7e]/g, "_").slice(0, MAX_NAME) || "parameter";
    let unique = base;
    for (let number = 2; this.#taken.has(unique); number++) unique = `${base}_${number}`;
    this.#taken.add(unique);
    return unique;
  }
}
