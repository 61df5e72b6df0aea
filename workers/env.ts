/** Bindings of the Worker; wrangler.toml and the command line's embedded runtime provide the same ones. */

import type { SessionEnv } from "../coordinator/session/env.ts";
import type { TrainingSession } from "../coordinator/session/session.ts";

export interface Env extends SessionEnv {
  readonly SESSION: DurableObjectNamespace<TrainingSession>;
  readonly ASSETS: Fetcher;
  /** Bearer of the admin routes. Without it they are off. */
  readonly ADMIN_SECRET?: string;
  /** Of Cloudflare Turnstile, for sessions whose access asks for a check; without both there is none. */
  readonly TURNSTILE_SITE_KEY?: string;
  readonly TURNSTILE_SECRET?: string;
  /** `public`: whoever asks is shown the metrics of public sessions. */
  readonly METRICS?: string;
}

export interface AppTypes {
  Bindings: Env;
}
