/**
 * The worker that predicts: reads and checks the session as a volunteer does (invariant I10), fetches its best weights,
 * and answers one sample after another. It never joins: the coordinator sees two downloads and nothing of the samples.
 */

import { blockCount } from "../../../shared/codec/index.ts";
import { weightsLayout } from "../../../shared/protocol/frames.ts";
import { parseAddress, type SessionAddress, sessionUrl } from "../../core/address.ts";
import { describeError } from "../../core/errors.ts";
import { get, HttpError, type Reply } from "../../core/http.ts";
import { invited } from "../../core/invitation.ts";
import { checkSession, DEFAULT_BUDGET, parseReply, SESSION_BYTES } from "../../core/session.ts";
import type { TryAnswers, TryReply, TryRequest, WeightsInfo } from "./messages.ts";
import { Model } from "./model.ts";

const web = {
  fetch: (url: string, init: RequestInit) => fetch(url, init),
  setTimer: (callback: () => void, milliseconds: number) => setTimeout(callback, milliseconds),
  clearTimer: (timer: number | object) => clearTimeout(timer as number),
};

class Workshop {
  readonly model: Model;
  readonly #address: SessionAddress;
  readonly #bytes: number;

  private constructor(address: SessionAddress, model: Model, parameters: number) {
    this.#address = address;
    this.model = model;
    this.#bytes = weightsLayout(blockCount(parameters), parameters).total;
  }

  /** Throws TrainingError `refused-session` for a session that a volunteer would refuse. */
  static async open(server: string, id: string, token: string | undefined): Promise<Workshop> {
    const address = parseAddress(id, server, token);
    const { body } = await get(invited(web, address), sessionUrl(address), SESSION_BYTES);
    const session = checkSession(parseReply(body), DEFAULT_BUDGET);
    return new Workshop(address, new Model(session), session.parameters);
  }

  async renew(): Promise<WeightsInfo> {
    const best = await this.#fetch("best");
    const reply = best ?? (await this.#fetch("latest"));
    if (reply === null) throw new Error("the session has no weights, or was deleted");
    const { headers, body } = reply;
    this.model.setWeights(body);
    return { step: Number(headers.get("x-commonweight-step") ?? 0), isBest: best !== null };
  }

  /** Null where there are none of this kind. */
  async #fetch(which: "best" | "latest"): Promise<Reply | null> {
    try {
      return await get(invited(web, this.#address), sessionUrl(this.#address, `weights/${which}`), this.#bytes);
    } catch (error) {
      if (error instanceof HttpError && error.status === 404) return null;
      throw error;
    }
  }
}

let workshop: Workshop | null = null;

async function answer(request: TryRequest): Promise<TryAnswers[keyof TryAnswers]> {
  if (request.type === "open") {
    workshop = await Workshop.open(request.server, request.session, request.token);
    const weights = await workshop.renew();
    return { subject: workshop.model.subject, weights };
  }
  if (workshop === null) throw new Error("nothing is open: the first request opens a session");
  return request.type === "renew" ? workshop.renew() : workshop.model.answer(request.stored);
}

/** One request after another, as they came. */
let queue: Promise<void> = Promise.resolve();

addEventListener("message", ({ data }: MessageEvent<TryRequest>) => {
  queue = queue.then(async () => {
    const reply: TryReply = await answer(data).then(
      (value) => ({ answer: value }),
      (error: unknown) => ({ problem: describeError(error) }),
    );
    postMessage(reply);
  });
});
