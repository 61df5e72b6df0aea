/**
 * Address blocks: addresses that count as one, since one person or machine can have many of them. Only the block is passed on; the
 * address itself stays at the door.
 */

/**
 * Bits that a block has in common, by what it is for. Of IPv6 a home or a server has a /64 at least, and a customer a /48 at most. A
 * quota takes the smaller one, so that strangers with one provider do not share it; an audit takes the larger one, so that nobody is
 * compared with themselves.
 */
export const PREFIX_BITS = { quota: { four: 24, six: 64 }, audit: { four: 24, six: 48 } } as const;

export type BlockPurpose = keyof typeof PREFIX_BITS;

/** `1.2.3.4:5` and `[::1]:5`: an address with the port that it came from. */
const WITH_PORT = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):\d{1,5}$/;
const FOUR = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;
const GROUPS = 8;
const GROUP_BITS = 16;
const BYTE_BITS = 8;

/** The block of an address as text; empty for none, and for what is no address. */
export function addressBlock(address: string | undefined, purpose: BlockPurpose): string {
  const seen = (address ?? "").trim().toLowerCase();
  const [, bracketed, bare] = WITH_PORT.exec(seen) ?? [];
  const text = bracketed ?? bare ?? seen;
  const { four, six } = PREFIX_BITS[purpose];
  const bytes = FOUR.exec(text)?.slice(1).map(Number);
  if (bytes !== undefined) return bytes.every((byte) => byte <= 255) ? blockOfFour(bytes, four) : "";
  const groups = groupsOf(text);
  if (groups === null) return "";
  const head = groups.slice(0, six / GROUP_BITS).map((group) => group.toString(16));
  return `${head.join(":")}::/${six}`;
}

/** Of loopback each address is a block: all of them are one machine anyway, and tests tell clients apart by them. */
function blockOfFour(bytes: readonly number[], bits: number): string {
  if (bytes[0] === 127) return `${bytes.join(".")}/32`;
  return `${bytes.map((byte, index) => (index < bits / BYTE_BITS ? byte : 0)).join(".")}/${bits}`;
}

/** The eight groups of an IPv6 address; null for what is none. */
function groupsOf(text: string): readonly number[] | null {
  if (!/^[0-9a-f:]{2,39}$/.test(text) || !text.includes(":")) return null;
  const [head = "", tail, rest] = text.split("::");
  if (rest !== undefined) return null;
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const missing = tail === undefined ? 0 : Math.max(0, GROUPS - before.length - after.length);
  const groups = [...before, ...new Array<string>(missing).fill("0"), ...after].map((group) =>
    Number.parseInt(group, 16),
  );
  return groups.length === GROUPS && groups.every((group) => group <= 0xffff) ? groups : null;
}
