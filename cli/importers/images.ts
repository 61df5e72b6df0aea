/**
 * A folder of pictures as a data set: each sub-folder is a class, each PNG file in it a sample. All have one size, eight bits
 * a channel, and are grey or all of them RGB; rows, columns and channels are laid out as [channels, height, width].
 */

import { convertIndexedToRgb, type DecodedPng, decode, hasPngSignature } from "fast-png";
import { Unzlib } from "fflate";
import { CliError, messageOf } from "../errors.ts";
import { listClasses } from "./classes.ts";
import { MAX_FILE_BYTES, readFile } from "./file.ts";
import { classEnding, type Imported } from "./imported.ts";
import { arrange, type Fractions, splitSamples } from "./split.ts";

const MAX_SIDE = 4_096;
const MAX_PNG_BYTES = 64_000_000;

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** 1 for grey, 3 for RGB. */
  readonly channels: number;
  /** [channels, height, width] */
  readonly values: Uint8Array;
}

/** Channels by PNG's colour type. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** Packed bytes taken in at a time: they unpack to at most about a thousand times as many. */
const SLICE = 16_384;

/**
 * How many bytes come out. Not by Node's zlib, whose memory is only given back once the event loop turns: a folder of pictures
 * read in one go would hold all of it. Throws where it is more than `most`, or the packed bytes are damaged.
 */
function unpackedSize(packed: Uint8Array, most: number): number {
  let bytes = 0;
  const stream = new Unzlib((chunk) => {
    bytes += chunk.length;
    if (bytes > most) throw new Error(`its pixels unpack to more than ${most} bytes`);
  });
  for (let from = 0; from < packed.length; from += SLICE) {
    stream.push(packed.subarray(from, from + SLICE), from + SLICE >= packed.length);
  }
  return bytes;
}

/**
 * Throws unless the pixels unpack to no more than the header's width and height ask for: the decoder itself would go on
 * unpacking as long as there is something to unpack.
 */
function checkUnpackedSize(file: Uint8Array): void {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 33 || !hasPngSignature(file)) throw new Error("this is not a PNG file");
  const [width, height, depth, colour] = [view.getUint32(16), view.getUint32(20), file[24], file[25]];
  if (width === 0 || height === 0 || width > MAX_SIDE || height > MAX_SIDE) {
    throw new Error(`${width} × ${height} pixels, the limit is ${MAX_SIDE} × ${MAX_SIDE}`);
  }
  if (depth !== 8) throw new Error(`${depth} bits a channel, expected 8`);
  if (CHANNELS[colour] === undefined) throw new Error(`colour type ${colour} does not exist`);
  if (file[28] !== 0) throw new Error("interlaced pictures are not read: save it without");
  const packed: Uint8Array[] = [];
  for (let at = 8; at + 12 <= file.length; at += 12 + view.getUint32(at)) {
    const type = view.getUint32(at + 4);
    if (type === 0x49444154) packed.push(file.subarray(at + 8, Math.min(file.length, at + 8 + view.getUint32(at)))); // IDAT
  }
  const bytes = height * (1 + width * CHANNELS[colour]);
  const came = unpackedSize(Buffer.concat(packed), bytes);
  if (came !== bytes) throw new Error(`its pixels are cut off: ${came} of ${bytes} bytes`);
}

/** Grey or RGB; a transparency that hides nothing is left out. */
function toPicture(png: DecodedPng): Picture {
  const { width, height } = png;
  const isIndexed = png.palette !== undefined;
  const data = isIndexed ? convertIndexedToRgb(png) : png.data;
  const stored = isIndexed ? data.length / (width * height) : png.channels;
  const channels = stored >= 3 ? 3 : 1;
  const values = new Uint8Array(channels * width * height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * stored;
    if (stored !== channels && data[at + channels] !== 255) {
      throw new Error("it is partly transparent: put it on a background first");
    }
    for (let channel = 0; channel < channels; channel++) values[channel * width * height + pixel] = data[at + channel];
  }
  return { width, height, channels, values };
}

/** Throws CliError naming the file and what is wrong with it. */
export function parsePng(file: Uint8Array, name: string): Picture {
  try {
    checkUnpackedSize(file);
    return toPicture(decode(file, { checkCrc: true }));
  } catch (error) {
    throw new CliError(`${name}: ${messageOf(error)}`, { cause: error });
  }
}

const describe = ({ width, height, channels }: Picture): string =>
  `${width} × ${height} ${channels === 1 ? "grey" : "RGB"}`;

/** Columns `image` [channels, height, width] and `label` (uint8, or int32 for many classes). Throws CliError naming the file. */
export function importImages(folder: string, fractions?: Fractions, seed?: number): Imported {
  const { classes, files } = listClasses(folder, { pattern: /\.png$/i, one: "a PNG file", many: "pictures" });
  const read = (path: string): Picture => parsePng(readFile(path, MAX_PNG_BYTES), path);
  const first = read(files[0].path);
  const size = first.values.length;
  if (size * files.length > MAX_FILE_BYTES) {
    throw new CliError(`${files.length} pictures of ${size} bytes are over ${MAX_FILE_BYTES} bytes`);
  }
  const images = new Uint8Array(files.length * size);
  for (const [index, { path }] of files.entries()) {
    const picture = read(path);
    if (describe(picture) !== describe(first)) {
      throw new CliError(`${path} is ${describe(picture)}, ${files[0].path} is ${describe(first)}: all must be alike`);
    }
    images.set(picture.values, index * size);
  }
  const labels = classes.length <= 256 ? new Uint8Array(files.length) : new Int32Array(files.length);
  for (const [index, { label }] of files.entries()) labels[index] = label;
  const split = splitSamples(files.length, fractions, seed);
  const shape = [first.channels, first.height, first.width];
  return {
    content: {
      columns: [
        { name: "image", dtype: "uint8", shape },
        { name: "label", dtype: labels instanceof Uint8Array ? "uint8" : "int32", shape: [] },
      ],
      rows: [
        arrange(images, size, split.order),
        arrange(new Uint8Array(labels.buffer), labels.BYTES_PER_ELEMENT, split.order),
      ],
      samples: files.length,
      splits: split.splits,
    },
    notes: [`${describe(first)} pictures`, ...classes.map((name, label) => `class ${label} = ${name}`)],
    x: '{ column: "image", scale: 1 / 255 }',
    y: '"label"',
    input: shape,
    ending: `the model begins with nn.flatten(); ${classEnding(classes.length)}`,
  };
}
