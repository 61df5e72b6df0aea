/** A volunteer in a process of its own, that tells who started it of everything it hears: `node volunteer.ts <link>`. */

import { joinTraining, TrainingError } from "../../client/node/index.ts";
import type { Heard } from "./witness.ts";

const tell = (heard: Heard): void => {
  process.send?.(heard);
};

const leaving = new AbortController();
process.once("SIGTERM", () => leaving.abort());
process.once("disconnect", () => leaving.abort());

try {
  const handle = await joinTraining(process.argv[2], {
    engine: "wasm",
    workers: 1,
    policies: { slow: "continue" },
    signal: leaving.signal,
    onEvent: ({ type, detail }) => {
      if (type === "weights") tell({ what: "weights", step: detail.step, version: detail.version });
      if (type === "progress") tell({ what: "progress", step: detail.step, version: detail.version });
    },
  });
  await handle.finished;
} catch (error) {
  // Who comes when the last step has just been made is told so, and that is no fault.
  const isTooLate = error instanceof TrainingError && error.code === "finished";
  if (!leaving.signal.aborted && !isTooLate) throw error;
}
process.exit(0);
