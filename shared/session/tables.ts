/**
 * Tables of counts over held-out samples, and the figures that follow from them. Counts are added as integers like all sums
 * (invariant I1), so whoever computed what, they are the same.
 *
 * The area under the ROC curve is the share of pairs of one sample of each class in which the second class's scores higher.
 * Exact, it needs all scores in one place; here scores are counted in bins of equal width of the logit, and pairs within
 * one bin count as one half, as ties do. Truth lies within half of the share of such pairs, which the counts tell:
 * `aucError`. https://en.wikipedia.org/wiki/Receiver_operating_characteristic#Area_under_the_curve
 */

/** Bins of scores: 256, of logits from −16 to 16 in steps of ⅛; the first and the last one hold what lies beyond. */
export const ROC_BINS = 256;
const WIDTH = 1 / 8;

const inner = Array.from({ length: ROC_BINS - 1 }, (_, at) => (at + 1 - ROC_BINS / 2) * WIDTH);

/** Lower edges of the bins by what a score is; everything lies above the first. */
export const ROC_EDGES = {
  logit: [-3e38, ...inner],
  probability: [-1, ...inner.map((logit) => 1 / (1 + Math.exp(-logit)))],
} as const satisfies Record<string, readonly number[]>;

/** Flat values by the table's name, row-major. */
export type Tables = Readonly<Record<string, readonly number[]>>;

/** Figures that each table gives; a figure that is not defined, as of one class alone, is left out. */
const FIGURES: Readonly<
  Record<string, { readonly names: readonly string[]; of(table: readonly number[]): Record<string, number> }>
> = {
  roc: { names: ["auc", "aucError"], of: areaOf },
};

/** @param table [2, bins]: counts of each class above each edge */
function areaOf(table: readonly number[]): Record<string, number> {
  const above = (row: number, bin: number): number => (bin < ROC_BINS ? (table[row * ROC_BINS + bin] ?? 0) : 0);
  const [negatives, positives] = [above(0, 0), above(1, 0)];
  const pairs = negatives * positives;
  if (!(pairs > 0)) return {};
  let [higher, tied] = [0, 0];
  for (let bin = 0; bin < ROC_BINS; bin++) {
    const positive = above(1, bin) - above(1, bin + 1);
    higher += positive * (negatives - above(0, bin));
    tied += positive * (above(0, bin) - above(0, bin + 1));
  }
  return { auc: (higher + tied / 2) / pairs, aucError: tied / 2 / pairs };
}

/** Figures of all tables. */
export const figuresOfTables = (tables: Tables): Record<string, number> =>
  Object.assign({}, ...Object.entries(tables).map(([name, table]) => FIGURES[name]?.of(table) ?? {}));

/** Names of the figures that tables of these names can give. */
export const tableFigureNames = (tables: readonly string[]): string[] =>
  tables.flatMap((name) => FIGURES[name]?.names ?? []);

/** A confusion matrix by rows: of the row's class, how many were taken for each. Null where it is not square. */
export function confusionRows(table: readonly number[]): number[][] | null {
  const classes = Math.sqrt(table.length);
  if (!Number.isInteger(classes) || classes === 0) return null;
  return Array.from({ length: classes }, (_, row) => table.slice(row * classes, (row + 1) * classes));
}
