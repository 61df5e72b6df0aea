/** A data set's pictures and what they show, as their files have them. */
export interface Pictures {
  readonly pixels: Uint8Array;
  readonly classes: Uint8Array;
}

export async function readPictures(images: string, labels: string): Promise<Pictures> {
  const read = async (address: string) => new Uint8Array(await (await fetch(address)).arrayBuffer());
  const [pixels, classes] = await Promise.all([read(images), read(labels)]);
  return { pixels, classes };
}
