/** PyTorch's Adam as a rival: the same formula over one tensor, on one thread, from gradients that are floats already. */

import { Conversation } from "../harness/python.ts";
import type { Contestant } from "../harness/race.ts";

const SCRIPT = new URL("./adam.py", import.meta.url).pathname;
/** Parameters updated in one round: enough to be measured. */
const ENOUGH = 30_000_000;
const QUICK = 1_000_000;

export function torchContestant(parameters: number, quick: boolean): Contestant {
  const steps = Math.ceil((quick ? QUICK : ENOUGH) / parameters);
  let python: Conversation | null = null;
  return {
    name: "PyTorch, 1 core",
    ours: false,
    async prepare() {
      python = await Conversation.start(SCRIPT, [String(parameters)]);
      return {};
    },
    async measure() {
      const seconds = Number(await python?.ask(`step ${steps}`));
      return (seconds * 1e9) / (steps * parameters);
    },
    async finish() {
      python?.end();
      return {};
    },
  };
}
