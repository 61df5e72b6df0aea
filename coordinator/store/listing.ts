/**
 * The list of sessions, as one small R2 object each whose metadata says everything that a list shows: listing wakes no
 * session. The figures are those of the last checkpoint or change of status; the session itself knows better.
 */

export interface ListedSession {
  readonly id: string;
  readonly title: string;
  readonly status: string;
  readonly step: number;
  readonly totalSteps: number;
  readonly createdAt: number;
  /** Name of the data set that it trains on; null for local data. */
  readonly dataset: string | null;
}

const OVER: readonly string[] = ["finished", "stopped", "failed"];

/** Whether somebody may still compute for it. */
export const isUnfinished = ({ status }: ListedSession): boolean => !OVER.includes(status);

export type Visibility = "public" | "private";

const PREFIX = "sessions/";
/** R2 answers at most so many objects a page with their metadata. */
const PAGE = 1000;

const keyOf = (id: string, visibility: Visibility): string => `${PREFIX}${visibility}/${id}`;

/** Adds or refreshes a session's entry. R2 takes about one write a second per key: callers write seldom. */
export async function listSession(bucket: R2Bucket, session: ListedSession, visibility: Visibility): Promise<void> {
  await bucket.put(keyOf(session.id, visibility), "", {
    customMetadata: {
      title: encodeURIComponent(session.title),
      status: session.status,
      step: String(session.step),
      totalSteps: String(session.totalSteps),
      createdAt: String(session.createdAt),
      ...(session.dataset === null ? {} : { dataset: session.dataset }),
    },
  });
}

/** Removes a session's entry, whichever visibility it had; doing it twice is harmless. */
export async function unlistSession(bucket: R2Bucket, id: string): Promise<void> {
  await bucket.delete([keyOf(id, "public"), keyOf(id, "private")]);
}

/** The newest `limit` sessions, newest first. */
export async function readListing(
  bucket: R2Bucket,
  options: { readonly includePrivate: boolean; readonly limit: number },
): Promise<ListedSession[]> {
  const sessions: ListedSession[] = [];
  const prefix = options.includePrivate ? PREFIX : `${PREFIX}public/`;
  let cursor: string | undefined;
  do {
    const page = await bucket.list({
      prefix,
      limit: PAGE,
      include: ["customMetadata"],
      ...(cursor === undefined ? {} : { cursor }),
    });
    for (const { key, customMetadata } of page.objects) {
      sessions.push({
        id: key.slice(key.lastIndexOf("/") + 1),
        title: decodeURIComponent(customMetadata?.title ?? ""),
        status: customMetadata?.status ?? "waiting",
        step: Number(customMetadata?.step ?? 0),
        totalSteps: Number(customMetadata?.totalSteps ?? 0),
        createdAt: Number(customMetadata?.createdAt ?? 0),
        dataset: customMetadata?.dataset ?? null,
      });
    }
    cursor = page.truncated ? page.cursor : undefined;
  } while (cursor !== undefined);
  return sessions.sort((a, b) => b.createdAt - a.createdAt).slice(0, options.limit);
}
