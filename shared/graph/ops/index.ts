/** The op table: adding an op is one entry here, and the type checker lists the lowerings it then lacks. */

import type { OpName } from "../ir.ts";
import { batched } from "./batched.ts";
import { convolution } from "./convolution.ts";
import type { OpDefinition } from "./definition.ts";
import { elementwise } from "./elementwise.ts";
import { indexing } from "./indexing.ts";
import { layout } from "./layout.ts";
import { matrix } from "./matrix.ts";
import { parts } from "./parts.ts";
import { pooling } from "./pooling.ts";
import { reduction } from "./reduction.ts";
import { source } from "./source.ts";

export const OPS: { readonly [Op in OpName]: OpDefinition<Op> } = {
  ...source,
  ...matrix,
  ...elementwise,
  ...reduction,
  ...layout,
  ...parts,
  ...convolution,
  ...pooling,
  ...batched,
  ...indexing,
};

/** The entry of an op whose name is not known to the type checker. Attributes belong to the same node as the name. */
export function opOf(name: OpName): OpDefinition<OpName> {
  return OPS[name] as unknown as OpDefinition<OpName>;
}

export type { Emitter, OpDefinition, RunContext, VjpArguments } from "./definition.ts";
