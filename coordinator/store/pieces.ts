/** Large values as rows: SQLite in a Durable Object holds at most 2 MB a row, and locally nothing enforces that. */

/** Bytes of one piece; a row's other columns fit in what remains to the platform's 2 MB. */
export const PIECE_BYTES = 1_800_000;

/** Number of rows that `bytes` bytes take; none for none. */
export const pieceCount = (bytes: number): number => Math.ceil(bytes / PIECE_BYTES);

/** Views of at most `PIECE_BYTES`, in order; nothing is copied. */
export function* cutPieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += PIECE_BYTES) {
    yield bytes.subarray(offset, offset + PIECE_BYTES);
  }
}

/** Joins pieces into exactly `length` bytes. Throws if they come to another length: the database is damaged. */
export function joinPieces(pieces: Iterable<ArrayBuffer>, length: number, what: string): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    if (offset + piece.byteLength > length) throw new Error(`${what} is longer than its ${length} bytes`);
    joined.set(new Uint8Array(piece), offset);
    offset += piece.byteLength;
  }
  if (offset !== length) throw new Error(`${what} has ${offset} bytes, expected ${length}`);
  return joined;
}
