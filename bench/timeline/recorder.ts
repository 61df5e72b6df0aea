/**
 * Watches a volunteer from outside: a platform whose sockets and engine say when what happened. The volunteer itself is the SDK's,
 * unchanged. Times are milliseconds since 1970, so that those of several processes of one machine can be compared.
 */

import type { Platform, Socket } from "../../client/core/platform.ts";
import type { GradientEngine } from "../../client/engine/engine.ts";
import { decodeFrame } from "../../shared/protocol/frames.ts";
import { decodeCoordinatorMessage, isFrame } from "../../shared/protocol/messages.ts";

export type MarkName =
  /** A lease of a training step came. */
  | "assigned"
  /** The engine was handed a micro-batch: what came before was fetched and filled in. */
  | "filled"
  /** The micro-batch was taken by the engine. */
  | "accumulated"
  /** Everything is computed. */
  | "computed"
  /** The sum is in this process's memory. */
  | "read"
  /** The last frame of a result was handed to the socket. */
  | "sent"
  /** The first, and the last, frame of weights came. */
  | "weights-began"
  | "weights-came"
  /** The weights are set, and the coordinator is told. */
  | "ready";

export interface Mark {
  readonly name: MarkName;
  readonly at: number;
}

const now = (): number => performance.timeOrigin + performance.now();

export class Recorder {
  readonly marks: Mark[] = [];

  watch(platform: Platform): Platform {
    return {
      ...platform,
      openSocket: (url, protocols) => this.#watchSocket(platform.openSocket(url, protocols)),
      createEngine: async (request) => this.#watchEngine(await platform.createEngine(request)),
    };
  }

  #mark(name: MarkName): void {
    this.marks.push({ name, at: now() });
  }

  #watchSocket(socket: Socket): Socket {
    // Before the volunteer listens: its own work on a message is not to count as the message's way.
    socket.addEventListener("message", ({ data }) => {
      if (data instanceof ArrayBuffer) this.#hear(data);
    });
    const send = socket.send.bind(socket);
    socket.send = (data) => {
      send(data);
      if (typeof data !== "string") this.#spoke(data);
    };
    return socket;
  }

  #hear(data: ArrayBuffer): void {
    if (isFrame(data)) {
      const { offset, payload, total } = decodeFrame(data);
      if (offset === 0) this.#mark("weights-began");
      if (offset + payload.byteLength === total) this.#mark("weights-came");
      return;
    }
    const message = decodeCoordinatorMessage(data);
    if (message.type === "assign" && message.work === "train") this.#mark("assigned");
  }

  #spoke(data: Uint8Array<ArrayBuffer>): void {
    if (!isFrame(data.slice(0, 4).buffer)) {
      if (this.marks.at(-1)?.name === "weights-came") this.#mark("ready");
      return;
    }
    const { offset, payload, total } = decodeFrame(data.slice().buffer);
    if (offset + payload.byteLength === total) this.#mark("sent");
  }

  #watchEngine(engine: GradientEngine): GradientEngine {
    return {
      kind: engine.kind,
      device: engine.device,
      setWeights: (weights) => engine.setWeights(weights),
      begin: (task) => engine.begin(task),
      accumulate: async (microBatch) => {
        this.#mark("filled");
        await engine.accumulate(microBatch);
        this.#mark("accumulated");
      },
      idle: () => engine.idle(),
      take: async () => {
        await engine.idle();
        this.#mark("computed");
        const contribution = await engine.take();
        this.#mark("read");
        return contribution;
      },
      predict: (features, samples) => engine.predict(features, samples),
      dispose: () => engine.dispose(),
    };
  }
}
