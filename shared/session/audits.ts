/** Audits by re-computation: which results are computed a second time by somebody else (docs/security.md). */

import * as v from "valibot";
import { isExact } from "../codec/codecs.ts";
import type { SessionDefinition } from "./definition.ts";
import { SessionError } from "./errors.ts";

export interface Audits {
  /** Results of a newcomer that are all computed twice. */
  readonly newcomers: number;
  /** Part of the leases of others that are given twice, from 0 to 1. */
  readonly rate: number;
  /** Hex SHA-256 of a resume key: whoever has it decides disputes. Absent where those who agree do. */
  readonly referee?: string;
}

/** What holds while a session says nothing. */
export const DEFAULT_AUDITS: Audits = { newcomers: 10, rate: 0.05 };

const count = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000));

export const auditsSchema = v.union([
  v.literal("off"),
  v.strictObject({
    newcomers: count,
    rate: v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(1)),
    referee: v.exactOptional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not a hex SHA-256"))),
  }),
]);

/** Why nobody else could compute the same, or null. */
function obstacle({ data, codec }: SessionDefinition): string | null {
  if (data.source === "local") return "nobody else has a volunteer's own data";
  return isExact(codec) ? null : `what a result in ${codec} has depends on what was left out of earlier ones`;
}

/** What is audited in a session; null for nothing. */
export function auditsOf(definition: SessionDefinition): Audits | null {
  const { audits = DEFAULT_AUDITS } = definition;
  return audits === "off" || obstacle(definition) !== null ? null : audits;
}

/** Audits that are asked for are possible. Throws SessionError `bad-definition`. */
export function checkAudits(definition: SessionDefinition): void {
  const { audits } = definition;
  if (audits === undefined || audits === "off") return;
  const why = obstacle(definition);
  if (why !== null) throw new SessionError("bad-definition", `audits: ${why}: leave audits out`);
}
