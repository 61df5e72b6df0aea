/** How figures are written for people. */

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** 940584 → "941 kB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export const formatCount = (value: number): string => Math.round(value).toLocaleString("en");

export const formatLoss = (value: number): string => (value === 0 ? "0" : value.toPrecision(3));

export const formatShare = (value: number): string => `${(value * 100).toFixed(1)}\u00A0%`;

/** Whole per cents, for what people set themselves. */
export const formatPercent = (value: number): string => `${Math.round(value * 100)}\u00A0%`;

/** 75 → "1 min 15 s"; hours without their seconds. */
export function formatDuration(seconds: number): string {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes === 0) return `${whole} s`;
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** 90 → "1:30", 3600 → "1:00:00": for axes, where there is little room. */
export function formatTick(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** The first metric that people read first: accuracy where the session has it, else the held-out loss. */
export function formatMetric(name: string, value: number): string {
  return name === "correct" ? formatShare(value) : formatLoss(value);
}

/** "1 volunteer", "2 volunteers". */
export const countOf = (count: number, one: string, many = `${one}s`): string =>
  `${formatCount(count)} ${count === 1 ? one : many}`;
