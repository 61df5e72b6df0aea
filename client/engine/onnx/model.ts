/**
 * Writes ONNX models: the few protobuf messages that a graph needs, by the field numbers of onnx.proto3
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3). Only encoding; nothing here reads a model.
 */

/** Element types of TensorProto. */
const ELEMENT_TYPES = { float32: 1, int32: 6, int64: 7 } as const;

const IR_VERSION = 8;
const OPSET = 17;

/** Attribute types of AttributeProto. */
const ATTRIBUTE = { float: 1, int: 2, string: 3, ints: 7 } as const;

export type ElementType = keyof typeof ELEMENT_TYPES;
export type AttributeValue =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] };

/** One protobuf message under construction: fields are appended. */
class Message {
  readonly #bytes: number[] = [];

  get bytes(): readonly number[] {
    return this.#bytes;
  }

  integer(field: number, value: number): this {
    this.#varint(field << 3);
    return this.#varint(value);
  }

  float(field: number, value: number): this {
    this.#varint((field << 3) | 5);
    this.#bytes.push(...new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  /** A nested message, a string (ASCII) or raw bytes. */
  part(field: number, value: Message | string | Uint8Array): this {
    const bytes =
      typeof value === "string"
        ? Array.from(value, (character) => character.charCodeAt(0))
        : value instanceof Message
          ? value.bytes
          : value;
    this.#varint((field << 3) | 2);
    this.#varint(bytes.length);
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  /** Non-negative below 2⁵³, or negative as ten bytes of two's complement. */
  #varint(value: number): this {
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 127n) {
      this.#bytes.push(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    this.#bytes.push(Number(rest));
    return this;
  }
}

function valueInfo(name: string, type: ElementType, shape: readonly number[]): Message {
  const dimensions = new Message();
  for (const size of shape) dimensions.part(1, new Message().integer(1, size));
  const tensor = new Message().integer(1, ELEMENT_TYPES[type]).part(2, dimensions);
  return new Message().part(1, name).part(2, new Message().part(1, tensor));
}

function attribute(name: string, value: AttributeValue): Message {
  const message = new Message().part(1, name);
  if ("float" in value) return message.float(2, value.float).integer(20, ATTRIBUTE.float);
  if ("string" in value) return message.part(4, value.string).integer(20, ATTRIBUTE.string);
  if ("int" in value) return message.integer(3, value.int).integer(20, ATTRIBUTE.int);
  for (const item of value.ints) message.integer(8, item);
  return message.integer(20, ATTRIBUTE.ints);
}

type Values = Float32Array | Int32Array | BigInt64Array;

const typeOf = (values: Values): ElementType =>
  values instanceof Float32Array ? "float32" : values instanceof Int32Array ? "int32" : "int64";

/** Builds one model of one graph, ONNX opset 17. */
export class ModelWriter {
  readonly #graph = new Message();
  #names = 0;

  /** A name that nothing else in this model has. */
  fresh(): string {
    return `t${this.#names++}`;
  }

  node(
    op: string,
    inputs: readonly string[],
    output: string,
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): void {
    const message = new Message();
    for (const input of inputs) message.part(1, input);
    message.part(2, output).part(4, op);
    for (const [name, value] of Object.entries(attributes)) message.part(5, attribute(name, value));
    this.#graph.part(1, message);
  }

  /** A constant tensor; returns its name. */
  initializer(values: Values, shape: readonly number[]): string {
    const name = this.fresh();
    const message = new Message();
    for (const size of shape) message.integer(1, size);
    const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.#graph.part(5, message.integer(2, ELEMENT_TYPES[typeOf(values)]).part(8, name).part(9, raw));
    return name;
  }

  /** An int64 vector, as shapes and axes are given; returns its name. */
  integers(values: readonly number[]): string {
    return this.initializer(BigInt64Array.from(values, BigInt), [values.length]);
  }

  input(name: string, type: ElementType, shape: readonly number[]): void {
    this.#graph.part(11, valueInfo(name, type, shape));
  }

  output(name: string, type: ElementType, shape: readonly number[]): void {
    this.#graph.part(12, valueInfo(name, type, shape));
  }

  finish(): Uint8Array<ArrayBuffer> {
    this.#graph.part(2, "commonweight");
    const opset = new Message().integer(2, OPSET);
    return Uint8Array.from(new Message().integer(1, IR_VERSION).part(7, this.#graph).part(8, opset).bytes);
  }
}
