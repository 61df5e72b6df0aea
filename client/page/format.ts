/** How figures are written for people. */

const UNITS = ["B", "kB", "MB", "GB"] as const;

/** 940584 → "941 kB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export const formatCount = (value: number): string => Math.round(value).toLocaleString("en");

export const formatLoss = (value: number): string => (value === 0 ? "0" : value.toPrecision(3));

export const formatShare = (value: number): string => `${(value * 100).toFixed(1)} %`;

/** The first metric that people read first: accuracy where the session has it, else the held-out loss. */
export function formatMetric(name: string, value: number): string {
  return name === "correct" ? formatShare(value) : formatLoss(value);
}
