/**
 * The ways in which products can be cut, as one table. Which is best depends on the adapter and on the sizes: a probe
 * (probe.ts) chooses among them for a session's largest products; all others take the default of their kind of adapter.
 */

export interface Tuning {
  /** Threads that keep the adapter busy: tiles are made smaller until there are as many. */
  readonly threads: number;
  /** Threads of a workgroup. */
  readonly workgroup: number;
  /** Most elements of a thread's tile: they are held in registers. */
  readonly tile: number;
  /** Whether a workgroup stages what its threads read in memory that they share (staged.ts), where sizes are multiples of 4. */
  readonly stages?: boolean;
  /** Whether weight gradients of few elements are cut along their long sum (split-K), whose parts are added in one order. */
  readonly splits?: boolean;
  /** Whether threads of a subgroup read each other's registers (device.ts). */
  readonly subgroups?: boolean;
  /** What was found to be the best for products of some sizes, by `productKey`. */
  readonly choices?: ReadonlyMap<string, Tuning>;
}

export const VARIANTS = {
  /** Few cores, whose caches make large tiles worth it. Still larger ones are no faster, and take twice as long to compile. */
  blocks: { threads: 64, workgroup: 16, tile: 128 },
  /** Many cores: small tiles, so that there are threads for all of them. */
  threads: { threads: 4096, workgroup: 64, tile: 64 },
  parts: { threads: 4096, workgroup: 64, tile: 64, splits: true },
  stages: { threads: 4096, workgroup: 64, tile: 64, stages: true },
} as const satisfies Readonly<Record<string, Tuning>>;

export type VariantName = keyof typeof VARIANTS;

export const isVariantName = (name: unknown): name is VariantName =>
  typeof name === "string" && Object.hasOwn(VARIANTS, name);

/** Before anything is measured. Software adapters have few cores; that large tiles suit them was measured on SwiftShader. */
export const tuningFor = (fallback: boolean): Tuning => VARIANTS[fallback ? "blocks" : "threads"];

export interface Product {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  /** A is [inner, rows] instead of [rows, inner]; B is [columns, inner] instead of [inner, columns]. */
  readonly transA: boolean;
  readonly transB: boolean;
  /** Products of this size in one dispatch; `batch` in the code says which. */
  readonly batch: number;
}

export const productKey = ({ batch, rows, inner, columns, transA, transB }: Product): string =>
  `${batch} ${rows}x${inner}${transA ? "t" : ""} ${inner}x${columns}${transB ? "t" : ""}`;

export const productWork = ({ batch, rows, inner, columns }: Product): number => 2 * batch * rows * inner * columns;

export const tuningOf = (tuning: Tuning, product: Product): Tuning =>
  tuning.choices?.get(productKey(product)) ?? tuning;

/** Elements of the smallest tile of a weight gradient, and the fewest terms of a part that pay for adding parts up. */
const SMALLEST_TILE = 16;
const FEWEST_TERMS = 32;

/** Parts into which a product's sum is cut: the fewest that make as many threads as are wanted. */
export function partsOf({ rows, columns, inner, batch, transA, transB }: Product, tuning: Tuning): number {
  if (!tuning.splits || !transA || transB || batch > 1) return 1;
  const wanted = (tuning.threads * SMALLEST_TILE) / (rows * columns);
  let parts = 1;
  for (let count = 2; parts < wanted && inner / count >= FEWEST_TERMS; count++) if (inner % count === 0) parts = count;
  return parts;
}
