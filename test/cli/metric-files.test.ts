import { crc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { CoordinatorApi, SessionMetrics } from "../../cli/api.ts";
import { crc32c } from "../../cli/crc32c.ts";
import { encodeCsv, encodeJsonLines, type Measurement, readRecord } from "../../cli/metric-files.ts";
import { encodeEvents, eventFileName } from "../../cli/tensorboard.ts";

const TIME = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const RECORD: readonly Measurement[] = [
  {
    split: "train",
    step: 1,
    epoch: 0,
    loss: 0.5,
    metrics: { correct: 0.25 },
    samples: 64,
    engines: { wasm: 64 },
    lr: 0.5,
    time: TIME,
  },
  {
    split: "train",
    step: 200,
    epoch: 1,
    loss: null,
    metrics: { correct: 0.75 },
    samples: 32,
    engines: { webgpu: 32 },
    lr: 0.25,
    time: TIME + 1,
  },
  {
    split: "validation",
    step: 300,
    epoch: null,
    loss: 0.125,
    metrics: { correct: 1 },
    samples: null,
    engines: {},
    lr: null,
    time: TIME + 2,
  },
];

it("a record is read page by page, evaluations after the step that they were made after", async () => {
  const step = (number: number) => ({
    step: number,
    epoch: 0,
    loss: 1,
    metrics: {},
    samples: 1,
    engines: {},
    lr: null,
    time: 0,
  });
  const evaluations = [
    { work: "validate", step: 2, loss: 1, metrics: {}, time: 0 },
    { work: "test", step: 4, loss: 1, metrics: {}, tables: { confusion: [1, 0, 2, 3] }, time: 0 },
  ] as const;
  const pages: Record<number, number[]> = { 0: [1, 2], 2: [3], 3: [4], 4: [] };
  const api = {
    readMetrics: async (_id: string, after: number): Promise<SessionMetrics> => ({
      steps: pages[after].map(step),
      evaluations,
      result: null,
    }),
  } as unknown as CoordinatorApi;
  const record = await readRecord(api, "id");
  expect(record.map(({ split, step }) => `${split} ${step}`)).toEqual([
    "train 1",
    "train 2",
    "validation 2",
    "train 3",
    "train 4",
    "test 4",
  ]);
});

it("CSV has a line for each measurement and a column for each metric", () => {
  expect(encodeCsv(RECORD)).toBe(
    `split,step,epoch,lr,loss,correct,samples,time
train,1,0,0.5,0.5,0.25,64,2026-01-02T03:04:05.678Z
train,200,1,0.25,,0.75,32,2026-01-02T03:04:05.679Z
validation,300,,,0.125,1,,2026-01-02T03:04:05.680Z
`,
  );
});

it("names of metrics that are formulas or hold quotes and line breaks stay text in one cell", () => {
  const hostile = { ...RECORD[0], metrics: { '=HYPERLINK("http://x",\n"y")': 1 } };
  expect(encodeCsv([hostile]).split("\n")[0]).toBe(
    `split,step,epoch,lr,loss,"'=HYPERLINK(""http://x"", ""y"")",samples,time`,
  );
});

it("JSON lines hold all that was measured", () => {
  const lines = encodeJsonLines(RECORD).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual(RECORD);
});

describe("TensorBoard's event files", () => {
  it("are protected by CRC-32C", () => {
    const ascending = Uint8Array.from({ length: 32 }, (_, at) => at);
    // RFC 3720, appendix B.4, and the usual check value.
    expect(crc32c(new Uint8Array(32)).toString(16)).toBe("8a9136aa");
    expect(crc32c(new Uint8Array(32).fill(0xff)).toString(16)).toBe("62a8ab43");
    expect(crc32c(ascending).toString(16)).toBe("46dd794e");
    expect(crc32c(ascending.toReversed()).toString(16)).toBe("113fdb5c");
    expect(crc32c(new TextEncoder().encode("123456789")).toString(16)).toBe("e3069283");
    expect(crc32c(ascending)).not.toBe(crc32(ascending));
  });

  it("hold every loss and metric, as a reader of TFRecords and protobuf finds them", () => {
    const events = readEvents(encodeEvents(RECORD));
    expect(events).toEqual([
      { wallTime: TIME / 1000, step: 0, version: "brain.Event:2", scalars: {} },
      {
        wallTime: TIME / 1000,
        step: 1,
        version: "",
        scalars: { "loss/train": 0.5, "correct/train": 0.25, "lr/train": 0.5 },
      },
      { wallTime: (TIME + 1) / 1000, step: 200, version: "", scalars: { "correct/train": 0.75, "lr/train": 0.25 } },
      {
        wallTime: (TIME + 2) / 1000,
        step: 300,
        version: "",
        scalars: { "loss/validation": 0.125, "correct/validation": 1 },
      },
    ]);
  });

  it("have a name that TensorBoard looks for, and that stays the same", () => {
    expect(eventFileName(RECORD, "0123456789abcdef")).toBe("events.out.tfevents.1767323045.commonweight-01234567");
  });
});

interface ReadEvent {
  wallTime: number;
  step: number;
  version: string;
  scalars: Record<string, number>;
}

/** Bit by bit, as the polynomial is defined: not the table that the writer uses. */
function slowCrc(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

const unmask = (masked: number): number => {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

/** Every record's data, once both of its checksums hold. */
function* readRecords(file: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 0;
  while (at < file.length) {
    const length = Number(view.getBigUint64(at, true));
    expect(unmask(view.getUint32(at + 8, true))).toBe(slowCrc(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(unmask(view.getUint32(at + 12 + length, true))).toBe(slowCrc(data));
    yield data;
    at += 16 + length;
  }
  expect(at).toBe(file.length);
}

/** Fields of any protobuf message by their wire types. */
function* readFields(message: Uint8Array): Generator<{ number: number; value: number | Uint8Array }> {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  let at = 0;
  const varint = (): number => {
    let [value, factor] = [0, 1];
    for (;;) {
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  while (at < message.length) {
    const key = varint();
    const [number, wire] = [key >> 3, key & 7];
    if (wire === 0) {
      yield { number, value: varint() };
      continue;
    }
    expect([1, 2, 5]).toContain(wire);
    const length = wire === 1 ? 8 : wire === 5 ? 4 : varint();
    const bytes = message.subarray(at, at + length);
    if (wire === 2) yield { number, value: bytes };
    else yield { number, value: wire === 1 ? view.getFloat64(at, true) : view.getFloat32(at, true) };
    at += length;
  }
}

function readEvents(file: Uint8Array): ReadEvent[] {
  const text = (value: number | Uint8Array): string => new TextDecoder().decode(value as Uint8Array);
  return [...readRecords(file)].map((data) => {
    const event: ReadEvent = { wallTime: 0, step: 0, version: "", scalars: {} };
    for (const { number, value } of readFields(data)) {
      if (number === 1) event.wallTime = value as number;
      if (number === 2) event.step = value as number;
      if (number === 3) event.version = text(value);
      if (number !== 5) continue;
      for (const summary of readFields(value as Uint8Array)) {
        const fields = new Map(
          [...readFields(summary.value as Uint8Array)].map((field) => [field.number, field.value]),
        );
        event.scalars[text(fields.get(1)!)] = fields.get(2) as number;
      }
    }
    return event;
  });
}
