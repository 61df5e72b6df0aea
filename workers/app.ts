/** The edge: every route, with its headers. */

import { Hono } from "hono";
import { PROTOCOL_VERSION } from "../shared/protocol/frames.ts";
import { benchPage, sameAsset, sessionPage } from "./assets.ts";
import { chunks, datasets } from "./datasets.ts";
import type { AppTypes } from "./env.ts";
import { notFound, onError } from "./errors.ts";
import { dataHeaders, pageHeaders, readableAnywhere } from "./headers.ts";
import { newestSession, sessions } from "./sessions.ts";
import { openSocket } from "./socket.ts";

export const app = new Hono<AppTypes>()
  // Before the headers: an upgrade's response is handed on as it is.
  .get("/api/sessions/:id/socket", openSocket)
  .use("/api/*", dataHeaders, readableAnywhere)
  .use("/ort/*", dataHeaders, readableAnywhere)
  .use("/s/*", pageHeaders)
  .use("/bench", pageHeaders)
  .get("/api/health", (context) => context.json({ ok: true, protocol: PROTOCOL_VERSION }))
  .route("/api/sessions", sessions)
  .route("/api/chunks", chunks)
  .route("/api/datasets", datasets)
  .get("/", newestSession)
  .get("/s/:id", sessionPage)
  .get("/bench", benchPage)
  .get("/ort/*", sameAsset)
  // Deployed, these are answered before the Worker; the local coordinator has no such layer in front of it.
  .use("/assets/*", pageHeaders)
  .get("/assets/*", sameAsset)
  .notFound(notFound)
  .onError(onError);
