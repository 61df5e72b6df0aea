/** The machine's processes, as /proc tells of them (Linux). */

import { readdirSync, readFileSync } from "node:fs";

/** Processes started by a process, or by one of those, whose command line holds the text. */
export function findDescendants(ancestor: number, text: string): number[] {
  const parents = new Map<number, number>();
  const found: number[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      // The name in brackets may hold anything; state and parent follow the last bracket.
      const [, parent] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
      parents.set(pid, Number(parent));
      if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text)) found.push(pid);
    } catch {
      // It ended while it was being looked at.
    }
  }
  const descends = (pid: number | undefined): boolean =>
    pid !== undefined && pid > 1 && (parents.get(pid) === ancestor || descends(parents.get(pid)));
  return found.filter(descends);
}

/** Clock ticks a second in /proc: fixed on Linux. */
const TICKS = 100;

/** Seconds of one core that a process has used, with all of its threads; 0 if it is gone. */
export function cpuSeconds(pid: number): number {
  try {
    // After the name in brackets: state is field 3, user and system time are 14 and 15.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return 0;
  }
}

/** Bytes of memory that a process holds; 0 if it is gone. */
export function residentBytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
