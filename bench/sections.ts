/** The benchmarks' sections. A new one is an entry here and a folder with a `section.ts` that exports `section`. */

import type { Section } from "./harness/section.ts";

interface SectionEntry {
  /** What it measures, for `--help`. */
  readonly about: string;
  readonly load: () => Promise<{ readonly section: Section }>;
}

export const SECTIONS = {
  engine: {
    about: "gradients of one step: our engines and other libraries, in headless Chromium",
    load: () => import("./engine/section.ts"),
  },
  coordinator: {
    about: "the coordinator's passes over parameters inside workerd, and what its sockets take in",
    load: () => import("./coordinator/section.ts"),
  },
  scaling: {
    about: "steps a second, CPU, memory and bytes by the number of clients and of parameters",
    load: () => import("./scaling/section.ts"),
  },
  wire: {
    about: "bytes of each codec on the socket, and what each does to a training",
    load: () => import("./wire/section.ts"),
  },
  timeline: {
    about: "where the milliseconds of one step go, from lease to new weights",
    load: () => import("./timeline/section.ts"),
  },
  "end-to-end": {
    about: "two tabs and a coordinator: a step beside running freely, the first gradient, time to an accuracy",
    load: () => import("./end-to-end/section.ts"),
  },
} as const satisfies Record<string, SectionEntry>;

export type SectionName = keyof typeof SECTIONS;

export const isSectionName = (name: string): name is SectionName => Object.hasOwn(SECTIONS, name);
