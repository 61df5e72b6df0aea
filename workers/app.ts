/** The edge: every route, with its headers. */

import { Hono } from "hono";
import { benchPage, doorPage, sameAsset, sessionPage } from "./assets.ts";
import { chunks, datasets } from "./datasets.ts";
import type { AppTypes } from "./env.ts";
import { notFound, onError } from "./errors.ts";
import { dataHeaders, doorHeaders, pageHeaders, readableAnywhere } from "./headers.ts";
import { health, readiness } from "./health.ts";
import { metrics } from "./metrics.ts";
import { limitRequests } from "./rate.ts";
import { newestSession, sessions } from "./sessions.ts";
import { openSocket } from "./socket.ts";

export const app = new Hono<AppTypes>()
  // Before the headers: an upgrade's response is handed on as it is.
  .get("/api/sessions/:id/socket", openSocket)
  .use("/api/*", dataHeaders, readableAnywhere, limitRequests)
  .use("/ort/*", dataHeaders, readableAnywhere)
  .use("/s/:id", pageHeaders)
  .use("/s/:id/door", doorHeaders)
  .use("/bench", pageHeaders)
  .get("/api/health", health)
  .get("/healthz", health)
  .get("/readyz", readiness)
  .get("/metrics", limitRequests, metrics)
  .route("/api/sessions", sessions)
  .route("/api/chunks", chunks)
  .route("/api/datasets", datasets)
  .get("/", newestSession)
  .get("/s/:id", sessionPage)
  .get("/s/:id/door", doorPage)
  .get("/bench", benchPage)
  .get("/ort/*", sameAsset)
  // Deployed, these are answered before the Worker; the local coordinator has no such layer in front of it.
  .use("/assets/*", pageHeaders)
  .get("/assets/*", sameAsset)
  .notFound(notFound)
  .onError(onError);
