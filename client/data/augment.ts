/**
 * Copies one training picture with random changes. Which ones follows from a key and the sample's number alone (invariant
 * I2): draws are Threefry words taken as integers, and noise is a sum of bytes, because engines may differ in the last
 * bits of logarithms and cosines. What a draw's number means is part of the protocol, as the generator is.
 */

import type { GraphInput } from "../../shared/graph/ir.ts";
import { deriveKey, threefry2x32 } from "../../shared/random/index.ts";
import { type Augmentation, pictureSize } from "../../shared/session/augmentation.ts";
import type { InputBinding } from "../../shared/session/definition.ts";
import type { Tensor } from "../engine/engine.ts";

/** Numbers of a sample's draws: each gives two words. Noise has one for each value, from `NOISE` on. */
const SHIFT = 0;
const CROP = 1;
const FLIPS = 2;
const NOISE = 3;

/** Of the sum of eight bytes, each uniform in 0..255: 8 · 127.5, and √(8 · (256² − 1) / 12). */
const BYTES_MEAN = 1_020;
const BYTES_DEVIATION = 209.02152999152983;

/** Where there is no pixel to take: the value is that of a stored 0. */
const UNCOVERED = -1;

type PaddingMode = NonNullable<Augmentation["crop"]>["paddingMode"];

/** Where a pixel of the border comes from, along an axis of `size`: `at` is outside of it by less than `size`. */
const BORDERS = {
  constant: () => UNCOVERED,
  edge: (at: number, size: number) => (at < 0 ? 0 : size - 1),
  reflect: (at: number, size: number) => (at < 0 ? -at : 2 * (size - 1) - at),
} as const satisfies Record<PaddingMode, (at: number, size: number) => number>;

const words = new Uint32Array(2);

/** An integer in −most..most by a random word; values are equally likely to within (2 · most + 1) / 2³². */
function moveOf(word: number, most: number): number {
  return Math.floor((word * (2 * most + 1)) / 2 ** 32) - most;
}

function byteSum(word: number): number {
  return (word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24);
}

/** Along one axis: the picture is shifted, then cropped, then flipped, which is undone from the last to the first. */
function trace(into: Int32Array, isFlipped: boolean, cropped: number, border: PaddingMode, shifted: number): void {
  const size = into.length;
  for (let i = 0; i < size; i++) {
    let at = (isFlipped ? size - 1 - i : i) + cropped;
    if (at < 0 || at >= size) at = BORDERS[border](at, size);
    if (at !== UNCOVERED) at -= shifted;
    into[i] = at < 0 || at >= size ? UNCOVERED : at;
  }
}

/** Changes the pictures of one input. */
export class Augmenter {
  readonly #input: number;
  readonly #changes: Augmentation;
  readonly #channels: number;
  readonly #scale: number;
  readonly #offset: number;
  /** Scratch: the row of the stored picture that each row of the copy shows, and so for columns. */
  readonly #rows: Int32Array;
  readonly #columns: Int32Array;
  #seed = 0;
  #epoch = -1;
  #k0 = 0;
  #k1 = 0;

  /** @param position of the input among the graph's: each has a stream of its own */
  constructor(
    position: number,
    input: Pick<GraphInput, "shape">,
    changes: Augmentation,
    { scale, offset }: Pick<InputBinding, "scale" | "offset">,
  ) {
    const size = pictureSize(input);
    if (size === null) throw new RangeError(`[${input.shape.join(", ")}] is no picture`);
    const [channels, height, width] = size;
    this.#input = position;
    this.#changes = changes;
    this.#channels = channels;
    this.#scale = scale;
    this.#offset = offset;
    this.#rows = new Int32Array(height);
    this.#columns = new Int32Array(width);
  }

  /** From here on, pictures are changed as in this epoch. */
  startEpoch(seed: number, epoch: number): void {
    if (seed === this.#seed && epoch === this.#epoch) return;
    this.#seed = seed;
    this.#epoch = epoch;
    [this.#k0, this.#k1] = deriveKey(seed, "augmentation", epoch, this.#input);
  }

  /**
   * Copies sample `from` of a stored column to position `to` of the slot's array, changed.
   * @param sample its number within the data set: the same one is changed alike, wherever and whenever it is computed
   */
  copy(sample: number, stored: ArrayLike<number>, from: number, target: Tensor, to: number): void {
    this.#move(sample);
    const rows = this.#rows;
    const columns = this.#columns;
    const scale = this.#scale;
    const offset = this.#offset;
    const sigma = (this.#changes.noise ?? 0) / BYTES_DEVIATION;
    const plane = rows.length * columns.length;
    const elements = this.#channels * plane;
    const first = to * elements;
    let element = 0;
    for (let channel = 0; channel < this.#channels; channel++) {
      const corner = from * elements + channel * plane;
      for (let y = 0; y < rows.length; y++) {
        const row = rows[y];
        for (let x = 0; x < columns.length; x++) {
          const column = columns[x];
          const pixel = row === UNCOVERED || column === UNCOVERED ? 0 : stored[corner + row * columns.length + column];
          let value = pixel * scale + offset;
          if (sigma > 0) {
            threefry2x32(this.#k0, this.#k1, sample, NOISE + element, words);
            value += (byteSum(words[0]) + byteSum(words[1]) - BYTES_MEAN) * sigma;
          }
          target[first + element] = value;
          element += 1;
        }
      }
    }
  }

  /** Draws the sample's moves, and from them which stored row and column each of the copy's shows. */
  #move(sample: number): void {
    const { shift = 0, crop, horizontalFlip = false, verticalFlip = false } = this.#changes;
    const padding = crop?.padding ?? 0;
    const border = crop?.paddingMode ?? "constant";
    threefry2x32(this.#k0, this.#k1, sample, SHIFT, words);
    const down = moveOf(words[0], shift);
    const right = moveOf(words[1], shift);
    threefry2x32(this.#k0, this.#k1, sample, CROP, words);
    const top = moveOf(words[0], padding);
    const left = moveOf(words[1], padding);
    threefry2x32(this.#k0, this.#k1, sample, FLIPS, words);
    trace(this.#rows, verticalFlip && words[0] >>> 31 === 1, top, border, down);
    trace(this.#columns, horizontalFlip && words[1] >>> 31 === 1, left, border, right);
  }
}
