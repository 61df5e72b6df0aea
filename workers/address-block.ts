/**
 * Addresses that may well be one person's: the first 24 bits of IPv4, and the first 48 of IPv6, which is what providers give one customer
 * at most. Only the block is passed on; the address itself stays at the door.
 */

const GROUPS = 8;
const BLOCK_GROUPS = 3;

/** The block of an address as text; empty for none, and for what is no address. */
export function addressBlock(address: string | undefined): string {
  const text = (address ?? "").trim().toLowerCase();
  const mapped = /^(?:::ffff:)?(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}$/.exec(text);
  if (mapped !== null) return `${mapped[1]}.0/24`;
  if (!/^[0-9a-f:]+$/.test(text) || !text.includes(":")) return "";
  const [head = "", tail] = text.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const missing = tail === undefined ? 0 : Math.max(0, GROUPS - before.length - after.length);
  const groups = [...before, ...new Array<string>(missing).fill("0"), ...after].map((group) =>
    Number.parseInt(group, 16),
  );
  if (groups.length !== GROUPS || groups.some((group) => !(group <= 0xffff))) return "";
  return `${groups
    .slice(0, BLOCK_GROUPS)
    .map((group) => group.toString(16))
    .join(":")}::/48`;
}
