/** Between the section and the processes of its volunteers. */

import type { Failure } from "../harness/child.ts";
import type { Mark } from "./recorder.ts";

export type Order = { readonly type: "join"; readonly link: string } | { readonly type: "marks" };

export type Report =
  | { readonly type: "joined" }
  | { readonly type: "marks"; readonly marks: readonly Mark[] }
  | Failure;
