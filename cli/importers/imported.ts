/** What every importer answers: the data, what was learnt about them, and how a session file asks for them. */

import type { DatasetContent } from "../dataset.ts";

export interface Imported {
  readonly content: DatasetContent;
  /** For people: classes and their numbers, what the features were divided by, and the like. */
  readonly notes: readonly string[];
  /** Source text that binds the features, and the targets; null where there is no such column. */
  readonly x: string | null;
  readonly y: string | null;
  /** Shape of one sample's features. */
  readonly input: readonly number[];
  /** Rows of one sample where samples are windows over whole numbers, such as tokens; `input` is then its shape. */
  readonly window?: number;
  /**
   * Column of a padding mask, of the same shape as `x`'s, which holds tokens: whole numbers, as the mask does. Both are then
   * inputs of their columns' names.
   */
  readonly mask?: string;
  /** What the model must end in; null where the importer cannot know. */
  readonly ending: string | null;
}

/** What a model that tells `classes` classes apart ends in. */
export const classEnding = (classes: number): string =>
  `the model ends in ${classes} outputs, one a class, with loss: loss.crossEntropy()`;

/** The lines of a session file that train on the data set, ready to be pasted. */
export function snippet(name: string, imported: Imported): string[] {
  const { content, y, window, ending } = imported;
  const splits = Object.entries(content.splits).filter(([, [from, to]]) => to > from);
  const ranges = splits.map(([split, [from, to]]) => `${split}: [${from}, ${to}]`);
  const windows = window === undefined ? [] : [`window: ${window}`];
  const bindings = [sourcesOf(imported), `y: ${y ?? '"…"'}`, ...windows, ...ranges].join(", ");
  return [
    `input: ${inputOf(imported)},`,
    `data: dataset(${JSON.stringify(name)}, { ${bindings} }),`,
    ...(ending === null ? [] : [`// ${ending}`]),
  ];
}

const sourcesOf = ({ x, mask }: Imported): string =>
  mask === undefined ? `x: ${x ?? '"…"'}` : `inputs: { tokens: ${x ?? '"…"'}, ${mask}: "${mask}" }`;

function inputOf({ input, window, mask }: Imported): string {
  const shape = `[${input.join(", ")}]`;
  const integers = `{ dtype: "int32", shape: ${shape} }`;
  if (mask !== undefined) return `{ tokens: ${integers}, ${mask}: ${integers} }`;
  return window === undefined ? shape : `{ x: ${integers} }`;
}
