/**
 * A Chromium of our own, driven over the DevTools pipe: tabs that open an address, press a button and are asked what they
 * show. Only the domains that this needs are enabled: automation libraries also follow the network, which copies every
 * socket frame of a volunteer through the page's main thread and this process, and slows training several times.
 * https://chromedevtools.github.io/devtools-protocol/
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { CliError } from "./errors.ts";

type Params = Readonly<Record<string, unknown>>;

interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Params;
  readonly result?: Params;
  readonly error?: { readonly message: string };
}

interface Pending {
  readonly resolve: (result: Params) => void;
  readonly reject: (error: Error) => void;
}

export interface LaunchOptions {
  readonly executable: string;
  readonly flags: readonly string[];
}

/** Milliseconds for the browser to answer its first question, and between two looks at a page. */
const START_TIMEOUT = 30_000;
const LOOK_INTERVAL = 100;
/** Characters of a browser's last words that are kept. */
const LAST_WORDS = 500;

/** Headless, with a profile of its own, and quiet. */
const OWN_FLAGS = ["--headless", "--remote-debugging-pipe", "--no-default-browser-check", "--mute-audio"] as const;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The process and its pipe: calls, answers, events. */
class Pipe {
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(message: Message) => void>();
  /** Resolves with the reason when the browser is gone. */
  readonly closed: Promise<string>;
  #calls = 0;
  #death: string | null = null;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#input = child.stdio[3] as Writable;
    this.#input.on("error", () => {}); // its process's end says why
    let words = "";
    child.stderr?.on("data", (text: Buffer) => {
      words = (words + text.toString()).slice(-LAST_WORDS);
    });
    this.#read(child.stdio[4] as Readable);
    this.closed = new Promise((resolve) => {
      const end = (reason: string): void => {
        this.#death = reason;
        for (const { reject } of this.#pending.values()) reject(new Error(reason));
        this.#pending.clear();
        resolve(reason);
      };
      child.once("error", (error) => end(error.message));
      child.once("exit", (code, signal) => {
        const last = words.trim().split("\n").at(-1) ?? "";
        end(`the browser ended with ${signal ?? code}${last === "" ? "" : `: ${last}`}`);
      });
    });
  }

  call(method: string, params: Params = {}, sessionId?: string): Promise<Params> {
    if (this.#death !== null) return Promise.reject(new Error(this.#death));
    return new Promise((resolve, reject) => {
      const id = ++this.#calls;
      this.#pending.set(id, { resolve, reject });
      this.#input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  listen(listener: (message: Message) => void): void {
    this.#listeners.add(listener);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #read(output: Readable): void {
    let parts: Buffer[] = [];
    output.on("data", (data: Buffer) => {
      let from = 0;
      for (let end = data.indexOf(0); end >= 0; end = data.indexOf(0, from)) {
        parts.push(data.subarray(from, end));
        this.#take(JSON.parse(Buffer.concat(parts).toString()) as Message);
        parts = [];
        from = end + 1;
      }
      parts.push(data.subarray(from));
    });
  }

  #take(message: Message): void {
    if (message.id === undefined) {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const call = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.error !== undefined) call?.reject(new Error(message.error.message));
    else call?.resolve(message.result ?? {});
  }
}

export class Tab {
  readonly #pipe: Pipe;
  readonly #target: string;
  readonly #session: string;
  /** Resolves with the reason when the tab is gone. */
  readonly gone: Promise<string>;

  constructor(pipe: Pipe, target: string, session: string) {
    this.#pipe = pipe;
    this.#target = target;
    this.#session = session;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.gone = promise;
    pipe.listen(({ method, params }) => {
      if (params?.targetId !== target) return;
      if (method === "Target.targetCrashed") resolve("its tab crashed");
      if (method === "Target.targetDestroyed") resolve("its tab was closed");
    });
    void pipe.closed.then(resolve);
  }

  call(method: string, params: Params = {}): Promise<Params> {
    return this.#pipe.call(method, params, this.#session);
  }

  /** Calls back with what the page throws and does not catch. */
  onError(listener: (message: string) => void): void {
    this.#pipe.listen(({ method, params, sessionId }) => {
      if (method !== "Runtime.exceptionThrown" || sessionId !== this.#session) return;
      const details = params?.exceptionDetails as { text?: string; exception?: { description?: string } } | undefined;
      listener((details?.exception?.description ?? details?.text ?? "an error").split("\n")[0]);
    });
  }

  /** Value of an expression in the page, by JSON. Throws if it throws there. */
  async evaluate<T>(expression: string): Promise<T> {
    const reply = await this.call("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    const { result, exceptionDetails } = reply as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails === undefined) return result.value;
    throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  }

  /** The expression's value once it is truthy. Throws CliError after `timeout` milliseconds, or if the tab goes. */
  async until<T>(expression: string, timeout: number, what: string): Promise<T> {
    const end = performance.now() + timeout;
    let death: string | null = null;
    void this.gone.then((reason) => {
      death = reason;
    });
    while (death === null) {
      const value = await this.evaluate<T>(expression);
      if (value) return value;
      if (performance.now() > end) throw new CliError(`the page shows no ${what} after ${timeout / 1000} s`);
      await pause(LOOK_INTERVAL);
    }
    throw new CliError(death);
  }

  /** Presses the middle of an element as a mouse does, once it is there and enabled. */
  async click(selector: string, timeout: number): Promise<void> {
    const found = `document.querySelector(${JSON.stringify(`${selector}:enabled`)})`;
    await this.until(`${found} !== null`, timeout, selector);
    const [x, y] = await this.evaluate<[number, number]>(`(() => {
      const element = ${found};
      element.scrollIntoView({ block: "center" });
      const { left, top, width, height } = element.getBoundingClientRect();
      return [left + width / 2, top + height / 2];
    })()`);
    const mouse = { x, y, button: "left", clickCount: 1 };
    await this.call("Input.dispatchMouseEvent", { ...mouse, type: "mousePressed" });
    await this.call("Input.dispatchMouseEvent", { ...mouse, type: "mouseReleased" });
  }

  /** Its renderer dies on the spot. Resolves when that is seen. */
  async crash(): Promise<void> {
    this.call("Page.crash").catch(() => {}); // nobody is left to answer
    await this.gone;
  }

  async close(): Promise<void> {
    await this.#pipe.call("Target.closeTarget", { targetId: this.#target });
    await this.gone;
  }
}

/** Tabs of one profile share caches and storage. */
export class Profile {
  readonly #pipe: Pipe;
  readonly #id: string;

  constructor(pipe: Pipe, id: string) {
    this.#pipe = pipe;
    this.#id = id;
  }

  async open(url: string): Promise<Tab> {
    const { targetId } = await this.#pipe.call("Target.createTarget", {
      url: "about:blank",
      browserContextId: this.#id,
    });
    const { sessionId } = await this.#pipe.call("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(this.#pipe, String(targetId), String(sessionId));
    await tab.call("Runtime.enable");
    const { errorText } = await tab.call("Page.navigate", { url });
    if (typeof errorText === "string") throw new CliError(`${url} does not open: ${errorText}`);
    return tab;
  }
}

export class Chromium {
  readonly #pipe: Pipe;
  readonly #folder: string;

  private constructor(pipe: Pipe, folder: string) {
    this.#pipe = pipe;
    this.#folder = folder;
  }

  /** Throws CliError if it does not start. It ends with this process, whatever ends that. */
  static async launch({ executable, flags }: LaunchOptions): Promise<Chromium> {
    const folder = mkdtempSync(join(tmpdir(), "commonweight-browser-"));
    const child = spawn(executable, [...OWN_FLAGS, `--user-data-dir=${folder}`, ...flags, "about:blank"], {
      stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
      // Interrupts go to the command, which takes its tabs down in order.
      detached: true,
    });
    const pipe = new Pipe(child);
    const browser = new Chromium(pipe, folder);
    try {
      const late = pause(START_TIMEOUT).then(() => {
        throw new Error(`no answer for ${START_TIMEOUT / 1000} s`);
      });
      await Promise.race([pipe.call("Target.setDiscoverTargets", { discover: true }), late]);
    } catch (error) {
      await browser.stop();
      const why = error instanceof Error ? error.message : String(error);
      throw new CliError(`${executable} does not start: ${why}`, { cause: error });
    }
    return browser;
  }

  /** Resolves with the reason when the browser is gone. */
  get closed(): Promise<string> {
    return this.#pipe.closed;
  }

  /** A profile of its own: nothing is shared with the others. */
  async createProfile(): Promise<Profile> {
    const { browserContextId } = await this.#pipe.call("Target.createBrowserContext");
    return new Profile(this.#pipe, String(browserContextId));
  }

  async stop(): Promise<void> {
    this.#pipe.call("Browser.close").catch(() => {}); // it may be gone already
    const isClosed = await Promise.race([this.#pipe.closed.then(() => true), pause(3_000).then(() => false)]);
    if (!isClosed) this.#pipe.kill();
    await this.#pipe.closed;
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
