/** What a session's Durable Object needs from its surroundings. */
export interface SessionEnv {
  /** Data sets, their chunks, and the list of sessions. */
  readonly BUCKET: R2Bucket;
  /** Days after which a session that is over deletes itself; without it sessions are kept. */
  readonly RETENTION_DAYS?: string;
  /** Bytes of a session's database at which it pauses; the platform's limit, with room to spare, where it is left out. */
  readonly STORAGE_LIMIT_BYTES?: string;
}

/** Header of the internal request for a socket: the block of addresses that it comes from (workers/address-block.ts). */
export const BLOCK_HEADER = "X-Commonweight-Block";
