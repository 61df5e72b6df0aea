/** SHA-256 through Web Crypto, which exists in secure contexts and in Node. */

/** Null where there is no Web Crypto: a page on a plain http address. */
export function createSha256(
  subtle: SubtleCrypto | undefined,
): ((bytes: Uint8Array<ArrayBuffer>) => Promise<string>) | null {
  if (subtle === undefined) return null;
  return async (bytes) => {
    const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  };
}
