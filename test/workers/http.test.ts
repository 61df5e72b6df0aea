import { describe, expect, it } from "vitest";
import { asAdmin, createSession, request, stubOf, tinySession } from "./fleet.ts";

const json = async (response: Response): Promise<Record<string, never>> =>
  (await response.json()) as Record<string, never>;

describe("the HTTP API", () => {
  it("says that it is there, and which protocol it speaks", async () => {
    const response = await request("/api/health");
    expect(await json(response)).toEqual({ ok: true, protocol: 1 });
  });

  it("lets only the admin create, control and delete sessions", async () => {
    const body = JSON.stringify(tinySession());
    const attempts: [string, RequestInit][] = [
      ["/api/sessions", { method: "POST", body }],
      ["/api/sessions", { method: "POST", body, headers: { Authorization: "Bearer wrong" } }],
      [`/api/sessions/${"0".repeat(32)}/control`, { method: "POST", body: '{"action":"pause"}' }],
      [`/api/sessions/${"0".repeat(32)}`, { method: "DELETE" }],
      ["/api/datasets/x", { method: "PUT", body: "{}" }],
      ["/api/datasets/x", { method: "DELETE" }],
      [`/api/chunks/${"0".repeat(64)}`, { method: "PUT", body: "x" }],
    ];
    for (const [path, init] of attempts) {
      const response = await request(path, init);
      expect(response.status, `${init.method} ${path}`).toBe(401);
      expect(await json(response)).toMatchObject({ error: { code: "unauthorized" } });
    }
  });

  it("creates, describes, lists, pauses, resumes, stops and deletes a session", async () => {
    const id = await createSession(tinySession());
    const described = await json(await request(`/api/sessions/${id}`));
    expect(described).toMatchObject({ id, progress: { status: "waiting", step: 0, totalSteps: 10, version: 1 } });
    const listed = (await json(await request("/api/sessions"))) as unknown as { sessions: { id: string }[] };
    expect(listed.sessions.map((session) => session.id)).toContain(id);
    const control = (action: string): Promise<Response> =>
      request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: JSON.stringify({ action }) }));
    for (const [action, status] of [
      ["pause", "paused"],
      ["resume", "waiting"],
      ["stop", "stopped"],
    ] as const) {
      expect((await control(action)).status).toBe(200);
      expect(await json(await request(`/api/sessions/${id}`))).toMatchObject({ progress: { status } });
    }
    expect((await control("resume")).status).toBe(409);
    expect((await control("dance")).status).toBe(400);
    expect((await request(`/api/sessions/${id}`, asAdmin({ method: "DELETE" }))).status).toBe(200);
    expect((await request(`/api/sessions/${id}`)).status).toBe(404);
  });

  it("leads from the bare address to the newest public session that is not over", async () => {
    const [first, hidden] = [await createSession(tinySession()), { ...tinySession(), visibility: "private" as const }];
    await createSession(hidden);
    const go = async (): Promise<string | null> => (await request("/", { redirect: "manual" })).headers.get("Location");
    expect(await go()).toBe(`/s/${first}`);
    await request(`/api/sessions/${first}/control`, asAdmin({ method: "POST", body: '{"action":"stop"}' }));
    await expect.poll(go).not.toBe(`/s/${first}`);
  });

  it("serves weights by version and latest, and says which versions are gone", async () => {
    const id = await createSession(tinySession());
    const latest = await request(`/api/sessions/${id}/weights/latest`);
    expect(latest.headers.get("X-Commonweight-Version")).toBe("1");
    const bytes = await latest.arrayBuffer();
    const first = await request(`/api/sessions/${id}/weights/1`);
    expect(first.headers.get("Cache-Control")).toContain("immutable");
    expect(new Uint8Array(await first.arrayBuffer())).toEqual(new Uint8Array(bytes));
    expect(await json(await request(`/api/sessions/${id}/weights/7`))).toMatchObject({
      error: { code: "version-gone" },
    });
  });

  it("refuses sessions that are malformed or too large, with the figure and the limit", async () => {
    const create = async (change: object): Promise<{ status: number; error: { code: string; message: string } }> => {
      const body = JSON.stringify({ ...tinySession(), ...change });
      const response = await request("/api/sessions", asAdmin({ method: "POST", body }));
      return { status: response.status, ...((await response.json()) as { error: { code: string; message: string } }) };
    };
    expect(await create({ batchSize: 0 })).toMatchObject({ status: 400, error: { code: "bad-definition" } });
    expect((await create({ batchSize: 70_000 })).error.message).toContain("65536");
    expect(await create({ surprise: 1 })).toMatchObject({ status: 400 });
    expect(await create({ graph: { nodes: [] } })).toMatchObject({ status: 400, error: { code: "bad-graph" } });
    const graph = structuredClone(tinySession().graph) as unknown as { parameters: { shape: number[] }[] };
    graph.parameters[0].shape = [4000, 1000];
    expect((await create({ graph })).error.message).toContain("3000000");
    expect((await request("/api/sessions", asAdmin({ method: "POST", body: "not json" }))).status).toBe(400);
  });

  it("keeps chunks by their hash, idempotently, and refuses others", async () => {
    const bytes = new TextEncoder().encode("a chunk");
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hash = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const put = (name: string) => request(`/api/chunks/${name}`, asAdmin({ method: "PUT", body: bytes }));
    expect((await put(hash)).status).toBe(201);
    expect((await put(hash)).status).toBe(200);
    expect((await put("0".repeat(64))).status).toBe(422);
    expect((await put("nonsense")).status).toBe(400);
  });

  it("sends its security headers with everything", async () => {
    const response = await request("/api/health");
    expect(response.headers.get("Referrer-Policy")).toBe("no-referrer");
    expect(response.headers.get("Cross-Origin-Resource-Policy")).toBe("cross-origin");
    expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(response.headers.get("Access-Control-Allow-Origin")).toBe("*");
    const page = await request(`/s/${"0".repeat(32)}`);
    expect(page.headers.get("Cross-Origin-Opener-Policy")).toBe("same-origin");
    expect(page.headers.get("Cross-Origin-Embedder-Policy")).toBe("require-corp");
    expect(page.headers.get("Content-Security-Policy")).toContain("script-src 'self' 'wasm-unsafe-eval'");
  });

  it("keeps every memory account in its ledger, far below the limit", async () => {
    const id = await createSession(tinySession());
    await stubOf(id).snapshot();
    const response = await request(`/api/sessions/${id}/diagnostics`, asAdmin());
    const { ledger } = (await response.json()) as {
      ledger: { limit: number; used: number; accounts: { kernels: number } };
    };
    expect(ledger.limit).toBe(96_000_000);
    expect(ledger.accounts.kernels).toBeGreaterThan(0);
    expect(ledger.used).toBeLessThan(1_000_000);
  });
});
