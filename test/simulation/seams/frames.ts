/** Tensor frames as the simulated shell reads them: as they are, unless a mutation tampers with what was read. */

import { type Frame, decodeFrame as real } from "../../../shared/protocol/frames.ts";

export * from "../../../shared/protocol/frames.ts";

export const framesSeam: { read: (frame: Frame) => Frame } = { read: (frame) => frame };

export const decodeFrame: typeof real = (buffer) => framesSeam.read(real(buffer));
