/**
 * One logical connection to the coordinator over many sockets: opens, says hello, resumes its identity after a loss,
 * waits between attempts with full jitter, and tells failures that may pass from those that will not.
 *
 * It knows nothing of leases and weights: messages and frames go to the handlers as they come.
 */

import type { Frame } from "../../shared/protocol/frames.ts";
import { decodeFrame } from "../../shared/protocol/frames.ts";
import type { ClientMessage, CoordinatorMessage, ProtocolErrorCode } from "../../shared/protocol/messages.ts";
import {
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
  PROTOCOL_ERRORS,
  RATE_LIMIT_PAUSE,
  SUBPROTOCOL,
} from "../../shared/protocol/messages.ts";
import type { EngineKind } from "../engine/engine.ts";
import { backoffDelay } from "./backoff.ts";
import type { TrainingErrorCode } from "./errors.ts";
import { describeError, TrainingError } from "./errors.ts";
import type { Identity } from "./events.ts";
import type { Platform, Socket, Timer } from "./platform.ts";
import { SOCKET_OPEN } from "./platform.ts";

/** From opening a socket to its welcome, in milliseconds. */
export const WELCOME_TIMEOUT = 20_000;
/** Beats without a word from the coordinator: after so many it is asked for a sign of life, after twice as many given up. */
const SILENT_BEATS = 20;
/** Messages and frames between two beats, half a second. The fastest sessions come to a tenth of it. */
const MOST_HEARD = 5_000;
/** What the coordinator's platform answers by itself, without waking the session. */
const PING = "ping";
const PONG = "pong";
/** A connection that lived this long was a good one: the next loss starts again with a short delay. */
const GOOD_CONNECTION = 10_000;

export type Welcome = Extract<CoordinatorMessage, { type: "welcome" }>;

export interface Hello {
  readonly engine: EngineKind;
  readonly device: string;
  /** Public; empty for none, null to keep what this identity had. */
  readonly name: string | null;
  readonly localSamples: number | null;
}

export interface ConnectionHandlers {
  /** The coordinator knows this client; `resumed` if it kept the identity that was offered. */
  welcome(message: Welcome): void;
  message(message: Exclude<CoordinatorMessage, { type: "welcome" | "error" }>): void;
  frame(frame: Frame): void;
  /** The socket is gone, or could not be had; another attempt follows. */
  lost(error: TrainingError | null): void;
  /** No further attempt makes sense. */
  ended(error: TrainingError): void;
  /** A socket did not even open: asks over HTTP why. Throws TrainingError where trying again is useless. */
  diagnose(): Promise<void>;
}

/** The SDK's code for each of the coordinator's errors that no retry can heal. */
const FINAL_ERRORS: Partial<Record<ProtocolErrorCode, TrainingErrorCode>> = {
  "unknown-session": "unknown-session",
  "protocol-version": "protocol-version",
  "wrong-resume-key": "wrong-resume-key",
  banned: "banned",
  replaced: "replaced",
  "not-invited": "not-invited",
  "wrong-origin": "not-invited",
  deleted: "unknown-session",
  finished: "finished",
};

function isProtocolError(code: string): code is ProtocolErrorCode {
  return Object.hasOwn(PROTOCOL_ERRORS, code);
}

function codeOfClose(close: number): ProtocolErrorCode | null {
  for (const code in PROTOCOL_ERRORS) {
    if (isProtocolError(code) && PROTOCOL_ERRORS[code].close === close) return code;
  }
  return null;
}

export class Connection {
  readonly #url: string;
  /** Offered beside the protocol itself. */
  readonly #protocols: readonly string[];
  readonly #platform: Platform;
  readonly #handlers: ConnectionHandlers;
  #hello: Hello;
  #identity: Identity | null;
  #socket: Socket | null = null;
  #welcomed = false;
  #ended = false;
  #attempt = 0;
  #silence = 0;
  #heard = 0;
  #timer: Timer | null = null;
  /** What the coordinator said before it closed. */
  #reported: { readonly code: string; readonly message: string } | null = null;

  constructor(
    { url, protocols }: { readonly url: string; readonly protocols: readonly string[] },
    platform: Platform,
    handlers: ConnectionHandlers,
    hello: Hello,
    identity: Identity | null,
  ) {
    this.#url = url;
    this.#protocols = protocols;
    this.#platform = platform;
    this.#handlers = handlers;
    this.#hello = hello;
    this.#identity = identity;
  }

  /** True from the welcome until the socket is lost. */
  get welcomed(): boolean {
    return this.#welcomed;
  }

  get identity(): Identity | null {
    return this.#identity;
  }

  start(): void {
    this.#open();
  }

  /** Sends a message if there is a welcomed socket; otherwise it is void, since leases end with their socket. */
  send(message: ClientMessage): void {
    if (this.#welcomed) this.#transmit(encodeMessage(message));
  }

  /** Sends an encoded frame under the same rule. */
  sendFrame(frame: Uint8Array<ArrayBuffer>): void {
    if (this.#welcomed) this.#transmit(frame);
  }

  /** Gives up this socket and makes a new one after the back-off. */
  restart(error: TrainingError | null): void {
    this.#drop(error, 4400);
  }

  /** Says another hello with a different engine over a new socket, at once. */
  reintroduce(hello: Hello): void {
    this.#hello = hello;
    if (this.#welcomed) this.#drop(null, 1000, 0);
  }

  /** Makes a new socket at once: who knows what became of this one, or it is being waited for. */
  renew(): void {
    if (this.#welcomed) this.#drop(null, 1000, 0);
    else this.wake();
  }

  /**
   * To be called twice a second: notices a network that went away without a word. Counts turns and not time, so that whatever
   * arrived while this thread was busy is heard first.
   */
  beat(): void {
    this.#heard = 0;
    if (!this.#welcomed) return;
    this.#silence += 1;
    if (this.#silence >= 2 * SILENT_BEATS) this.renew();
    else if (this.#silence === SILENT_BEATS) this.#transmit(PING);
  }

  /** The coordinator took a result: the next loss starts again with a short delay. */
  settle(): void {
    this.#attempt = 0;
  }

  /** Ends a waiting period: the network just came back. */
  wake(): void {
    if (this.#timer !== null && this.#socket === null && !this.#ended) {
      this.#stopTimer();
      this.#open();
    }
  }

  /** Leaves for good. */
  close(): void {
    if (this.#ended) return;
    this.send({ type: "leave" });
    this.#end();
  }

  #transmit(bytes: Uint8Array<ArrayBuffer> | string): void {
    if (this.#socket?.readyState === SOCKET_OPEN) this.#socket.send(bytes);
  }

  #stopTimer(): void {
    if (this.#timer !== null) this.#platform.clearTimer(this.#timer);
    this.#timer = null;
  }

  #end(): void {
    this.#ended = true;
    this.#stopTimer();
    const socket = this.#socket;
    this.#socket = null;
    this.#welcomed = false;
    socket?.close(1000);
  }

  #finish(error: TrainingError): void {
    if (this.#ended) return;
    this.#end();
    this.#handlers.ended(error);
  }

  #open(): void {
    this.#reported = null;
    let socket: Socket;
    try {
      socket = this.#platform.openSocket(this.#url, [SUBPROTOCOL, ...this.#protocols]);
    } catch (error) {
      this.#finish(new TrainingError("unsupported", `no WebSocket to ${this.#url}: ${describeError(error)}`));
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    let opened = false;
    let openedAt = 0;
    this.#timer = this.#platform.setTimer(() => {
      if (this.#socket === socket) this.#drop(null, 4400);
    }, WELCOME_TIMEOUT);
    socket.addEventListener("open", () => {
      if (this.#socket !== socket) return;
      opened = true;
      openedAt = this.#platform.now();
      if (socket.protocol !== SUBPROTOCOL) {
        const answer = socket.protocol === "" ? "none" : socket.protocol;
        this.#finish(new TrainingError("protocol-version", `asked for ${SUBPROTOCOL}, the server chose ${answer}`));
        return;
      }
      this.#transmit(encodeMessage(this.#helloMessage()));
    });
    // A close event follows and says all there is to say.
    socket.addEventListener("error", () => {});
    socket.addEventListener("message", ({ data }) => {
      if (this.#socket === socket) this.#receive(data);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (this.#socket !== socket) return;
      if (this.#welcomed && this.#platform.now() - openedAt >= GOOD_CONNECTION) this.#attempt = 0;
      void this.#closed(opened, code, reason);
    });
  }

  #helloMessage(): ClientMessage {
    const { engine, device, name, localSamples } = this.#hello;
    return {
      type: "hello",
      engine,
      device: device.slice(0, 200),
      ...(name === null ? {} : { name }),
      ...(this.#identity ?? {}),
      ...(localSamples === null ? {} : { localSamples }),
    };
  }

  #receive(data: unknown): void {
    this.#silence = 0;
    this.#heard += 1;
    try {
      if (this.#heard > MOST_HEARD) {
        this.#heard = 0;
        throw new TrainingError("protocol", `more than ${MOST_HEARD} messages came in half a second`);
      }
      if (data === PONG) return;
      if (!(data instanceof ArrayBuffer)) throw new TrainingError("protocol", "the coordinator sent text");
      if (isFrame(data)) {
        this.#handlers.frame(decodeFrame(data));
        return;
      }
      const message = decodeCoordinatorMessage(data);
      if (message.type === "error") {
        this.#reported = { code: message.code, message: message.message };
      } else if (message.type === "welcome") {
        this.#stopTimer();
        this.#welcomed = true;
        this.#identity = { client: message.client, resumeKey: message.resumeKey };
        this.#handlers.welcome(message);
      } else {
        this.#handlers.message(message);
      }
    } catch (error) {
      this.#drop(error instanceof TrainingError ? error : new TrainingError("protocol", describeError(error)), 4400);
    }
  }

  /** Closes the socket from this side and retries after `delay` milliseconds, by default the back-off's. */
  #drop(error: TrainingError | null, code: number, delay?: number): void {
    const socket = this.#socket;
    if (this.#ended || socket === null) return;
    this.#socket = null;
    this.#welcomed = false;
    this.#stopTimer();
    socket.close(code);
    this.#handlers.lost(error);
    this.#retry(delay);
  }

  async #closed(opened: boolean, close: number, reason: string): Promise<void> {
    this.#socket = null;
    this.#welcomed = false;
    this.#stopTimer();
    const reported = this.#reported;
    const code = reported !== null && isProtocolError(reported.code) ? reported.code : codeOfClose(close);
    if (code !== null && !PROTOCOL_ERRORS[code].retry) {
      const message = reported?.message || reason || `the coordinator closed the connection: ${code}`;
      this.#finish(new TrainingError(FINAL_ERRORS[code] ?? "protocol", message));
      return;
    }
    this.#handlers.lost(
      reported === null ? null : new TrainingError("protocol", `${reported.code}: ${reported.message}`),
    );
    if (!opened) {
      try {
        await this.#handlers.diagnose();
      } catch (error) {
        if (error instanceof TrainingError) this.#finish(error);
      }
    }
    const delay = backoffDelay(this.#attempt++, this.#platform.random());
    this.#retry(code === "rate-limited" ? RATE_LIMIT_PAUSE + delay : delay);
  }

  #retry(delay = backoffDelay(this.#attempt++, this.#platform.random())): void {
    if (this.#ended || this.#timer !== null || this.#socket !== null) return;
    this.#timer = this.#platform.setTimer(() => {
      this.#timer = null;
      this.#open();
    }, delay);
  }
}
