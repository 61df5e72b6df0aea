/**
 * Writes the WGSL that computes values at given coordinates, each once: values that are in memory are loaded, the others are
 * computed from their operands. In a kernel of width 4 every expression is a vec4f over four lanes.
 */

import { address, type Coordinate, Misfit, ZERO } from "./coordinates.ts";
import { HEADER } from "./layout.ts";
import type { GatherValue, MaskValue, RowsValue, Shape, Value } from "./values.ts";

export type Width = 1 | 4;

/** In a buffer; `offset` in words, as WGSL. */
export interface BufferPlace {
  readonly buffer: "input" | "weights" | "arena";
  readonly offset: string;
  readonly integer: boolean;
}

/** Where a value can be read. */
export type Place =
  | BufferPlace
  /** A variable that holds it at the only coordinates that the kernel has. */
  | { readonly variable: string };

/** Finds a value in memory or in a variable; null: it is to be computed here. Throws Misfit if neither is possible. */
export type Resolve = (value: Value, coordinates: readonly Coordinate[]) => Place | null;

const plus = (offset: number, text: string): string => (offset === 0 ? text : `(${text} + ${offset}u)`);

/** Coordinates of an operand that is broadcast to the shape these belong to. */
function broadcastCoordinates(shape: Shape, coordinates: readonly Coordinate[]): Coordinate[] {
  const missing = coordinates.length - shape.length;
  return shape.map((size, axis) => (size === 1 ? ZERO : coordinates[axis + missing]));
}

export class Expressions {
  readonly lines: string[] = [];
  readonly #width: Width;
  readonly #resolve: Resolve;
  readonly #prefix: string;
  readonly #written = new Map<string, string>();
  /** Names of variables that hold positions, by their text. */
  readonly #positions = new Map<string, string>();

  /** @param prefix starts the names of variables, so that scopes within one function stay apart */
  constructor(width: Width, resolve: Resolve, prefix = "v") {
    this.#width = width;
    this.#resolve = resolve;
    this.#prefix = prefix;
  }

  /** Name of a variable that holds the value at these coordinates. */
  at(value: Value, coordinates: readonly Coordinate[]): string {
    const key = `${value.id} ${coordinates.map(({ text }) => text)}`;
    const written = this.#written.get(key);
    if (written !== undefined) return written;
    const text = this.#text(value, coordinates);
    const name = `${this.#prefix}${this.#written.size}`;
    this.lines.push(`let ${name} = ${text};`);
    this.#written.set(key, name);
    return name;
  }

  #text(value: Value, coordinates: readonly Coordinate[]): string {
    const place = this.#resolve(value, coordinates);
    if (value.kind === "mask" && place !== null && "buffer" in place) return this.#mask(value, coordinates, place);
    if (place !== null) return "variable" in place ? place.variable : this.#load(place, value.shape, coordinates);
    switch (value.kind) {
      case "map":
        return value.text(
          ...value.inputs.map((input) => this.at(input, broadcastCoordinates(input.shape, coordinates))),
        );
      case "view":
        return this.at(value.input, value.remap(coordinates));
      case "gather":
        return this.#gather(value, coordinates);
      case "coordinate":
        return this.#number(coordinates[value.axis]);
      case "rows":
        return this.#row(value, coordinates);
      // These are always in memory or in a variable; a mask's key is.
      case "mask":
      case "stored":
      case "product":
      case "convolution":
      case "reduce":
        throw new Misfit();
      default:
        return value satisfies never;
    }
  }

  /** Coordinates stay within the input, so that nothing is read from elsewhere and then thrown away. */
  #gather({ input, positions, outside }: GatherValue, coordinates: readonly Coordinate[]): string {
    const conditions: string[] = [];
    const places = positions(coordinates).map((position, axis): Coordinate => {
      if ("lanes" in position) return position;
      const { text, divisor, inside } = position;
      const name = this.#position(text);
      if (inside) return { text: `u32(${name})`, lanes: false };
      const size = input.shape[axis];
      conditions.push(`${name} >= 0`, `${name} < ${size * divisor}`);
      if (divisor > 1) conditions.push(`${name} % ${divisor} == 0`);
      const last = size * divisor - 1;
      const within = `u32(clamp(${name}, 0, ${last}))`;
      if (size === 1) return ZERO;
      return { text: divisor > 1 ? `(${within} / ${divisor}u)` : within, lanes: false };
    });
    const value = this.at(input, places);
    return conditions.length === 0 ? value : `select(T(${outside}), ${value}, ${conditions.join(" && ")})`;
  }

  #position(text: string): string {
    const held = this.#positions.get(text);
    if (held !== undefined) return held;
    const name = `${this.#prefix}p${this.#positions.size}`;
    this.lines.push(`let ${name} = ${text};`);
    this.#positions.set(text, name);
    return name;
  }

  #number({ text, lanes }: Coordinate): string {
    return lanes ? `T(vec4u(${text}) + vec4u(0u, 1u, 2u, 3u))` : `T(f32(${text}))`;
  }

  #row({ table, indices }: RowsValue, coordinates: readonly Coordinate[]): string {
    const at = coordinates.slice(0, indices.shape.length);
    if (at.some(({ lanes }) => lanes)) throw new Misfit();
    const index = this.at(indices, at);
    const number = this.#width === 4 ? `${index}.x` : index;
    // No u32 is made of what is out of range.
    const row = `u32(clamp(${number}, 0f, ${table.shape[0] - 1}f))`;
    const from = [{ text: row, lanes: false }, ...coordinates.slice(indices.shape.length)];
    const place = this.#resolve(table, from);
    if (place === null || "variable" in place) throw new Misfit();
    const exists = `${number} >= 0f && ${number} <= ${table.shape[0] - 1}f`;
    return `select(T(0), ${this.#load(place, table.shape, from)}, ${exists})`;
  }

  #mask(
    { shape, threshold, scale }: MaskValue,
    [sample, ...rest]: readonly Coordinate[],
    { offset }: BufferPlace,
  ): string {
    const unit = address(rest, shape.slice(1));
    if (this.#width === 4 && unit.laneStride !== 1) throw new Misfit();
    const position = `header(${HEADER.position}u) + ${sample.text}`;
    return `dropout(vec2u(header(${offset}), header(${offset} + 1u)), ${position}, ${unit.text}, ${threshold}u, ${scale}f)`;
  }

  #load(place: BufferPlace, shape: Shape, coordinates: readonly Coordinate[]): string {
    const { buffer, offset, integer } = place;
    const convert = (text: string, type: string): string => {
      if (buffer !== "input") return text;
      return integer ? `${type}(bitcast<${type === "T" ? "I" : "i32"}>(${text}))` : `bitcast<${type}>(${text})`;
    };
    const { text, laneStride } = address(coordinates, shape);
    const at = `(${text} + ${offset})`;
    if (this.#width === 1) return convert(`${buffer}[${at}]`, "T");
    if (laneStride === 1) return convert(`${buffer}[${at} / 4u]`, "T");
    const scalar = (lane: number): string => {
      const index = plus(lane * laneStride, at);
      return convert(`${buffer}[${index} >> 2u][${index} & 3u]`, "f32");
    };
    return laneStride === 0 ? `T(${scalar(0)})` : `T(${[0, 1, 2, 3].map(scalar).join(", ")})`;
  }
}
