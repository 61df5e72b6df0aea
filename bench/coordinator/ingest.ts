/** How fast a Durable Object takes in frames of 1 MiB from several sockets, before anything is done with them. */

import { encodeFrame, HEADER_BYTES, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES } from "../../shared/protocol/frames.ts";
import type { Contestant } from "../harness/race.ts";
import { maskBytes, RawSocket } from "../harness/raw-socket.ts";

const SOCKETS = 4;
/** Frames of one round by socket. */
const FRAMES = 64;
const QUICK = 4;
const NO_HEAD = new Uint8Array(0);

/** A frame as a contribution has it, of the largest size. */
function largestFrame(): Uint8Array {
  const payload = Uint8Array.from({ length: MAX_PAYLOAD_BYTES }, (_, at) => at * 31);
  const header = { kind: "gradient", codec: "fixed32", version: 1, step: 0, lease: 1, clamped: 0 } as const;
  return encodeFrame({ ...header, loss: 0n, weight: 1n, offset: 0, total: MAX_FRAME_BYTES - HEADER_BYTES }, payload);
}

export function ingestContestant(port: number, quick: boolean): Contestant {
  const frames = quick ? QUICK : FRAMES;
  const expected = SOCKETS * frames * MAX_FRAME_BYTES;
  const message = maskBytes(largestFrame());
  let sockets: readonly RawSocket[] = [];
  let settle: () => void = () => {};
  return {
    name: `${SOCKETS} sockets`,
    ours: true,
    async prepare() {
      const url = `http://127.0.0.1:${port}/ingest?expected=${expected}`;
      const handlers = { message: () => settle(), closed: () => {} };
      sockets = await Promise.all(Array.from({ length: SOCKETS }, () => RawSocket.open(url, [], handlers)));
      return {};
    },
    async measure() {
      const { promise, resolve } = Promise.withResolvers<void>();
      settle = resolve;
      const start = performance.now();
      for (let frame = 0; frame < frames; frame++) for (const socket of sockets) socket.sendMasked(NO_HEAD, message);
      await promise;
      return expected / 1e3 / (performance.now() - start);
    },
    async finish() {
      for (const socket of sockets) socket.close();
      return {};
    },
  };
}
