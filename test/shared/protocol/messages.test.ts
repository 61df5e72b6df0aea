import fc from "fast-check";
import { pack } from "msgpackr";
import { describe, expect, it } from "vitest";
import { encodeFrame } from "../../../shared/protocol/frames.ts";
import {
  type ClientMessage,
  decodeClientMessage,
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
  MAX_MESSAGE_BYTES,
  PROTOCOL_ERRORS,
  ProtocolError,
} from "../../../shared/protocol/messages.ts";

const bytesOf = (value: unknown): ArrayBuffer => new Uint8Array(pack(value)).buffer;

function refusal(buffer: ArrayBuffer): string {
  try {
    decodeClientMessage(buffer);
  } catch (error) {
    if (error instanceof ProtocolError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "accepted";
}

describe("control messages", () => {
  it("come back as they were sent", () => {
    const messages: ClientMessage[] = [
      { type: "hello", engine: "wasm", device: "WASM × 2" },
      {
        type: "hello",
        client: "ab".repeat(16),
        resumeKey: "01".repeat(16),
        engine: "webgpu",
        device: "x",
        localSamples: 3,
      },
      { type: "ready", version: 4_294_967_295 },
      { type: "capacity", microBatches: 0 },
      { type: "failed", lease: 1, code: "lost", message: "device lost" },
      { type: "leave" },
    ];
    for (const message of messages) expect(decodeClientMessage(encodeMessage(message).buffer)).toEqual(message);
  });

  it("name the field that is wrong", () => {
    expect(refusal(bytesOf({ type: "ready", version: -1 }))).toContain("bad-message: version");
    expect(refusal(bytesOf({ type: "ready", version: 1.5 }))).toContain("version");
    expect(refusal(bytesOf({ type: "hello", engine: "cuda", device: "" }))).toContain("engine");
    expect(refusal(bytesOf({ type: "hello", engine: "wasm", device: "x".repeat(201) }))).toContain("device");
    expect(refusal(bytesOf({ type: "leave", extra: 1 }))).toContain("extra");
    expect(refusal(bytesOf({ type: "welcome" }))).toContain("bad-message");
    expect(refusal(bytesOf(null))).toContain("bad-message");
  });

  it("are looked at before they are decoded: depth, keys, kinds and where they end", () => {
    const key = (name: string): Uint8Array<ArrayBuffer> => {
      const text = new TextEncoder().encode(name);
      return Uint8Array.of(
        0x82,
        0xa4,
        0x74,
        0x79,
        0x70,
        0x65,
        0xa5,
        0x6c,
        0x65,
        0x61,
        0x76,
        0x65,
        0xa0 | text.length,
        ...text,
        0x81,
        0xa1,
        0x78,
        1,
      );
    };
    for (const name of ["__proto__", "constructor", "prototype"]) {
      expect(refusal(key(name).buffer)).toContain("bad-message");
      expect(({} as { x?: number }).x).toBeUndefined();
      expect(refusal(bytesOf({ type: "leave", [name]: { x: 1 } }))).toContain("bad-message");
    }
    const leave = [...new Uint8Array(bytesOf({ type: "leave" }))];
    const cases: readonly (readonly [number[], string])[] = [
      [new Array<number>(4_096).fill(0x91), "deeper than 8"],
      [[...new Array<number>(8).fill(0x91), 0xc0], "bad-message"],
      [[0xd4, 0x72, 0x40], "byte 212"],
      [[0xc7, 3, 0x78, 0xa1, 0x61, 0x61], "byte 199"],
      [[0xc4, 1, 0], "byte 196"],
      [[0xc1], "byte 193"],
      [[0x81, 0x01, 0x02], "a key is no text"],
      [[0xdf, 0xff, 0xff, 0xff, 0xff], "it ends within"],
      [[0xdd, 0x7f, 0xff, 0xff, 0xff, 0], "it ends within"],
      [[0xdb, 0xff, 0xff, 0xff, 0xff, 0], "it ends within"],
      [leave.slice(0, -1), "it ends within"],
      [[...leave, 0], "more follows"],
      [[], "it ends within"],
    ];
    for (const [bytes, words] of cases) expect(refusal(Uint8Array.from(bytes).buffer)).toContain(words);
  });

  it("over 4 KB are refused before they are decoded, and are never made", () => {
    expect(refusal(new ArrayBuffer(MAX_MESSAGE_BYTES + 1))).toContain(`limit ${MAX_MESSAGE_BYTES}`);
    expect(() => encodeMessage({ type: "error", code: "x", message: "y".repeat(5000) })).toThrow(ProtocolError);
  });

  it("cannot reach a prototype", () => {
    const before = Object.keys(Object.prototype);
    const hostile = JSON.parse(
      '{"type":"leave","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}',
    );
    refusal(bytesOf(hostile));
    expect(Object.keys(Object.prototype)).toEqual(before);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it("never do anything but decode or throw a ProtocolError, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        for (const decode of [decodeClientMessage, decodeCoordinatorMessage]) {
          try {
            decode(bytes.slice().buffer);
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("are told from tensor frames by their first bytes", () => {
    const frame = {
      kind: "weights",
      codec: "float32",
      version: 1,
      step: 0,
      lease: 0,
      clamped: 0,
      loss: 0n,
      weight: 0n,
    } as const;
    expect(isFrame(encodeFrame({ ...frame, offset: 0, total: 0 }, new Uint8Array(0)).buffer)).toBe(true);
    expect(isFrame(encodeMessage({ type: "leave" }).buffer)).toBe(false);
    expect(isFrame(new ArrayBuffer(3))).toBe(false);
  });

  it("report errors with close codes that an application may use, each its own", () => {
    const codes = Object.values(PROTOCOL_ERRORS).map((error) => error.close);
    expect(new Set(codes).size).toBe(codes.length);
    for (const code of codes) expect(code === 1011 || (code >= 4000 && code < 5000)).toBe(true);
  });
});
