/**
 * Every state that the page can be in: what it is called, what happens next, and how it follows from what is known. One
 * table, so that no state is without its words.
 */

import type { Progress } from "../../shared/protocol/messages.ts";
import type { Part } from "./participation.ts";

export type StateName =
  | "asking"
  | "unreachable"
  | "unknown"
  | "uninvited"
  | "unchecked"
  | "open"
  | "waiting"
  | "deserted"
  | "unsupported"
  | "local"
  | "joining"
  | "loading"
  | "training"
  | "pausedByYou"
  | "pausedHidden"
  | "pausedBattery"
  | "pausedMetered"
  | "pausedSlow"
  | "pausedBySession"
  | "disconnected"
  | "replaced"
  | "gaveUp"
  | "finished"
  | "stopped"
  | "failed"
  | "deleted";

/** How it looks: under way, at rest, done, over without an end, or something that needs attention. */
export type Tone = "going" | "resting" | "done" | "over" | "alarm";

export interface State {
  readonly title: string;
  /** What happens next, and what one may do. */
  readonly next: string;
  readonly tone: Tone;
}

export const STATES: Readonly<Record<StateName, State>> = {
  asking: { title: "Asking the coordinator", next: "The session is being read.", tone: "resting" },
  unreachable: {
    title: "The coordinator does not answer",
    next: "It may be restarting, or you are offline. This page asks again every few seconds.",
    tone: "alarm",
  },
  unknown: {
    title: "There is no such session here",
    next: "The link may be incomplete, or the session was deleted. Ask whoever sent it to you.",
    tone: "alarm",
  },
  uninvited: {
    title: "This session is by invitation",
    next: "The link may be incomplete, or its invitation has expired or was taken back. Ask whoever sent it to you for a new one.",
    tone: "alarm",
  },
  unchecked: {
    title: "Your check is no longer good",
    next: "This session lets in who passes a short check. Take part again to pass another one; what was counted stays counted.",
    tone: "resting",
  },
  open: {
    title: "Training",
    next: "Other browsers are at work. Take part or just watch: nothing computes here before you press the button.",
    tone: "going",
  },
  waiting: {
    title: "Waiting for volunteers",
    next: "Nobody has joined yet. Training begins as soon as somebody takes part.",
    tone: "resting",
  },
  deserted: {
    title: "Nobody is here",
    next: "Everyone has left and nothing is lost: training goes on from this step as soon as somebody takes part.",
    tone: "resting",
  },
  unsupported: {
    title: "This browser cannot take part",
    next: "You can watch here, or come back with a current Chrome, Edge, Firefox or Safari.",
    tone: "alarm",
  },
  local: {
    title: "For those who bring their own data",
    next: "This session is joined from the application that holds the data. Here you can watch.",
    tone: "going",
  },
  joining: {
    title: "Getting ready",
    next: "Your browser checks the session and prepares to compute. This takes a few seconds.",
    tone: "going",
  },
  loading: {
    title: "Fetching the network",
    next: "Your machine joins in as soon as it has the latest weights.",
    tone: "going",
  },
  training: {
    title: "Training, with your help",
    next: "Your machine computes its share of every step. Leave this tab open and do something else.",
    tone: "going",
  },
  pausedByYou: {
    title: "Paused by you",
    next: "Your machine computes nothing and the others go on. Press Resume to come back.",
    tone: "resting",
  },
  pausedHidden: {
    title: "Resting while this tab is hidden",
    next: "It goes on when you look at this tab again. To compute in the background too, press Go on anyway.",
    tone: "resting",
  },
  pausedBattery: {
    title: "Resting to spare your battery",
    next: "It goes on when the machine is plugged in. To use the battery, press Go on anyway.",
    tone: "resting",
  },
  pausedMetered: {
    title: "Resting on a metered connection",
    next: "It goes on when your connection no longer counts or saves data. To use it, press Go on anyway.",
    tone: "resting",
  },
  pausedSlow: {
    title: "Resting because this machine slowed down",
    next: "It may be warm or busy with something else, and goes on by itself. To compute all the same, press Go on anyway.",
    tone: "resting",
  },
  pausedBySession: {
    title: "Paused by whoever runs this session",
    next: "Nothing is computed anywhere. It goes on when they resume it; you need do nothing.",
    tone: "resting",
  },
  disconnected: {
    title: "Connection lost",
    next: "Your browser keeps trying and comes back as itself. What was counted stays counted.",
    tone: "alarm",
  },
  replaced: {
    title: "Continued in another tab",
    next: "Another tab took this one's place. To help with this tab as well, take part again.",
    tone: "resting",
  },
  gaveUp: {
    title: "Your machine had to stop",
    next: "The others go on. You can take part again, perhaps computing on something else.",
    tone: "alarm",
  },
  finished: {
    title: "Finished",
    next: "Thank you to everyone who took part. Nothing is computed any more; see below what the network has learned.",
    tone: "done",
  },
  stopped: {
    title: "Stopped by whoever runs this session",
    next: "Nothing more will be computed; the weights so far are kept. Thank you to everyone who took part.",
    tone: "over",
  },
  failed: {
    title: "Stopped by a fault in the training",
    next: "It is nothing that you did. Whoever runs the session has to change it and start anew.",
    tone: "alarm",
  },
  deleted: {
    title: "This session was deleted",
    next: "Whoever ran it removed it with all that was stored. Nothing is computed any more; you can close this tab.",
    tone: "over",
  },
};

export interface Situation {
  /** What became of the last look at the coordinator. */
  readonly found: "asking" | "found" | "unknown" | "uninvited" | "unreachable";
  /** As last heard; null before the first answer. */
  readonly progress: Progress | null;
  /** What this browser lacks. */
  readonly missing: readonly string[];
  /** Whether everyone brings their own data, which this page has none of. */
  readonly needsData: boolean;
  /** Whether joining takes a check. */
  readonly isChecked: boolean;
  /** This tab's part; null if it has none. */
  readonly part: Pick<Part, "status" | "cause" | "code" | "assignment"> | null;
}

const ENDS: Partial<Record<Progress["status"], StateName>> = {
  finished: "finished",
  stopped: "stopped",
  failed: "failed",
};

const PAUSES: Readonly<Record<NonNullable<Part["cause"]>, StateName>> = {
  volunteer: "pausedByYou",
  hidden: "pausedHidden",
  battery: "pausedBattery",
  metered: "pausedMetered",
  slow: "pausedSlow",
  session: "pausedBySession",
};

const FAILURES: Partial<Record<NonNullable<Part["code"]>, StateName>> = {
  "unknown-session": "deleted",
  "not-invited": "uninvited",
  replaced: "replaced",
};

export function stateOf(situation: Situation): StateName {
  const { found, progress, part } = situation;
  if (found === "uninvited") return "uninvited";
  if (found === "unknown") return progress === null ? "unknown" : "deleted";
  const end = progress === null ? undefined : ENDS[progress.status];
  if (end !== undefined) return end;
  const name = (part === null ? null : stateOfPart(part, progress)) ?? stateOfWatching(situation);
  return name === "uninvited" && situation.isChecked ? "unchecked" : name;
}

/** Null for who takes part no longer, or where nothing but the session's own state is left to say. */
function stateOfPart(
  { status, cause, code, assignment }: NonNullable<Situation["part"]>,
  progress: Progress | null,
): StateName | null {
  switch (status) {
    case "joining":
      return "joining";
    case "connecting":
      return "disconnected";
    case "paused":
      return PAUSES[cause ?? "volunteer"];
    case "loading":
    case "waiting":
    case "working":
      if (progress?.status === "paused") return "pausedBySession";
      // Later weights come with every step.
      return status === "loading" && assignment === null ? "loading" : "training";
    case "failed":
      return (code === null ? undefined : FAILURES[code]) ?? "gaveUp";
    case "finished":
      return "finished";
    case "left":
      return null;
    default:
      return status satisfies never;
  }
}

function stateOfWatching({ found, progress, missing, needsData }: Situation): StateName {
  if (progress === null) return found === "unreachable" ? "unreachable" : "asking";
  if (found === "unreachable") return "unreachable";
  if (progress.status === "paused") return "pausedBySession";
  if (missing.length > 0) return "unsupported";
  if (needsData) return "local";
  if (progress.clientCount > 0) return "open";
  return progress.step === 0 ? "waiting" : "deserted";
}
