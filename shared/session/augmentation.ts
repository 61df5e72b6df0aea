/**
 * Random changes of training pictures, as data: which ones a session wants of an input. They are made where samples are
 * read (client/data/augment.ts), from the seed, the epoch and the sample, so that every client makes the same ones.
 * One input at a time: a picture and a mask that should move together are not in here.
 */

import * as v from "valibot";
import type { GraphInput } from "../graph/ir.ts";
import { SessionError } from "./errors.ts";
import { count, finite } from "./schemas.ts";

const pixels = v.pipe(count, v.minValue(1, "expected pixels, 1 or more; what is not wanted is left out"));
const wanted = v.literal(true, "expected true; what is not wanted is left out");

/** Each is absent where it is not wanted, so that one behaviour has one form. */
export const augmentationSchema = v.pipe(
  v.strictObject({
    /** Moves by −shift to shift pixels down and across; what is uncovered has the value of a stored 0. */
    shift: v.exactOptional(pixels),
    /** A window of the picture's own size out of the picture with a border. torchvision's RandomCrop. */
    crop: v.exactOptional(
      v.strictObject({ padding: pixels, paddingMode: v.picklist(["constant", "edge", "reflect"]) }),
    ),
    /** Half of the pictures each. torchvision's RandomHorizontalFlip and RandomVerticalFlip. */
    horizontalFlip: v.exactOptional(wanted),
    verticalFlip: v.exactOptional(wanted),
    /** Standard deviation of what is added to each value, in the input's own unit. */
    noise: v.exactOptional(
      v.pipe(
        finite,
        v.check((sigma) => sigma > 0, "expected a standard deviation above 0; without noise it is left out"),
      ),
    ),
  }),
  v.check((kinds) => Object.keys(kinds).length > 0, "expected shift, crop, horizontalFlip, verticalFlip or noise"),
);

export type Augmentation = v.InferOutput<typeof augmentationSchema>;

/** Channels, height and width of one sample of [N, C, H, W] or [N, H, W]; null for other shapes. */
export function pictureSize({
  shape,
}: Pick<GraphInput, "shape">): [channels: number, height: number, width: number] | null {
  const [, ...sample] = shape.map(Number);
  if (sample.length === 2) return [1, sample[0], sample[1]];
  return sample.length === 3 ? [sample[0], sample[1], sample[2]] : null;
}

/** The input is a picture, and no move leaves it altogether. Throws SessionError `bad-definition`. */
export function checkAugmentation(where: string, { shift, crop }: Augmentation, input: GraphInput): void {
  const refusal = (why: string): SessionError => new SessionError("bad-definition", `${where}.augment${why}`);
  const { role, dtype, shape } = input;
  if (role !== "feature") throw refusal(`: a ${role} is taken as it is, only features are augmented`);
  if (dtype !== "float32") throw refusal(`: expected an input of float32, got ${dtype}`);
  const size = pictureSize(input);
  if (size === null) throw refusal(`: expected an input [N, C, H, W] or [N, H, W], got [${shape.join(", ")}]`);
  const [, height, width] = size;
  const moves = { shift: shift ?? 0, "crop.padding": crop?.padding ?? 0 };
  for (const [name, pixels] of Object.entries(moves)) {
    if (pixels < Math.min(height, width)) continue;
    throw refusal(`.${name}: expected less than the sides of a picture of ${height} × ${width}, got ${pixels}`);
  }
}
