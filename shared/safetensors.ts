/**
 * The header of a safetensors file (https://github.com/huggingface/safetensors#format), read and written as text: names,
 * types, shapes and byte ranges of tensors, and what is said about them. Whoever has the bytes decodes them.
 */

import * as v from "valibot";

/** The header's length comes first, as u64. */
export const LENGTH_BYTES = 8;
const MAX_TENSORS = 10_000;
const MAX_RANK = 8;

/** Bytes of one number by type. */
export const TENSOR_TYPES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

export interface TensorEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes after the header: from `from` to before `to`. */
  readonly from: number;
  readonly to: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes, which leave no gap. */
  readonly tensors: readonly TensorEntry[];
  /** The entry `__metadata__` as it came; undefined without one. */
  readonly metadata: unknown;
}

/** Why a header is refused; `tensor` is the name of the one it is about, null for the whole. */
export class SafetensorsError extends Error {
  readonly tensor: string | null;
  constructor(message: string, tensor: string | null = null, options?: ErrorOptions) {
    super(message, options);
    this.name = "SafetensorsError";
    this.tensor = tensor;
  }
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const entrySchema = v.strictObject({
  dtype: v.string(),
  shape: v.pipe(v.array(count), v.maxLength(MAX_RANK)),
  data_offsets: v.strictTuple([count, count]),
});

/** Bytes of the header's text. Throws SafetensorsError where the file's first 8 bytes say more than `most`. */
export function headerLength(prefix: Uint8Array, most: number): number {
  if (prefix.byteLength < LENGTH_BYTES) throw new SafetensorsError(`it has ${prefix.byteLength} bytes`);
  const announced = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (announced > BigInt(most)) throw new SafetensorsError(`a header of ${announced} bytes, at most ${most} can be`);
  return Number(announced);
}

/** Throws SafetensorsError unless the text is a table of tensors. Their ranges are not checked: see `requireCover`. */
export function parseHeader(text: string): SafetensorsHeader {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SafetensorsError(`its header is not JSON: ${why}`, null, { cause: error });
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new SafetensorsError("its header is no table of tensors");
  }
  const named = Object.entries(header).filter(([key]) => key !== "__metadata__");
  if (named.length > MAX_TENSORS) throw new SafetensorsError(`${named.length} tensors, the limit is ${MAX_TENSORS}`);
  const tensors = named.map(([name, value]): TensorEntry => {
    const result = v.safeParse(entrySchema, value);
    if (!result.success) throw new SafetensorsError(result.issues[0].message, name);
    const { dtype, shape, data_offsets } = result.output;
    return { name, dtype, shape, from: data_offsets[0], to: data_offsets[1] };
  });
  tensors.sort((a, b) => a.from - b.from || a.to - b.to);
  return { tensors, metadata: Object.hasOwn(header, "__metadata__") ? Reflect.get(header, "__metadata__") : undefined };
}

/**
 * Checks that the tensors' bytes follow one another without a gap up to `held`, the bytes after the header, and that each
 * has those that its type and shape need. Throws SafetensorsError.
 */
export function requireCover({ tensors }: SafetensorsHeader, held: number): void {
  let end = 0;
  for (const { name, from, to } of tensors) {
    if (from !== end || to < from || to > held) {
      throw new SafetensorsError(`its bytes are ${from}..${to}, expected from ${end} to at most ${held}`, name);
    }
    end = to;
  }
  if (end !== held) throw new SafetensorsError(`${held - end} bytes at its end belong to no tensor`);
  for (const { name, dtype, shape, from, to } of tensors) {
    const bytes = Object.hasOwn(TENSOR_TYPES, dtype) ? TENSOR_TYPES[dtype] : undefined;
    if (bytes === undefined)
      throw new SafetensorsError(`its type ${JSON.stringify(dtype.slice(0, 100))} is not read`, name);
    const size = shape.reduce((product, next) => product * next, 1);
    if (size * bytes !== to - from) {
      const figures = `${dtype} [${shape.join(", ")}] needs ${size * bytes} bytes, ${to - from} are its own`;
      throw new SafetensorsError(figures, name);
    }
  }
}

/** A tensor to be written; `bytes` are how many it has. */
export interface NewTensor {
  readonly name: string;
  readonly dtype: keyof typeof TENSOR_TYPES;
  readonly shape: readonly number[];
  readonly bytes: number;
}

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** The header of tensors that lie one after another, in ASCII: as many bytes as characters, so many that tensors are aligned to 8. */
export function formatHeader(tensors: readonly NewTensor[], metadata: Readonly<Record<string, string>>): string {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const text = JSON.stringify(header).replace(/[\u0080-\uffff]/g, escaped);
  return text.padEnd(Math.ceil(text.length / 8) * 8);
}
