/** What a coordinator may say to a volunteer that no honest one would, over HTTP and over its socket, once the session itself was taken. */

import { blockCount } from "../../shared/codec/index.ts";
import { changeLayout, type FrameHeader } from "../../shared/protocol/frames.ts";
import { PROGRESS, weightsBody } from "../client/sdk-fake.ts";
import { PARAMETERS } from "../client/sdk-session.ts";
import type { Chance } from "../coordinator/round/timeline.ts";
import { type Behaviour, type Line, WEIGHTS_BYTES, work } from "./coordinator.ts";

export interface Lie {
  readonly about: string;
  readonly behaviour: (chance: Chance) => Behaviour;
}

/** Says what it is to say about a hundred times a second, for as long as the line is open. */
function often(line: Line, say: (count: number) => void): void {
  let count = 0;
  const timer = setInterval(() => {
    if (line.isOpen) say(count++);
    else clearInterval(timer);
  }, 10);
}

/** After a welcome, and when the client has had time to set its weights. */
const afterwards =
  (say: (line: Line, chance: Chance, count: number) => void) =>
  (chance: Chance): Behaviour => ({
    socket(line) {
      line.welcome();
      setTimeout(() => often(line, (count) => say(line, chance, count)), 30);
    },
  });

const UINTS = [0, 1, 2, 3, 255, 65_535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1] as const;

const bytesOf = (chance: Chance, length: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length }, () => chance.integer(0, 255));

function change(chance: Chance): Uint8Array<ArrayBuffer> {
  const layout = changeLayout(blockCount(PARAMETERS));
  const bytes = bytesOf(chance, layout.units + chance.integer(0, 40));
  const unit = chance.pick([Number.NaN, Number.POSITIVE_INFINITY, 0, -1, 1e38, 2 ** -20]);
  new DataView(bytes.buffer).setFloat32(layout.unit, unit, true);
  return bytes;
}

export const LIES: Readonly<Record<string, Lie>> = {
  "absurd welcomes": {
    about: "versions and steps at the end of the range, twice, or of another kind",
    behaviour: (chance) => ({
      socket: (line) =>
        often(line, () => {
          if (chance.happens(0.8)) line.welcome(chance.pick(UINTS), chance.pick(UINTS));
          else line.write(Buffer.from("81a474797065a777656c636f6d65", "hex"));
        }),
    }),
  },
  "absurd leases": {
    about: "of no range, of too long a range, of other versions and steps, before there are weights",
    behaviour: (chance) => ({
      socket(line) {
        if (chance.happens(0.7)) line.welcome(chance.pick([1, 1, 2]));
        often(line, (count) =>
          line.assign({
            lease: chance.pick([count, ...UINTS]),
            work: chance.pick(["train", "validate", "test", "calibrate"]),
            step: chance.pick(UINTS),
            version: chance.pick([1, 1, 1, ...UINTS]),
            from: chance.pick([0, 0, ...UINTS]),
            to: chance.pick([1, 2, 3, ...UINTS]),
          }),
        );
      },
    }),
  },
  "work without a rest": {
    about: "the next lease as soon as one can be done",
    behaviour: () => ({
      socket(line) {
        line.welcome();
        let lease = 0;
        const timer = setInterval(() => {
          if (line.isOpen) line.assign({ lease: ++lease });
          else clearInterval(timer);
        }, 40);
      },
    }),
  },
  "leases without end": {
    about: "the same work again and again, and all of it at once",
    behaviour: afterwards((line, chance, count) => {
      const times = chance.pick([1, 1, 20, 200]);
      for (let more = 0; more < times; more++) line.assign({ lease: count * 1_000 + more });
    }),
  },
  "leases of dropped sockets": {
    about: "a lease, and a new socket for the next one",
    behaviour: () => ({
      socket(line) {
        line.welcome();
        setTimeout(() => line.assign(), 20);
        setTimeout(() => line.destroy(), 60);
      },
    }),
  },
  "broken weights": {
    about: "frames that overlap, have gaps, are too large, never end, or are no weights",
    behaviour: afterwards((line, chance) => {
      const header: Partial<FrameHeader> = {
        kind: chance.pick(["weights", "weights", "weights", "gradient", "evaluation"]),
        codec: chance.pick(["float32", "float32", "none", "packed", "sparse"]),
        version: chance.pick([2, 2, 3, 1, 2 ** 32 - 1]),
      };
      const length = chance.pick([0, 1, 16, WEIGHTS_BYTES]);
      const offset = chance.pick([0, 0, 1, 16, WEIGHTS_BYTES - 1, 2 ** 31]);
      const total = Math.min(
        2 ** 32 - 1,
        Math.max(offset + length, chance.pick([WEIGHTS_BYTES, WEIGHTS_BYTES + 1, 2 ** 32 - 1])),
      );
      line.frame({ ...header, offset, total }, bytesOf(chance, length));
    }),
  },
  "weights that are no numbers": {
    about: "whole and in time, and NaN, infinite or of exponents that no step has",
    behaviour: afterwards((line, chance, count) => {
      const version = count + 2;
      const value = chance.pick([Number.NaN, Number.POSITIVE_INFINITY, -3e38]);
      line.frame({ version, step: version - 1 }, weightsBody(PARAMETERS, value, chance.pick([127, 0, 255])));
      line.assign({ lease: version, version });
    }),
  },
  "broken changes": {
    about: "what changed in weights that there are not, in units that are none, of parameters that there are not",
    behaviour: afterwards((line, chance) => {
      const bytes = change(chance);
      line.frame({ codec: "sparse", version: chance.pick([2, 2, 3, 9]), total: bytes.byteLength }, bytes);
    }),
  },
  "nothing that there was": {
    about: "receipts and revocations of leases that nobody has",
    behaviour: afterwards((line, chance, count) => {
      const lease = chance.pick([count, ...UINTS]);
      if (chance.happens(0.5)) line.say({ type: "revoke", lease });
      else
        line.say({ type: "receipt", lease, accepted: chance.happens(0.5), reason: "\ud800<b>", samples: 2 ** 32 - 1 });
      if (chance.happens(0.2)) line.assign({ lease: count });
    }),
  },
  "no messages": {
    about: "bytes, texts, fields and kinds that no message has",
    behaviour: afterwards((line, chance) => {
      const kind = chance.integer(0, 5);
      if (kind === 0) line.write(bytesOf(chance, chance.pick([0, 1, 3, 4, 63, 64, 5_000])));
      else if (kind === 1) line.write("<script>alert(1)</script>", "text");
      else if (kind === 2) line.write(new Uint8Array(2_000_000).fill(0x91));
      else if (kind === 3) line.write(Buffer.from("81a95f5f70726f746f5f5f81a8706f6c6c75746564c3", "hex"));
      else if (kind === 4) line.say({ ...PROGRESS, loss: Number.POSITIVE_INFINITY, reason: "x".repeat(500) });
      else line.write(Buffer.from("c7ff73", "hex"));
    }),
  },
  flood: {
    about: "honest messages, as many as the line bears",
    behaviour: afterwards((line) => {
      for (let count = 0; count < 500; count++) line.say(PROGRESS);
    }),
  },
  "torn lines": {
    about: "close codes of all kinds, frames that are announced and never sent, silence",
    behaviour: (chance) => ({
      socket(line) {
        if (chance.happens(0.5)) line.welcome();
        const kind = chance.integer(0, 3);
        if (kind === 0) line.close(chance.pick([1000, 1011, 1012, 4000, 4400, 4401, 4402, 4413, 4429, 4430, 4999]));
        else if (kind === 1) line.write(new Uint8Array(10), "binary", 2 ** 40);
        else if (kind === 2) line.destroy();
      },
    }),
  },
  "weights over HTTP": {
    about: "too short, too long, without an end, byte by byte, elsewhere, of no version",
    behaviour: (chance) => {
      const kind = chance.integer(0, 6);
      return {
        http(path, response) {
          if (!path.startsWith("/weights/")) return false;
          if (kind === 0) response.end(new Uint8Array(WEIGHTS_BYTES - 1));
          else if (kind === 1) response.end(new Uint8Array(WEIGHTS_BYTES + 1));
          else if (kind === 2) pour(response, 65_536);
          else if (kind === 3) pour(response, 1);
          else if (kind === 4) response.writeHead(302, { location: "http://127.0.0.2:9/elsewhere" }).end();
          else if (kind === 5) {
            response.writeHead(200, {
              "x-commonweight-version": chance.pick(["NaN", "1.5", "-1", "1e300", "4294967296"]),
            });
            response.end(weightsBody(PARAMETERS, 1));
          } else response.writeHead(chance.pick([404, 500, 429, 204])).end();
          return true;
        },
      };
    },
  },
  "chunks over HTTP": {
    about: "other bytes, too few, too many, without an end, elsewhere",
    behaviour: (chance) => {
      const kind = chance.integer(0, 4);
      return {
        socket: work,
        http(path, response) {
          if (!path.startsWith("/chunks/")) return false;
          if (kind === 0) response.end(new Uint8Array(48));
          else if (kind === 1) response.end(new Uint8Array(1));
          else if (kind === 2) pour(response, 65_536);
          else if (kind === 3) response.writeHead(301, { location: "http://127.0.0.2:9/elsewhere" }).end();
          else response.writeHead(200, { "content-length": "9007199254740993" }).end();
          return true;
        },
      };
    },
  },
};

function pour(response: NodeJS.WritableStream & { destroyed?: boolean }, bytes: number): void {
  const timer = setInterval(() => {
    if (response.destroyed) clearInterval(timer);
    else response.write(new Uint8Array(bytes));
  }, 1);
}
