/**
 * The journal: what an operator wants to know of a session, oldest first. Steps and joins are too many for it; of what comes again and
 * again only the newest few are kept, so that it stays small whatever happens.
 */

/** How many of each event are kept. */
export const JOURNAL = {
  created: 1,
  /** From a checkpoint of elsewhere, or after a pause. */
  resumed: 50,
  /** The first result that counted. */
  started: 1,
  running: 50,
  paused: 50,
  stopped: 1,
  failed: 50,
  finished: 1,
  /** The object was built again from storage while clients were at work, or with steps to replay. */
  recovered: 20,
  checkpoint: 1,
  /** Better weights by held-out samples. */
  best: 5,
  trained: 5,
  /** Somebody was closed for cause. Told at most every ten seconds, with how many there were. */
  refused: 50,
  /** A report of a value that is not finite, which somebody else's result contradicts. */
  contradicted: 20,
  /** An identity whose results were not those of others. */
  banned: 50,
  /** Steps of such a one were taken back. */
  "rolled back": 50,
  /** All invitations were made void. */
  revoked: 50,
  /** Logged steps were computed again by another build of the kernels. */
  kernels: 10,
} as const;

export type JournalEvent = keyof typeof JOURNAL;

/** Characters of one entry's detail. */
export const DETAIL_CHARACTERS = 500;

export interface JournalEntry {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly event: string;
  readonly detail: string;
}
