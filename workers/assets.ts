/** Static assets that need the Worker: pages under their own addresses, and onnxruntime's wasm for other origins. */

import type { Context } from "hono";
import type { AppTypes } from "./env.ts";

/** The asset at `path`, with headers that may be changed. */
async function asset(context: Context<AppTypes>, path: string): Promise<Response> {
  const { ASSETS } = context.env;
  const response = await ASSETS.fetch(new Request(new URL(path, context.req.url), { method: context.req.method }));
  return new Response(response.body, response);
}

/** One page for every session: it reads the id from its address. */
export const sessionPage = (context: Context<AppTypes>): Promise<Response> => asset(context, "/session.html");

/** The page of the check, without the isolation that static files come with. */
export async function doorPage(context: Context<AppTypes>): Promise<Response> {
  const page = await asset(context, "/door.html");
  for (const isolating of ["Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy"])
    page.headers.delete(isolating);
  return page;
}

export const benchPage = (context: Context<AppTypes>): Promise<Response> => asset(context, "/bench.html");

export const sameAsset = (context: Context<AppTypes>): Promise<Response> => asset(context, context.req.path);
