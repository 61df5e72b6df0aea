import { describe, expect, it } from "vitest";
import { checkSession, DEFAULT_BUDGET } from "../../../client/core/session.ts";
import {
  type AugmentOptions,
  dataset,
  defineSession,
  localData,
  loss,
  type Module,
  nn,
  optim,
  type Sources,
} from "../../../shared/nn/index.ts";
import { canonicalJson } from "../../../shared/session/canonical.ts";
import type { SessionData, SessionDefinition } from "../../../shared/session/definition.ts";
import { parseDefinition } from "../../../shared/session/validate.ts";

const RANGES = { train: [0, 8], validation: [8, 10] } as const;

function session(
  augment: AugmentOptions | undefined,
  shape: readonly number[] = [1, 6, 5],
  dataOf: (sources: Sources) => SessionData = (sources) => dataset("pictures", { ...sources, ...RANGES }),
): SessionDefinition {
  return defineSession({
    title: "Pictures",
    model: nn.sequential(nn.flatten(), nn.linear(30, 3)),
    input: shape,
    loss: loss.crossEntropy(),
    optimizer: optim.sgd({ lr: 0.1 }),
    data: dataOf({ x: { column: "x", ...(augment === undefined ? {} : { augment }) }, y: "y" }),
    batchSize: 4,
    epochs: 1,
  });
}

/** As the coordinator gets it, and as a volunteer's client does. */
const asJson = (definition: unknown): unknown => JSON.parse(JSON.stringify(definition));
const parse = (definition: unknown): SessionDefinition => parseDefinition(asJson(definition), DEFAULT_BUDGET);

/** A definition with this in place of what `defineSession` would make of the input's changes. */
function forged(augment: unknown, definition: SessionDefinition = session(undefined), input = "x"): unknown {
  const { data } = definition;
  const inputs = { ...data.inputs, [input]: { ...data.inputs[input], augment } };
  return { ...definition, data: { ...data, inputs } };
}

describe("augmentation in a session", () => {
  it("survives the way to the coordinator and to the clients", () => {
    const augment = {
      shift: 4,
      crop: { padding: 2, paddingMode: "edge" },
      horizontalFlip: true,
      verticalFlip: true,
      noise: 0.1,
    } as const;
    expect(parse(session(augment)).data.inputs.x?.augment).toEqual(augment);
    expect(parse(session({ noise: 0.1 }, [6, 5])).data.inputs.x?.augment).toEqual({ noise: 0.1 });
  });

  it("fills the border with stored zeros where nothing else is said, as torchvision", () => {
    expect(parse(session({ crop: { padding: 2 } })).data.inputs.x?.augment).toEqual({
      crop: { padding: 2, paddingMode: "constant" },
    });
  });

  it("makes no other session where nothing is wanted", () => {
    const nothing: AugmentOptions = {
      shift: 0,
      crop: { padding: 0 },
      horizontalFlip: false,
      verticalFlip: false,
      noise: 0,
    };
    for (const augment of [{}, nothing]) {
      expect(canonicalJson(session(augment))).toBe(canonicalJson(session(undefined)));
    }
    expect(canonicalJson(session({ shift: 1, ...{ noise: 0 } }))).toBe(canonicalJson(session({ shift: 1 })));
  });

  it("is of a client's own data too", () => {
    const definition = session({ horizontalFlip: true }, [1, 6, 5], (sources) =>
      localData({
        ...sources,
        columns: [
          { name: "x", dtype: "uint8", shape: [6, 5] },
          { name: "y", dtype: "uint8", shape: [] },
        ],
        samplesPerEpoch: 8,
      }),
    );
    expect(parse(definition).data.inputs.x?.augment).toEqual({ horizontalFlip: true });
  });

  const windowed = {
    ...session({ noise: 1 }).data,
    window: { length: 6, stride: 2 },
    train: [0, 60],
    validation: [60, 80],
  };

  const tokens: Module = nn.sequential(nn.embedding(9, 4), nn.flatten(), nn.linear(120, 3));
  const ofTokens = defineSession({
    title: "Tokens",
    model: tokens,
    input: { x: { dtype: "int32", shape: [6, 5] } },
    loss: loss.crossEntropy(),
    optimizer: optim.sgd({ lr: 0.1 }),
    data: dataset("tokens", { x: "x", y: "y", ...RANGES }),
    batchSize: 4,
    epochs: 1,
  });

  it.each([
    ["an unknown kind", forged({ rotate: 10 }), /data\.inputs\.x\.augment\.rotate/],
    ["an unknown word within one", forged({ crop: { padding: 1, paddingMode: "edge", fill: 3 } }), /crop\.fill/],
    ["another border", forged({ crop: { padding: 1, paddingMode: "wrap" } }), /crop\.paddingMode.*"constant"/],
    ["a negative shift", session({ shift: -1 }), /augment\.shift.*-1/],
    ["a broken shift", session({ shift: 1.5 }), /augment\.shift.*1\.5/],
    ["a shift out of the picture", session({ shift: 5 }), /augment\.shift: expected less than .* 6 × 5, got 5/],
    ["a border of a whole picture", session({ crop: { padding: 5 } }), /augment\.crop\.padding: .* 6 × 5, got 5/],
    ["a negative border", session({ crop: { padding: -2 } }), /augment\.crop\.padding.*-2/],
    ["a negative deviation", session({ noise: -0.1 }), /augment\.noise: expected a standard deviation above 0/],
    ["an infinite deviation", session({ noise: Number.POSITIVE_INFINITY }), /augment\.noise/],
    ["no number", session({ noise: Number.NaN }), /augment\.noise/],
    ["a word for yes", forged({ horizontalFlip: "yes" }), /augment\.horizontalFlip: expected true/],
    ["what is not wanted", forged({ shift: 0 }), /augment\.shift: expected pixels, 1 or more; .* left out/],
    ["nothing at all", forged({}), /data\.inputs\.x\.augment: expected shift, crop/],
    ["no changes", forged(null), /data\.inputs\.x\.augment/],
    ["a table's rows", session({ noise: 1 }, [30]), /expected an input \[N, C, H, W\] or \[N, H, W\], got \[N, 30\]/],
    ["four axes", session({ noise: 1 }, [1, 1, 6, 5]), /got \[N, 1, 1, 6, 5\]/],
    ["tokens", forged({ horizontalFlip: true }, ofTokens), /expected an input of float32, got int32/],
    [
      "windows over a stream",
      { ...session({ noise: 1 }), data: windowed },
      /x\.augment: data\.window makes no pictures/,
    ],
    ["targets", forged({ noise: 1 }, undefined, "y"), /data\.inputs\.y\.augment: a target is taken as it is/],
  ])("refuses %s, at the coordinator and at each client (I10)", (_, definition, message) => {
    expect(() => parse(definition)).toThrow(expect.objectContaining({ code: "bad-definition" }));
    expect(() => parse(definition)).toThrow(message);
    const reply = { definition: asJson(definition), manifest: null, progress: {} } as Parameters<
      typeof checkSession
    >[0];
    expect(() => checkSession(reply, DEFAULT_BUDGET)).toThrow(expect.objectContaining({ code: "refused-session" }));
    expect(() => checkSession(reply, DEFAULT_BUDGET)).toThrow(message);
  });
});
