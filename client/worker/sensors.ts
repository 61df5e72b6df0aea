/**
 * What a page can tell of its machine, and when it came back: the worker that computes sees none of it. Where an interface
 * is missing (the Battery API exists in Chromium alone, connections in some browsers), its circumstance never comes about.
 */

import type { Conditions } from "../core/governor.ts";

/** https://www.w3.org/TR/battery-status/ */
interface Battery extends EventTarget {
  readonly charging: boolean;
  readonly level: number;
}

/** https://wicg.github.io/netinfo/ */
interface Connection extends EventTarget {
  readonly type?: string;
  readonly saveData?: boolean;
}

interface Sensors {
  readonly getBattery?: () => Promise<Battery>;
  readonly connection?: Connection;
}

export interface SensorListeners {
  /** At once, and after every change. */
  changed(conditions: Conditions): void;
  /** The page is seen again. */
  shown(): void;
  /** The network came back, or the page was thawed or taken out of the browser's cache of pages. */
  returned(): void;
}

/** Watches until the function returned is called. */
export function watchSensors({ changed, shown, returned }: SensorListeners): () => void {
  const { getBattery, connection } = navigator as Sensors;
  const stopping = new AbortController();
  const { signal } = stopping;
  let battery: Battery | null = null;

  const report = (): void =>
    changed({
      hidden: document.hidden,
      battery: battery === null || battery.charging ? null : battery.level,
      metered: connection?.saveData === true || connection?.type === "cellular",
    });

  document.addEventListener(
    "visibilitychange",
    () => {
      report();
      if (!document.hidden) shown();
    },
    { signal },
  );
  document.addEventListener("resume", returned, { signal });
  addEventListener("online", returned, { signal });
  addEventListener("pageshow", ({ persisted }) => persisted && returned(), { signal });
  connection?.addEventListener("change", report, { signal });
  // Refused by a permissions policy in frames: then nothing is known of the battery.
  getBattery?.call(navigator).then(
    (found) => {
      if (signal.aborted) return;
      battery = found;
      for (const type of ["chargingchange", "levelchange"]) found.addEventListener(type, report, { signal });
      report();
    },
    () => {},
  );
  report();
  return () => stopping.abort();
}
