/**
 * Chooses an engine. What a platform offers is handed in as candidates, so that this file knows neither browsers nor Node,
 * and nothing of an engine is loaded before it is a candidate's turn.
 */

import { measureSpeed } from "./auto.ts";
import { EngineError, type EngineKind, type EngineOptions, type GradientEngine } from "./engine.ts";

export interface EngineCandidate {
  /** Throws EngineError `unavailable` where this device has no such engine. */
  create(options: EngineOptions): Promise<GradientEngine>;
  /** True if it need not be compared with others: real hardware, whose rivals would only be downloads. */
  isDecisive?(): Promise<boolean>;
}

/** In order of preference. */
export type EngineCandidates = Readonly<Partial<Record<EngineKind, EngineCandidate>>>;

/** An engine of the wanted kind, or with `auto` the faster one on the session's own graph. Throws EngineError. */
export async function createEngine(
  choice: EngineKind | "auto",
  options: EngineOptions,
  candidates: EngineCandidates,
): Promise<GradientEngine> {
  if (choice === "auto") return chooseFastest(options, candidates);
  const candidate = candidates[choice];
  if (candidate === undefined) throw new EngineError("unavailable", `there is no ${choice} engine on this platform`);
  return candidate.create(options);
}

async function chooseFastest(options: EngineOptions, candidates: EngineCandidates): Promise<GradientEngine> {
  const failures: string[] = [];
  let best: { engine: GradientEngine; speed: number } | null = null;
  for (const [kind, candidate] of Object.entries(candidates)) {
    try {
      const engine = await candidate.create(options);
      if (await candidate.isDecisive?.()) {
        await best?.engine.dispose();
        return engine;
      }
      const speed = await measureSpeed(engine, options);
      if (best !== null && best.speed >= speed) await engine.dispose();
      else {
        await best?.engine.dispose();
        best = { engine, speed };
      }
    } catch (error) {
      failures.push(`${kind}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (best !== null) return best.engine;
  const reasons = failures.length > 0 ? failures.join("; ") : "this platform offers none";
  throw new EngineError("unavailable", `no engine can run this session (${reasons})`);
}
