/**
 * How a training looks in a terminal: a few lines redrawn in place, or on a pipe a line now and then. With `--json` one
 * object a line on standard output, and everything else on standard error.
 */

import type { Progress } from "../shared/protocol/messages.ts";
import { plain, plainJson } from "./foreign-text.ts";

export interface ClientShare {
  readonly id: string;
  /** Chosen by the volunteer; empty without one. */
  readonly name: string;
  readonly engine: string;
  readonly device: string;
  readonly samples: number;
}

export interface Snapshot {
  readonly title: string;
  readonly url: string;
  readonly progress: Progress;
  readonly epochs: number;
  readonly clients: readonly ClientShare[];
  /** Seconds since the command began, and an estimate of what is left; null while there is none. */
  readonly elapsed: number;
  readonly left: number | null;
  /** What else there is to say of the step. */
  readonly note?: string;
}

export interface Display {
  /** Characters of a line. */
  readonly columns: number;
  /** A line for people that stays. */
  say(line: string): void;
  show(snapshot: Snapshot): void;
  /** Ends redrawing; what is on the screen stays. */
  end(): void;
  /** Lets `action` write to the terminal itself: what was drawn is out of its way. */
  aside(action: () => void): void;
  /** An object for machines. */
  emit(object: Readonly<Record<string, unknown>>): void;
}

/** What a display writes to: a terminal or a pipe. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

const BAR = 28;
const SPARSE_INTERVAL = 5_000; // milliseconds between two lines on a pipe

export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  return minutes === 0 ? `${rest} s` : `${minutes} min ${String(rest).padStart(2, "0")} s`;
}

const percent = (value: number): string => `${(value * 100).toFixed(2)} %`;

const STATES: Readonly<Record<Progress["status"], string>> = {
  waiting: "waiting for volunteers",
  running: "",
  paused: "paused",
  stopped: "stopped",
  failed: "failed",
  finished: "finished",
};

const STAGES: Readonly<Record<Progress["stage"], string>> = {
  calibrate: "calibrating",
  train: "training",
  validate: "validating",
  test: "testing",
  done: "done",
};

/** A figure (shared/session/figures.ts) with its name for people: shares of samples as per cents. */
export function formatFigure(name: string, value: number): string {
  const isShare = name === "correct" || /^top\d+$/.test(name);
  return `${name === "correct" ? "accuracy" : plain(name)} ${isShare ? percent(value) : value.toFixed(4)}`;
}

/** All figures for people, in order; of the area under the curve with the error of its bins. */
export function describeFigures({ aucError, ...figures }: Readonly<Record<string, number>>): string[] {
  return Object.entries(figures).map(([name, value]) =>
    name === "auc" && aucError !== undefined
      ? `AUC ${value.toFixed(4)} ± ${aucError.toFixed(4)}`
      : formatFigure(name, value),
  );
}

/** Held-out accuracy, or loss where the session has no accuracy. */
function heldOut({ validation }: Progress): string {
  if (validation === null) return "–";
  const { correct } = validation.metrics;
  return correct === undefined ? validation.loss.toFixed(4) : percent(correct);
}

export function summaryLine({ progress, epochs, left, note = "" }: Snapshot): string {
  const { step, totalSteps, epoch, loss, samplesPerSecond, reason } = progress;
  const parts = [
    STATES[progress.status] || STAGES[progress.stage],
    plain(reason),
    `step ${step}/${totalSteps}`,
    `epoch ${Math.min(epoch + 1, epochs)}/${epochs}`,
    note,
    `loss ${loss === null ? "–" : loss.toFixed(4)}`,
    `validation ${heldOut(progress)}`,
    `${Math.round(samplesPerSecond)} samples/s`,
    left === null ? "" : `${formatDuration(left)} left`,
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

/** What each client is called, all as long as the longest: the name it chose, else the beginning of its id. */
export function clientLabels(clients: readonly ClientShare[]): string[] {
  const labels = clients.map(({ id, name }) => plain(name, 20) || plain(id, 8));
  const width = Math.max(0, ...labels.map((label) => label.length));
  return labels.map((label) => label.padEnd(width));
}

function clientLines({ progress, clients }: Snapshot): string[] {
  const all = clients.reduce((sum, { samples }) => sum + samples, 0);
  const live = new Map(progress.clients.map(({ id, state }) => [id, state]));
  const labels = clientLabels(clients);
  return clients.map(({ id, engine, device, samples }, index) => {
    const share = all === 0 ? "" : `${((samples / all) * 100).toFixed(1).padStart(5)} %`;
    const state = plain(live.get(id) ?? "gone", 16);
    return `  ${labels[index]}  ${plain(engine, 16).padEnd(6)} ${share}  ${state.padEnd(7)}  ${plain(device)}`;
  });
}

/** At most `rows` lines of at most `columns` characters, so that the cursor can be moved back over all of them. */
function drawLines(snapshot: Snapshot, columns: number, rows: number): string[] {
  const { title, url, progress, elapsed } = snapshot;
  const done = progress.totalSteps === 0 ? 0 : Math.min(1, progress.step / progress.totalSteps);
  const filled = Math.round(done * BAR);
  const lines = [
    `${plain(title)}  ${url}`,
    `${"█".repeat(filled)}${"░".repeat(BAR - filled)} ${percent(done)}  ${formatDuration(elapsed)}`,
    summaryLine(snapshot),
  ];
  const clients = clientLines(snapshot);
  const room = Math.max(1, rows - lines.length - 1);
  const shown = clients.length <= room ? clients : clients.slice(0, room - 1);
  if (shown.length < clients.length) shown.push(`  and ${clients.length - shown.length} more`);
  return [...lines, ...shown].map((line) => [...line].slice(0, columns - 1).join(""));
}

/** Redraws in place on a terminal, and writes a line every few seconds elsewhere. */
export function createDisplay(
  options: { readonly json: boolean },
  { stdout, stderr }: { readonly stdout: Screen; readonly stderr: Screen } = process,
): Display {
  const out = options.json ? stderr : stdout;
  const inPlace = out.isTTY === true;
  const columns = (): number => out.columns ?? 80;
  let drawn: readonly string[] = [];
  let lastLine = Number.NEGATIVE_INFINITY;
  const erase = (): void => {
    if (drawn.length > 0) out.write(`\x1b[${drawn.length}A\x1b[0J`);
  };
  const draw = (): void => {
    if (drawn.length > 0) out.write(`${drawn.join("\n")}\n`);
  };
  const aside = (action: () => void): void => {
    erase();
    try {
      action();
    } finally {
      draw();
    }
  };
  return {
    get columns() {
      return columns();
    },
    aside,
    say: (line) => aside(() => out.write(`${line}\n`)),
    show(snapshot) {
      if (inPlace) {
        erase();
        drawn = drawLines(snapshot, columns(), out.rows ?? 24);
        draw();
        return;
      }
      if (performance.now() - lastLine < SPARSE_INTERVAL) return;
      lastLine = performance.now();
      out.write(`${summaryLine(snapshot)}\n`);
    },
    end() {
      drawn = [];
    },
    emit(object) {
      if (options.json) stdout.write(`${plainJson(object)}\n`);
    },
  };
}
