/**
 * How a training looks in a terminal: a few lines redrawn in place, or on a pipe a line now and then. With `--json` one
 * object a line on standard output, and everything else on standard error.
 */

import type { Progress } from "../shared/protocol/messages.ts";

export interface ClientShare {
  readonly id: string;
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
  /** Seconds since the training began, and an estimate of what is left; null while there is none. */
  readonly elapsed: number;
  readonly left: number | null;
}

export interface Display {
  /** A line for people that stays. */
  say(line: string): void;
  show(snapshot: Snapshot): void;
  /** Ends redrawing; what is on the screen stays. */
  end(): void;
  /** An object for machines. */
  emit(object: Readonly<Record<string, unknown>>): void;
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

/** Held-out accuracy, or loss where the session has no accuracy. */
function heldOut({ validation }: Progress): string {
  if (validation === null) return "–";
  const { correct } = validation.metrics;
  return correct === undefined ? validation.loss.toFixed(4) : percent(correct);
}

function summaryLine({ progress, epochs, left }: Snapshot): string {
  const { step, totalSteps, epoch, loss, samplesPerSecond } = progress;
  const parts = [
    STATES[progress.status] || STAGES[progress.stage],
    `step ${step}/${totalSteps}`,
    `epoch ${Math.min(epoch + 1, epochs)}/${epochs}`,
    `loss ${loss === null ? "–" : loss.toFixed(4)}`,
    `validation ${heldOut(progress)}`,
    `${Math.round(samplesPerSecond)} samples/s`,
    left === null ? "" : `${formatDuration(left)} left`,
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

function drawLines(snapshot: Snapshot, columns: number): string[] {
  const { title, url, progress, clients, elapsed } = snapshot;
  const done = progress.totalSteps === 0 ? 0 : progress.step / progress.totalSteps;
  const filled = Math.round(done * BAR);
  const all = clients.reduce((sum, { samples }) => sum + samples, 0);
  const live = new Map(progress.clients.map((client) => [client.id, client]));
  const lines = [
    `${title}  ${url}`,
    `${"█".repeat(filled)}${"░".repeat(BAR - filled)} ${percent(done)}  ${formatDuration(elapsed)}`,
    summaryLine(snapshot),
    ...clients.map(({ id, engine, device, samples }) => {
      const share = all === 0 ? "" : `${((samples / all) * 100).toFixed(1).padStart(5)} %`;
      return `  ${id}  ${engine.padEnd(6)} ${share}  ${live.get(id)?.state ?? "gone"}  ${device}`;
    }),
  ];
  return lines.map((line) => line.slice(0, columns - 1));
}

/** Redraws in place on a terminal, and writes a line every few seconds elsewhere. */
export function createDisplay(options: { json: boolean; quiet: boolean }): Display {
  const out = options.json ? process.stderr : process.stdout;
  const inPlace = out.isTTY === true && !options.json;
  let drawn = 0;
  let lastLine = 0;
  const erase = (): void => {
    if (drawn > 0) out.write(`\x1b[${drawn}A\x1b[0J`);
    drawn = 0;
  };
  return {
    say(line) {
      if (options.quiet) return;
      erase();
      out.write(`${line}\n`);
    },
    show(snapshot) {
      if (options.quiet) return;
      if (inPlace) {
        erase();
        const lines = drawLines(snapshot, out.columns ?? 80);
        out.write(`${lines.join("\n")}\n`);
        drawn = lines.length;
        return;
      }
      if (performance.now() - lastLine < SPARSE_INTERVAL) return;
      lastLine = performance.now();
      out.write(`${summaryLine(snapshot)}\n`);
    },
    end() {
      drawn = 0;
    },
    emit(object) {
      if (options.json) process.stdout.write(`${JSON.stringify(object)}\n`);
    },
  };
}
