/** What a session's Durable Object needs from its surroundings. */
export interface SessionEnv {
  /** Data sets, their chunks, and the list of sessions. */
  readonly BUCKET: R2Bucket;
  /** Days after which a session that is over deletes itself; without it sessions are kept. */
  readonly RETENTION_DAYS?: string;
  /** Bytes of a session's database at which it pauses; the platform's limit, with room to spare, where it is left out. */
  readonly STORAGE_LIMIT_BYTES?: string;
  /** By what the limits of joins, sockets, messages, bytes and reads are multiplied, or `off`. */
  readonly QUOTAS?: string;
}
