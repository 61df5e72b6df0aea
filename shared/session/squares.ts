/** Whether a session's results carry sums of squares (shared/codec/squares.ts), and of which parameters. */

import { isExact } from "../codec/codecs.ts";
import { type Matrix, matrixOf, squaresLength } from "../codec/squares.ts";
import type { Graph } from "../graph/ir.ts";
import type { SessionDefinition } from "./definition.ts";
import type { OptimizerKind } from "./optimizer.ts";

/** Those that divide by the root of a moving average of squares, corrected for its beginning. */
const NEEDS_SQUARES: ReadonlySet<OptimizerKind> = new Set(["adam", "adamw"]);

interface Squared extends Pick<SessionDefinition, "optimizer"> {
  /** One that is exact if absent. */
  readonly codec?: SessionDefinition["codec"];
  readonly graph: Pick<Graph, "parameters">;
}

/** The parameters of which results carry squares; none where sums come whole, or nobody asks. */
export function squaredMatrices({ codec = "fixed32", optimizer, graph }: Squared): readonly Matrix[] {
  if (isExact(codec) || !NEEDS_SQUARES.has(optimizer.kind)) return [];
  return graph.parameters.filter(({ trainable }) => trainable).map(({ offset, shape }) => matrixOf(offset, shape));
}

/** How many sums a result of a step that carries them has. */
export const squaresOf = (definition: Squared): number => squaresLength(squaredMatrices(definition));
