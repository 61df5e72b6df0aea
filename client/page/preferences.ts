/** What the volunteer chose, kept in this browser for the next visit and the next session. Nothing of it is sent by itself. */

export interface Preferences {
  /** Shown to everyone for credit; empty for none. */
  readonly name: string;
  /** Of this machine's time, 0 < share ≤ 1. */
  readonly share: number;
  /** Whether to compute while the tab is hidden. */
  readonly inBackground: boolean;
}

/** Characters of a name, as the coordinator takes it. */
export const NAME_CHARACTERS = 40;
/** Half: enough to help, and the machine stays pleasant to use. */
const DEFAULT: Preferences = { name: "", share: 0.5, inBackground: true };
const KEY = "commonweight:preferences";

/** Storage is refused to some pages and by some settings: then nothing is remembered. */
function storageOf(): Storage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}

export function readPreferences(): Preferences {
  try {
    const kept: unknown = JSON.parse(storageOf()?.getItem(KEY) ?? "{}");
    if (typeof kept !== "object" || kept === null) return DEFAULT;
    const { name, share, inBackground } = { ...DEFAULT, ...kept } as Record<keyof Preferences, unknown>;
    return {
      name: typeof name === "string" ? name.slice(0, NAME_CHARACTERS) : DEFAULT.name,
      share: typeof share === "number" && share > 0 && share <= 1 ? share : DEFAULT.share,
      inBackground: inBackground !== false,
    };
  } catch {
    // Something else wrote there.
    return DEFAULT;
  }
}

export function keepPreferences(preferences: Preferences): void {
  try {
    storageOf()?.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // A full storage costs no more than choosing again.
  }
}

export const forgetPreferences = (): void => storageOf()?.removeItem(KEY);
