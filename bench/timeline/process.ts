/** A process of one watched volunteer on WASM, one thread; ends with the one that started it. */

import { parseAddress } from "../../client/core/address.ts";
import { Volunteer } from "../../client/core/volunteer.ts";
import { nodePlatform } from "../../client/node/platform.ts";
import type { Order, Report } from "./messages.ts";
import { Recorder } from "./recorder.ts";

const recorder = new Recorder();

const report = (message: Report): void => {
  process.send?.(message);
};

function join(link: string): void {
  const unset = {
    workers: 1,
    identity: undefined,
    data: undefined,
    budget: undefined,
    name: undefined,
    share: undefined,
    policies: undefined,
    graphHash: undefined,
    minimumSamples: undefined,
  };
  const options = { ...unset, address: parseAddress(link, undefined), engine: "wasm" } as const;
  const volunteer = new Volunteer(options, recorder.watch(nodePlatform), (event) => {
    if (event.type === "status" && event.detail.status === "connecting") report({ type: "joined" });
  });
  volunteer.finished.catch((error: unknown) => report({ type: "failed", problem: String(error) }));
}

process.on("message", (order: Order) => {
  if (order.type === "join") join(order.link);
  else report({ type: "marks", marks: recorder.marks });
});
process.on("disconnect", () => process.exit());
