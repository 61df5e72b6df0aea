/**
 * Address blocks: what one person or one machine can have many addresses of counts as one. Of loopback each address counts for
 * itself, since all of them are one machine anyway, and tests tell clients apart by them.
 */

/** `1.2.3.4:5` and `[::1]:5`: an address with the port that it came from. */
const WITH_PORT = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):\d{1,5}$/i;

/** The /24 of an IPv4 address, the /64 of an IPv6 one, or the text itself if it is neither. */
export function blockOf(seen: string): string {
  const [, six, old] = WITH_PORT.exec(seen) ?? [];
  const address = six ?? old ?? seen;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.\d{1,3}$/.exec(mapped);
  if (four !== null) return four[1] === "127" ? mapped : `${four[1]}.${four[2]}.${four[3]}`;
  if (!/^[0-9a-f:]{2,39}$/i.test(mapped) || !mapped.includes(":")) return mapped.slice(0, 64);
  const [front = "", back] = mapped.toLowerCase().split("::", 2);
  const groups = front === "" ? [] : front.split(":");
  // What "::" leaves out are zeros, and the first four groups are the block.
  const behind = back === undefined || back === "" ? [] : back.split(":");
  const whole = back === undefined ? groups : [...groups, ...zeros(8 - groups.length - behind.length), ...behind];
  return whole
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}

const zeros = (count: number): string[] => Array.from({ length: Math.max(0, count) }, () => "0");
