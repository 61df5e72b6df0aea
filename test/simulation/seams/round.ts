/** The round machine as the simulated shell sees it: the real one, unless a mutation tampers with its events and effects. */

import { advance as real } from "../../../coordinator/round/index.ts";

export * from "../../../coordinator/round/index.ts";

type Advance = typeof real;

/** What stands between the shell and the machine. */
export const roundSeam: { through: (machine: Advance) => Advance } = { through: (machine) => machine };

export const advance: Advance = (state, event) => roundSeam.through(real)(state, event);
