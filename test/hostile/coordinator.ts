/**
 * A coordinator on 127.0.0.1 that serves one small honest session, and in which a lie may take any answer's place: HTTP, and just enough
 * of WebSocket (RFC 6455) to say what no honest library could.
 */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { blockCount } from "../../shared/codec/index.ts";
import { cutBody, encodeFrame, type FrameHeader, weightsLayout } from "../../shared/protocol/frames.ts";
import type { CoordinatorMessage } from "../../shared/protocol/messages.ts";
import { encodeMessage, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { PROGRESS, weightsBody } from "../client/sdk-fake.ts";
import { HOSTED, hostedDataset, PARAMETERS } from "../client/sdk-session.ts";

export const SESSION_ID = "0123456789abcdef0123456789abcdef";
const WEBSOCKET_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const OPCODES = { text: 1, binary: 2, close: 8, ping: 9 } as const;

export const WEIGHTS_BYTES = weightsLayout(blockCount(PARAMETERS), PARAMETERS).total;

const FRAME = {
  kind: "weights",
  codec: "float32",
  version: 2,
  step: 1,
  lease: 0,
  clamped: 0,
  loss: 0n,
  weight: 0n,
  offset: 0,
  total: WEIGHTS_BYTES,
} as const satisfies FrameHeader;

/** The coordinator's end of one socket. */
export class Line {
  readonly #socket: Duplex;

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on("error", () => {});
  }

  get isOpen(): boolean {
    return this.#socket.writable && !this.#socket.destroyed;
  }

  /** One unmasked WebSocket frame; `length` is what it announces, by default what it has. */
  write(bytes: Uint8Array | string, opcode: keyof typeof OPCODES = "binary", length?: number): void {
    if (!this.isOpen) return;
    const payload = Buffer.from(bytes as Uint8Array);
    const announced = length ?? payload.byteLength;
    const head = Buffer.alloc(10);
    head[0] = 0x80 | OPCODES[opcode];
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(announced), 2);
    const short = announced < 126 ? Buffer.from([head[0], announced]) : null;
    const middle = announced < 65_536 ? Buffer.from([head[0], 126, announced >> 8, announced & 255]) : null;
    this.#socket.write(Buffer.concat([short ?? middle ?? head, payload]));
  }

  say(message: CoordinatorMessage): void {
    this.write(encodeMessage(message));
  }

  welcome(version = 1, step = 0): void {
    this.say({ type: "welcome", client: "c".repeat(32), resumeKey: "d".repeat(32), step, version });
  }

  assign(changes: Partial<Extract<CoordinatorMessage, { type: "assign" }>> = {}): void {
    this.say({ type: "assign", lease: 1, work: "train", step: 0, version: 1, from: 0, to: 3, ...changes });
  }

  /** A tensor frame, by default a whole one of version 2. */
  frame(changes: Partial<FrameHeader> = {}, payload: Uint8Array = weightsBody(PARAMETERS, 1)): void {
    this.write(encodeFrame({ ...FRAME, ...changes }, payload));
  }

  weights(version: number): void {
    const header = { ...FRAME, version, step: version - 1 };
    for (const frame of cutBody(header, weightsBody(PARAMETERS, version))) this.write(frame);
  }

  close(code: number): void {
    this.write(Uint8Array.of(code >> 8, code & 255), "close");
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** What lies in the coordinator's place. Everything that is left out is honest. */
export interface Behaviour {
  /** Every socket that says anything at all; by default a welcome, and leases one after another once there are weights. */
  readonly socket?: (line: Line, count: number) => void;
  /** By the path below the session's: true if it was answered. */
  readonly http?: (path: string, response: ServerResponse) => boolean;
}

export class Coordinator {
  readonly #server: Server;
  readonly #lines = new Set<Line>();
  #behaviour: Behaviour = {};
  #sockets = 0;
  readonly #answers: ReadonlyMap<string, Uint8Array | string>;

  private constructor(answers: ReadonlyMap<string, Uint8Array | string>) {
    this.#answers = answers;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on("upgrade", (request, socket: Duplex) => this.#upgrade(request, socket));
  }

  static async start(): Promise<Coordinator> {
    const { manifest, chunks } = await hostedDataset();
    const answers = new Map<string, Uint8Array | string>([
      ["", JSON.stringify({ id: SESSION_ID, definition: HOSTED, manifest, progress: PROGRESS })],
      ["/weights/1", weightsBody(PARAMETERS, 1)],
      ...[...chunks].map(([hash, bytes]) => [`/chunks/${hash}`, bytes] as const),
    ]);
    const coordinator = new Coordinator(answers);
    await new Promise<void>((resolve) => {
      coordinator.#server.listen(0, "127.0.0.1", resolve);
    });
    return coordinator;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What it does from now on, with sockets counted anew. */
  behave(behaviour: Behaviour): void {
    for (const line of this.#lines) line.destroy();
    this.#lines.clear();
    this.#behaviour = behaviour;
    this.#sockets = 0;
  }

  async stop(): Promise<void> {
    for (const line of this.#lines) line.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer({ url = "" }: IncomingMessage, response: ServerResponse): void {
    const path = url.replace(`/api/sessions/${SESSION_ID}`, "");
    response.on("error", () => {});
    if (this.#behaviour.http?.(path, response)) return;
    const answer = this.#answers.get(path);
    if (answer === undefined) response.writeHead(404).end();
    else response.end(answer);
  }

  #upgrade({ headers }: IncomingMessage, socket: Duplex): void {
    const accept = createHash("sha1").update(`${headers["sec-websocket-key"]}${WEBSOCKET_MAGIC}`).digest("base64");
    socket.write(
      [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        `Sec-WebSocket-Accept: ${accept}`,
        `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
        "\r\n",
      ].join("\r\n"),
    );
    const line = new Line(socket);
    this.#lines.add(line);
    socket.on("close", () => this.#lines.delete(line));
    const count = ++this.#sockets;
    // The first bytes are its hello: nothing else of what it says matters to a liar.
    socket.once("data", () => {
      socket.resume();
      (this.#behaviour.socket ?? work)(line, count);
    });
  }
}

/** Honest, but for never waiting for a result: the client is ready long before the first of the leases. */
export function work(line: Line): void {
  line.welcome();
  let lease = 0;
  const timer = setInterval(() => {
    if (!line.isOpen) clearInterval(timer);
    else line.assign({ lease: ++lease });
  }, 100);
}
