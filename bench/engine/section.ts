/** The gradients of one step: our engines beside other libraries, in one tab of headless Chromium. */

import type { Section } from "../harness/section.ts";

export const section: Section = { run: async () => [] };
