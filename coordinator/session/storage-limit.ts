/**
 * How large a session's database may grow: `STORAGE_LIMIT_BYTES` of the deployment, and without it the platform's 10 GB with room for
 * what one step and its checkpoint write. A session that comes to it pauses, whole and readable.
 */

const DEFAULT = 9_000_000_000;

export function storageLimitOf(bytes: string | undefined): number {
  const limit = Number(bytes ?? "");
  return Number.isFinite(limit) && limit > 0 ? limit : DEFAULT;
}
