/** First weights that a definition brings along, of an imported model or of a file: named by their hash, beside the definition. */

import { createHash } from "node:crypto";
import { GraphError } from "../shared/graph/error.ts";
import { givenWeights } from "../shared/graph/given.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { CoordinatorApi } from "./api.ts";
import type { Chunk } from "./dataset.ts";
import { CliError } from "./errors.ts";

/** A definition that can be sent, with what has to be sent along. */
export interface NamedDefinition {
  readonly definition: SessionDefinition;
  /** First weights that do not follow from the seed, as the definition names them. */
  readonly initialWeights: Chunk | null;
}

/** Given first weights get a name, which the definition has from then on. Throws CliError, saying whose, where they got lost. */
export function nameFirstWeights(whose: string, definition: SessionDefinition): NamedDefinition {
  try {
    const weights = givenWeights(definition.graph);
    if (weights === null) return { definition, initialWeights: null };
    const bytes = new Uint8Array(weights.buffer);
    const hash = createHash("sha256").update(bytes).digest("hex");
    return { definition: { ...definition, initialWeights: hash }, initialWeights: { hash, bytes } };
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new CliError(`${whose}: ${error.message}`, { cause: error });
  }
}

/** A new session, its first weights pushed before it. */
export async function createSession(
  api: CoordinatorApi,
  { definition, initialWeights }: NamedDefinition,
): Promise<{ id: string }> {
  if (initialWeights !== null) await api.pushChunk(initialWeights);
  return api.createSession(definition);
}
