/** Bytes that came in pieces cut anywhere, read in order as if they were one: each is copied once, to where it is wanted. */

export class PieceReader {
  readonly #pieces: readonly Uint8Array[];
  #piece = 0;
  #offset = 0;

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces;
  }

  /** Where in its buffer the next byte lies; 0 where none is left. */
  get place(): number {
    const piece = this.#pieces[this.#piece] as Uint8Array | undefined;
    return piece === undefined ? 0 : piece.byteOffset + this.#offset;
  }

  /** All that was not read yet, aligned to 16 bytes; a view where one piece has it so. */
  rest(): Uint8Array {
    const rest = this.#pieces.slice(this.#piece);
    const bytes = rest.reduce((sum, { byteLength }) => sum + byteLength, 0) - this.#offset;
    const only = rest.length === 1 ? rest[0].subarray(this.#offset) : null;
    if (only !== null && only.byteOffset % 16 === 0) return only;
    const joined = new Uint8Array(bytes);
    this.fill(joined);
    return joined;
  }

  /** Fills the whole target. Throws RangeError if less is left. */
  fill(target: Uint8Array): void {
    for (let filled = 0; filled < target.byteLength; ) {
      if (this.#piece === this.#pieces.length) {
        throw new RangeError(`${target.byteLength - filled} bytes more than there are were to be read`);
      }
      const piece = this.#pieces[this.#piece];
      const part = piece.subarray(this.#offset, this.#offset + target.byteLength - filled);
      target.set(part, filled);
      filled += part.byteLength;
      this.#offset += part.byteLength;
      if (this.#offset < piece.byteLength) continue;
      this.#piece += 1;
      this.#offset = 0;
    }
  }
}
