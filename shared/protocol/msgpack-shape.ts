/**
 * A look at a msgpack message before it is decoded: how deep it nests, that its keys are text, that it ends where its bytes do, and
 * that it holds nothing but maps, lists, text, numbers, booleans and nil. A decoder that is handed what passes neither recurses further
 * than `MOST_DEPTH` nor makes objects of kinds that the sender chose, as extension types do. Nothing is built and nothing recurses here.
 *
 * https://github.com/msgpack/msgpack/blob/master/spec.md
 */

/** Maps and lists within one another. */
const MOST_DEPTH = 8;

/** Bytes that follow the first one, by the first one, where no value is nested in it; for text and what counts: of its length. */
const FIXED: Readonly<Record<number, number>> = {
  192: 0, // nil
  194: 0, // false
  195: 0, // true
  202: 4, // float 32
  203: 8, // float 64
  204: 1, // unsigned 8 to 64
  205: 2,
  206: 4,
  207: 8,
  208: 1, // signed 8 to 64
  209: 2,
  210: 4,
  211: 8,
};

/** By the first byte: what it begins, and how many bytes say its length. */
const COUNTED: Readonly<Record<number, readonly [kind: "text" | "list" | "map", bytes: 1 | 2 | 4]>> = {
  217: ["text", 1],
  218: ["text", 2],
  219: ["text", 4],
  220: ["list", 2],
  221: ["list", 4],
  222: ["map", 2],
  223: ["map", 4],
};

/** Why a message must not be decoded, or null. */
export function findShapeFault(bytes: Uint8Array): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Values that are missing, of each map and list that is open; keys and values of a map alternate, so an even rest wants a key. */
  const missing: number[] = [1];
  const isMap: boolean[] = [false];
  let at = 0;
  while (missing.length > 0) {
    const top = missing.length - 1;
    const rest = missing[top] ?? 0;
    if (rest === 0) {
      missing.pop();
      isMap.pop();
      continue;
    }
    missing[top] = rest - 1;
    if (at >= bytes.length) return "it ends within a value";
    const first = view.getUint8(at++);
    const isKey = isMap[top] === true && rest % 2 === 0;
    let kind: "text" | "list" | "map" | "plain" = "plain";
    let length = 0;
    const counted = COUNTED[first];
    if (first >= 0xa0 && first <= 0xbf) [kind, length] = ["text", first & 0x1f];
    else if (first >= 0x90 && first <= 0x9f) [kind, length] = ["list", first & 0x0f];
    else if (first >= 0x80 && first <= 0x8f) [kind, length] = ["map", first & 0x0f];
    else if (counted !== undefined) {
      const [, size] = counted;
      if (at + size > bytes.length) return "it ends within a value";
      kind = counted[0];
      length = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at) : view.getUint32(at);
      at += size;
    } else if (first > 0x7f && first < 0xe0) {
      const size = FIXED[first];
      if (size === undefined) return `byte ${first} begins no map, list, text, number, boolean or nil`;
      length = size;
    }
    if (isKey && kind !== "text") return "a key is no text";
    if (kind === "list" || kind === "map") {
      // The outermost entry stands for the message itself.
      if (missing.length > MOST_DEPTH) return `deeper than ${MOST_DEPTH} maps and lists`;
      // Each of them takes a byte at least: a count beyond the message's end is found here, before anything is made for it.
      const values = kind === "map" ? length * 2 : length;
      if (values > bytes.length - at) return "it ends within a value";
      missing.push(values);
      isMap.push(kind === "map");
    } else at += length;
  }
  if (at === bytes.length) return null;
  return at > bytes.length ? "it ends within a value" : "more follows its end";
}
