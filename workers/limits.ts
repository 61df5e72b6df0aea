/** What the coordinator allows a session's graph to ask for. Clients have budgets of their own. */

import type { GraphBudget } from "../shared/graph/validate.ts";
import { SESSION_LIMITS } from "../shared/session/definition.ts";

export const coordinatorBudget: GraphBudget = { parameters: SESSION_LIMITS.parameters, nodes: SESSION_LIMITS.nodes };
