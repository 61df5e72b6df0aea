/** A coordinator for the people in the same room: its addresses in the local network, and one of them as a picture. */

import { networkInterfaces } from "node:os";
import { renderUnicodeCompact } from "uqr";

/** Listens on every address of this machine. */
export const EVERYWHERE = "0.0.0.0";

/** Addresses by which others in the network reach this machine. */
export function lanAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address);
}

/** What to tell whoever shares, line by line. */
export function describeSharing(port: string, addresses: readonly string[] = lanAddresses()): string[] {
  const [first] = addresses;
  if (first === undefined) {
    return ["this machine has no address in a local network: nobody else can reach it"];
  }
  return [
    "",
    "others in the same network open",
    ...addresses.map((address) => `  http://${address}:${port}/`),
    "which leads to the newest session that is not over, and each session's own link works with these addresses, too.",
    "",
    ...renderUnicodeCompact(`http://${first}:${port}/`, { border: 2 }).split("\n"),
    "",
    "Browsers give pages at such an address no WebGPU: phones compute with WASM. For WebGPU they need https, by a tunnel:",
    `  cloudflared tunnel --url http://127.0.0.1:${port}`,
    "Whoever is in the network can take part and copy what is trained on; the admin routes still need the secret.",
    "",
  ];
}
