/** Sessions over HTTP: create, read, list, control, delete, and the data that volunteers fetch. */

import { type Context, Hono } from "hono";
import type { Answer } from "../coordinator/session/answer.ts";
import { refuseCheckpoint } from "../coordinator/session/checkpoint.ts";
import { errorFields, log } from "../coordinator/session/log.ts";
import { chunkKey } from "../coordinator/store/chunks.ts";
import { isUnfinished, readListing, unlistSession } from "../coordinator/store/listing.ts";
import type { CheckpointHead } from "../shared/checkpoint/head.ts";
import { hasPassed } from "../shared/clock.ts";
import { canonicalJson } from "../shared/session/canonical.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import { SESSION_LIMITS, type SessionDefinition } from "../shared/session/definition.ts";
import { blobsOf } from "../shared/session/manifest.ts";
import { checkDataset, parseDefinition } from "../shared/session/validate.ts";
import { checkAdmin, forgetGeneration, requireAdmin, requireReader, requireSessionAdmin } from "./admin.ts";
import { readJson } from "./body.ts";
import { describeCheck, passCheck, requireCheckable } from "./check.ts";
import { admitCheckpoint } from "./checkpoints.ts";
import { readManifest } from "./datasets.ts";
import type { AppTypes, Env } from "./env.ts";
import { HttpError } from "./errors.ts";
import { invite } from "./invitations.ts";
import { coordinatorBudget } from "./limits.ts";
import { newSessionId, sessionStub } from "./stub.ts";

const MAX_CONTROL_BYTES = 1_000;
const LISTED = 200;

/** Passes an object's answer on. Throws HttpError for a refusal. */
function passOn(answer: Answer, status: 200 | 201 = 200): Response {
  if (!answer.ok) throw new HttpError(answer.status, answer.code, answer.message);
  return new Response(answer.json, {
    status,
    headers: { "Content-Type": "application/json", "Cache-Control": "no-store" },
  });
}

/** Chunks that a session's clients may fetch. It never changes, so an isolate remembers it for a while. */
interface Served {
  readonly hashes: ReadonlySet<string>;
  readonly caching: "public" | "private";
  readonly since: number;
  /** Chunks read since the session's object was told how many. */
  unreported: number;
}
const served = new Map<string, Served>();
/** Milliseconds; a deleted session's chunks stay readable for as long. */
const SERVED_FOR = 60_000;
const SERVED_SESSIONS = 64;
/** Milliseconds in which reads of chunks are gathered before the session's object hears of them: it pays for each call. */
const REPORT_AFTER = 2_000;

async function servedChunks(env: Env, id: string): Promise<Served> {
  const known = served.get(id);
  if (known !== undefined && !hasPassed(known.since, SERVED_FOR, Date.now())) return known;
  served.delete(id);
  const described = await sessionStub(env, id).describe();
  if (!described.ok) throw new HttpError(described.status, described.code, described.message);
  const { definition, manifest } = JSON.parse(described.json) as {
    definition: SessionDefinition;
    manifest: DatasetManifest | null;
  };
  const entry: Served = {
    hashes: new Set(manifest === null ? [] : blobsOf(manifest).map(({ hash }) => hash)),
    caching: definition.visibility,
    since: Date.now(),
    unreported: 0,
  };
  for (const oldest of served.keys()) {
    if (served.size < SERVED_SESSIONS) break;
    served.delete(oldest);
  }
  served.set(id, entry);
  return entry;
}

/** The bare address leads to what is being trained. Throws HttpError 404 `no-session`. */
export async function newestSession(context: Context<AppTypes>): Promise<Response> {
  const listed = await readListing(context.env.BUCKET, { includePrivate: false, limit: LISTED });
  const newest = listed.find(isUnfinished);
  if (newest === undefined) throw new HttpError(404, "no-session", "no public session is being trained here");
  context.header("Cache-Control", "no-store");
  return context.redirect(`/s/${newest.id}${new URL(context.req.url).search}`, 302);
}

/** What clients read of the data set is part of their session's cost. */
function countRead(context: Context<AppTypes>, id: string, entry: Served): void {
  entry.unreported += 1;
  if (entry.unreported > 1) return;
  const report = async (): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, REPORT_AFTER));
    const chunks = entry.unreported;
    entry.unreported = 0;
    await sessionStub(context.env, id).countReads(chunks);
  };
  context.executionCtx.waitUntil(
    report().catch((error: unknown) => log("warn", "reads-not-counted", { session: id, ...errorFields(error) })),
  );
}

export const sessions = new Hono<AppTypes>()
  .post("/", requireAdmin, async (context) => {
    const value = await readJson(context.req.raw, SESSION_LIMITS.definitionBytes, "the definition");
    const definition = parseDefinition(value, coordinatorBudget);
    requireCheckable(context.env, definition);
    let manifest: DatasetManifest | null = null;
    if (definition.data.source === "dataset") {
      manifest = await readManifest(context.env.BUCKET, definition.data.dataset);
      if (manifest === null) {
        throw new HttpError(422, "unknown-dataset", `there is no data set ${definition.data.dataset}: push it first`);
      }
      checkDataset(definition, manifest);
    }
    const id = newSessionId(definition);
    const created = await sessionStub(context.env, id).create(
      id,
      canonicalJson(definition),
      manifest === null ? null : canonicalJson(manifest),
    );
    return passOn(created, 201);
  })
  .post("/resume", requireAdmin, async (context) => {
    const { body } = context.req.raw;
    if (body === null) throw new HttpError(400, "not-a-checkpoint", "the body is a checkpoint file");
    let head: CheckpointHead;
    try {
      head = await admitCheckpoint(body, context.env.BUCKET);
    } catch (error) {
      return passOn(refuseCheckpoint(error));
    }
    const definition = JSON.parse(head.definition) as SessionDefinition;
    requireCheckable(context.env, definition);
    const id = newSessionId(definition);
    // A stream that something was read of is not sent on as it is.
    const parts = body.pipeThrough(new IdentityTransformStream());
    return passOn(await sessionStub(context.env, id).resume(id, head, parts), 201);
  })
  .get("/", async (context) => {
    const includePrivate = context.req.header("Authorization") !== undefined;
    if (includePrivate) await checkAdmin(context);
    const found = await readListing(context.env.BUCKET, { includePrivate, limit: LISTED });
    return context.json({ sessions: found }, 200, { "Cache-Control": "no-store" });
  })
  .get("/:id", requireReader, async (context) =>
    passOn(await sessionStub(context.env, context.req.param("id")).describe()),
  )
  .delete("/:id", requireSessionAdmin, async (context) => {
    const id = context.req.param("id");
    const removed = await sessionStub(context.env, id).remove();
    // The entry goes even if the session was gone already: an earlier attempt may have ended half way.
    await unlistSession(context.env.BUCKET, id);
    served.delete(id);
    forgetGeneration(id);
    return passOn(removed);
  })
  .get("/:id/metrics", requireReader, async (context) => {
    const text = context.req.query("after") ?? "-1";
    const after = Number(text);
    if (!Number.isSafeInteger(after)) throw new HttpError(400, "bad-query", `after=${text} is not a step number`);
    return passOn(await sessionStub(context.env, context.req.param("id")).metrics(after));
  })
  .get("/:id/journal", requireReader, async (context) =>
    passOn(await sessionStub(context.env, context.req.param("id")).journal()),
  )
  .get("/:id/diagnostics", requireSessionAdmin, async (context) =>
    passOn(await sessionStub(context.env, context.req.param("id")).diagnostics()),
  )
  .get("/:id/check", describeCheck)
  .post("/:id/check", passCheck)
  .post("/:id/invitations", requireSessionAdmin, invite)
  .delete("/:id/invitations", requireSessionAdmin, async (context) => {
    const id = context.req.param("id");
    const revoked = await sessionStub(context.env, id).revokeInvitations();
    forgetGeneration(id);
    return passOn(revoked);
  })
  .post("/:id/control", requireSessionAdmin, async (context) => {
    const value = await readJson(context.req.raw, MAX_CONTROL_BYTES, "the control message");
    const action = typeof value === "object" && value !== null && "action" in value ? value.action : undefined;
    if (action !== "pause" && action !== "resume" && action !== "stop") {
      throw new HttpError(400, "bad-control", 'the body is { "action": "pause" | "resume" | "stop" }');
    }
    return passOn(await sessionStub(context.env, context.req.param("id")).control(action));
  })
  .get("/:id/checkpoint", requireSessionAdmin, (context) =>
    sessionStub(context.env, context.req.param("id")).fetch(new Request("https://session/checkpoint")),
  )
  .get("/:id/weights/:which", requireReader, (context) =>
    sessionStub(context.env, context.req.param("id")).fetch(
      new Request(`https://session/weights/${encodeURIComponent(context.req.param("which"))}`),
    ),
  )
  .get("/:id/chunks/:hash", requireReader, async (context) => {
    const id = context.req.param("id");
    const entry = await servedChunks(context.env, id);
    const { hashes, caching } = entry;
    const hash = context.req.param("hash");
    const object = hashes.has(hash) ? await context.env.BUCKET.get(chunkKey(hash)) : null;
    if (object === null) throw new HttpError(404, "unknown-chunk", "the session's data set has no such chunk");
    countRead(context, id, entry);
    return new Response(object.body, {
      headers: {
        "Content-Type": "application/octet-stream",
        "Content-Length": String(object.size),
        "Cache-Control": `${caching}, max-age=31536000, immutable`,
        ETag: `"${hash}"`,
      },
    });
  });
