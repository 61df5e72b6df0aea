/** Adds the rivals to the page. Bundled only where they are installed. */

import { rivalContestants } from "../../rivals/contestants.ts";

globalThis.arena.add(rivalContestants);
