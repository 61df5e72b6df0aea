/** How many threads the WASM engine has: those asked for, or half of the cores. The person at the machine keeps the rest. */
export const threadsOf = (asked: number | undefined): number =>
  asked ?? Math.max(1, Math.floor((navigator.hardwareConcurrency ?? 2) / 2));
