/** Threefry-2x32 (see `threefry.ts`) as WGSL source: the same bits. */

const round = (rotation: number): string =>
  `  x.x += x.y; x.y = (x.y << ${rotation}u) | (x.y >> ${32 - rotation}u); x.y ^= x.x;`;

const ROTATIONS = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const;

/** Key words are numbered k.x, k.y, k.z; group g of four rounds adds words g+1 and g+2 (mod 3) and its number. */
const group = (g: number): string => {
  const words = ["k.x", "k.y", "k.z"];
  return [
    ...ROTATIONS[g % 2].map(round),
    `  x += vec2u(${words[(g + 1) % 3]}, ${words[(g + 2) % 3]} + ${g + 1}u);`,
  ].join("\n");
};

/** `fn threefry2x32(key: vec2u, counter: vec2u) -> vec2u` */
export const THREEFRY_WGSL = `fn threefry2x32(key: vec2u, counter: vec2u) -> vec2u {
  let k = vec3u(key, 0x1bd11bdau ^ key.x ^ key.y);
  var x = counter + key;
${[0, 1, 2, 3, 4].map(group).join("\n")}
  return x;
}
`;
