/** What a volunteer does with a session: the client's own reading and checks, and the plan of what its GPU would be handed. */

import { TrainingError } from "../../client/core/errors.ts";
import { checkSession, DEFAULT_BUDGET, parseReply, SESSION_BYTES } from "../../client/core/session.ts";
import { EngineError } from "../../client/engine/engine.ts";
import { planSession } from "../../client/engine/webgpu/engine.ts";
import { layoutOf } from "../../client/engine/webgpu/layout.ts";
import { tuningFor } from "../../client/engine/webgpu/tuning.ts";
import { Chance } from "../coordinator/round/timeline.ts";
import { ATTACKS, honestReply } from "./attacks.ts";

export interface Verdict {
  readonly attack: string;
  /** Of the refusal; null where it takes part. */
  readonly code: string | null;
  readonly message: string;
  /** Submits that it would make for a micro-batch, and those of more operations than its budget has for one. */
  readonly submits: number;
  readonly above: number;
  readonly milliseconds: number;
}

/** Operations of a micro-batch, and so of a submit: the budget's, whatever the planner's own limit is. */
const { flops: MOST_WORK = 0 } = DEFAULT_BUDGET;

/** Texts of a session in a shader. */
const FOREIGN = /while \(true\)|@compute fn main\(\) \{$|script|onerror|passwd/;

/** Throws for anything but a TrainingError, and where a session's text is in a shader. */
export function judge(body: Uint8Array): Pick<Verdict, "code" | "message" | "submits" | "above"> {
  try {
    // `get` reads no more, and says so.
    if (body.byteLength > SESSION_BYTES) throw new TrainingError("network", `more than ${SESSION_BYTES} bytes`);
    const { training, definition } = checkSession(parseReply(body), DEFAULT_BUDGET);
    const layout = layoutOf(training, definition.microBatch);
    // As on a software adapter, and as on a graphics card.
    const kernels = [true, false].flatMap((fallback) =>
      Object.values(planSession(training, layout, tuningFor(fallback))).flatMap((plan) => plan.kernels),
    );
    for (const { code } of kernels)
      if (FOREIGN.test(code)) throw new Error(`a text of the session is in a shader: ${code}`);
    const above = kernels.filter(({ work }) => !(work <= MOST_WORK)).length;
    return { code: null, message: "", submits: kernels.length, above };
  } catch (error) {
    // So says the volunteer of a planner's refusal, before anything is compiled.
    if (error instanceof EngineError) return { code: "engine", message: error.message, submits: 0, above: 0 };
    if (!(error instanceof TrainingError)) throw error;
    return { code: error.code, message: error.message, submits: 0, above: 0 };
  }
}

/** The session of a seed. Throws where the client does anything but refuse it with a reason, or take part within its budget. */
export function meet(seed: number, only?: string): Verdict {
  const chance = new Chance(seed);
  const attack = only ?? chance.pick(Object.keys(ATTACKS));
  const reply = honestReply(chance);
  const text = ATTACKS[attack]?.spoil(reply, chance) ?? JSON.stringify(reply);
  const since = performance.now();
  const verdict = judge(new TextEncoder().encode(text));
  const milliseconds = performance.now() - since;
  if (verdict.code !== null && (verdict.message.length === 0 || verdict.message.length > 500)) {
    throw new Error(`a refusal of ${verdict.message.length} characters: ${verdict.message.slice(0, 200)}`);
  }
  const probe: Readonly<Record<string, unknown>> = {};
  if (probe.polluted !== undefined) throw new Error("a session changed what all objects share");
  return { attack, ...verdict, milliseconds };
}
