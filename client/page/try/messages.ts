/** What the page and the worker that predicts say to each other. */

import type { Answer } from "./model.ts";
import type { Subject } from "./subject.ts";

/** Page to worker. `open` comes first and once; weights are fetched with it and with every `renew`. */
export type TryRequest =
  | { readonly type: "open"; readonly server: string; readonly session: string; readonly token: string | undefined }
  | { readonly type: "renew" }
  /** Values by input as the data hold them, flat. */
  | { readonly type: "answer"; readonly stored: Readonly<Record<string, readonly number[]>> };

export interface WeightsInfo {
  /** Updates done at these weights. */
  readonly step: number;
  /** Whether they are the best on held-out samples, or simply the latest. */
  readonly isBest: boolean;
}

/** The answer to each type of request. */
export interface TryAnswers {
  open: { readonly subject: Subject; readonly weights: WeightsInfo };
  renew: WeightsInfo;
  answer: Answer;
}

/** Worker to page, in the order of the requests. */
export type TryReply = { readonly answer: TryAnswers[keyof TryAnswers] } | { readonly problem: string };
