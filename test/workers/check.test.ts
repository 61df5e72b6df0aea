import { describe, expect, it } from "vitest";
import { PROTOCOL_ERRORS, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { doorsOf } from "../../shared/session/access.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { app } from "../../workers/app.ts";
import { signToken } from "../../workers/tokens.ts";
import { BROKEN_SERVICES, TURNSTILE, type WidgetResponse, widgetResponse } from "../fixtures/siteverify.ts";
import { asAdmin, createSession, FakeClient, fakeResult, request, testEnv, tinySession } from "./fleet.ts";

const CHECKED: SessionDefinition = { ...tinySession({ steps: 2 }), access: { join: "checked", read: "open" } };
const HOST = "coordinator.test";

let serials = 0;
/** What the widget gives on the page of this session, unless told otherwise. */
const passed = (session: string, change: WidgetResponse = {}): string =>
  widgetResponse({ hostname: HOST, action: "join", cdata: session, serial: serials++, ...change });

const post = (session: string, response: unknown, init: RequestInit = {}): Promise<Response> =>
  request(`/api/sessions/${session}/check`, { method: "POST", body: JSON.stringify({ response }), ...init });

interface Refused {
  readonly error: { readonly code: string; readonly message: string };
}

async function refusalOf(answer: Response | Promise<Response>): Promise<{ status: number; code: string }> {
  const response = await answer;
  if (response.ok) return { status: response.status, code: "" };
  return { status: response.status, code: ((await response.json()) as Refused).error.code };
}

async function tokenFor(session: string, response = passed(session)): Promise<string> {
  const answer = await post(session, response);
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { token: string }).token;
}

interface Come {
  readonly client: FakeClient;
  /** `welcome`, or what was said instead. */
  readonly word: string;
}

/** Knocks with a token, as somebody new or as who it was. */
async function come(session: string, token?: string, identity: FakeClient["identity"] = null): Promise<Come> {
  const client = new FakeClient(session, CHECKED);
  await client.connect(token === undefined ? SUBPROTOCOL : `${SUBPROTOCOL}, bearer.${token}`);
  client.identity = identity;
  client.hello();
  const word = await client.next((message) => {
    if (message.type === "error") return `${message.code} ${message.message}`;
    if (message.type !== "welcome") return undefined;
    client.identity = { client: message.client, resumeKey: message.resumeKey };
    client.version = message.version;
    return "welcome";
  });
  return { client, word };
}

async function leave({ client }: Come): Promise<void> {
  client.drop();
  while (client.closed === null) await client.changed();
}

/** Computes until a step is done: from then on the session's database knows who this is. */
async function contribute({ client }: Come): Promise<void> {
  client.send({ type: "ready", version: client.version });
  const before = client.version;
  while (client.version === before) {
    const message = await client.next((each) => (each.type === "assign" || each.type === "weights" ? each : undefined));
    if (message.type === "weights") client.version = message.version;
    else for (const frame of fakeResult(CHECKED, message)) client.sendBytes(frame);
  }
}

describe("a session with a check", () => {
  it("says so in its id, which cannot be changed to one that is open", async () => {
    const id = await createSession(CHECKED);
    expect(doorsOf(id)).toEqual({ join: "checked", read: "open" });
    for (const other of [id.slice(0, 32), `${id.slice(0, 32)}01`, `${id.slice(0, 32)}03`]) {
      expect((await come(other, await tokenFor(id))).word).not.toBe("welcome");
    }
  });

  it("is read by everyone, and lets in who passed", async () => {
    const id = await createSession(CHECKED);
    expect((await request(`/api/sessions/${id}`)).status).toBe(200);
    const described = await request(`/api/sessions/${id}/check`);
    expect(await described.json()).toEqual({ siteKey: TURNSTILE.TURNSTILE_SITE_KEY });
    const answer = await post(id, passed(id));
    expect(answer.headers.get("Cache-Control")).toBe("no-store");
    const { token, expires } = (await answer.json()) as { token: string; expires: number };
    expect(expires - Date.now() / 1_000).toBeCloseTo(7 * 86_400, -2);
    expect((await come(id, token)).word).toBe("welcome");
  });

  it("tells who comes without where to go, programs and other pages too", async () => {
    const id = await createSession(CHECKED);
    const { client, word } = await come(id);
    expect(word).toMatch(
      /^not-invited token-missing: .*open its link in a browser.*programs and other pages.*invitation/i,
    );
    while (client.closed === null) await client.changed();
    expect(client.closed.code).toBe(PROTOCOL_ERRORS["not-invited"].close);
  });

  it("takes an ordinary invitation as well, of any number of people", async () => {
    const id = await createSession(CHECKED);
    const body = JSON.stringify({ capability: "join", expiresIn: 60 });
    const invited = await request(`/api/sessions/${id}/invitations`, asAdmin({ method: "POST", body }));
    const { token } = (await invited.json()) as { token: string };
    expect((await come(id, token)).word).toBe("welcome");
    expect((await come(id, token)).word).toBe("welcome");
  });

  it("tells Cloudflare the visitor's address", async () => {
    const id = await createSession(CHECKED);
    const from = (address: string): RequestInit => ({ headers: { "CF-Connecting-IP": address } });
    const response = (): string => passed(id, { remoteip: "192.0.2.7" });
    expect(await refusalOf(post(id, response(), from("192.0.2.7")))).toEqual({ status: 201, code: "" });
    expect(await refusalOf(post(id, response(), from("192.0.2.8")))).toEqual({ status: 403, code: "check-failed" });
  });

  const wrong: readonly (readonly [what: string, change: WidgetResponse])[] = [
    ["for another session", { cdata: "0".repeat(32) }],
    ["for no session", { cdata: "" }],
    ["on another host", { hostname: "evil.example" }],
    ["on a host whose name begins alike", { hostname: `${HOST}.evil.example` }],
    ["for another occasion", { action: "login" }],
    ["for no occasion", { action: "" }],
  ];

  it.each(wrong)("takes no response that was given %s", async (_, change) => {
    const id = await createSession(CHECKED);
    expect(await refusalOf(post(id, passed(id, change)))).toEqual({ status: 403, code: "check-failed" });
  });

  it("takes no response that Cloudflare does not know, and none twice", async () => {
    const id = await createSession(CHECKED);
    expect(await refusalOf(post(id, "made up"))).toEqual({ status: 403, code: "check-failed" });
    const response = passed(id);
    expect(await refusalOf(post(id, response))).toEqual({ status: 201, code: "" });
    expect(await refusalOf(post(id, response))).toEqual({ status: 403, code: "check-failed" });
  });

  it.each(BROKEN_SERVICES)("lets nobody in where Cloudflare %s", async (service) => {
    const id = await createSession(CHECKED);
    const began = Date.now();
    const answer = await post(id, passed(id, { service }));
    expect(answer.headers.get("Retry-After")).toBe("10");
    expect(await refusalOf(answer)).toEqual({ status: 503, code: "check-unavailable" });
    expect(Date.now() - began).toBeLessThan(7_000);
  });

  it("refuses what is no response before anybody is asked", async () => {
    const id = await createSession(CHECKED);
    for (const response of [undefined, "", 7, "x".repeat(2_049)]) {
      expect(await refusalOf(post(id, response)), String(response)).toEqual({ status: 400, code: "bad-check" });
    }
    const body = JSON.stringify({ response: passed(id), session: id });
    expect(await refusalOf(post(id, "", { body }))).toEqual({ status: 400, code: "bad-check" });
    expect(await refusalOf(post(id, "x".repeat(5_000)))).toEqual({ status: 413, code: "limit-exceeded" });
  });

  it("limits how often one network may try, as it does joins", async () => {
    const id = await createSession(CHECKED);
    const init = { headers: { "CF-Connecting-IP": "198.51.100.1" } };
    const codes = new Set<string>();
    for (let attempt = 0; attempt < 40 && !codes.has("rate-limited"); attempt++) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => refusalOf(post(id, "", init))));
      for (const { code } of answers) codes.add(code);
    }
    expect([...codes].sort()).toEqual(["bad-check", "rate-limited"]);
  });
});

describe("who passed a check", () => {
  it("is one identity: the token lets in nobody else beside it", async () => {
    const id = await createSession(CHECKED);
    const token = await tokenFor(id);
    const first = await come(id, token);
    expect(first.word).toBe("welcome");
    expect((await come(id, token)).word).toMatch(/^not-invited token-used: .*pass it again/);
    // Nor under a name of its own choosing.
    const other = { client: "a".repeat(32), resumeKey: "b".repeat(32) };
    expect((await come(id, token, other)).word).toMatch(/^not-invited token-used/);
    expect(first.client.closed).toBeNull();
  });

  it("is one identity even if Cloudflare takes a response twice", async () => {
    const id = await createSession(CHECKED);
    const response = passed(id, { service: "is forgetful" });
    const [one, two] = [await tokenFor(id, response), await tokenFor(id, response)];
    expect((await come(id, one)).word).toBe("welcome");
    expect((await come(id, two)).word).toMatch(/^not-invited token-used/);
    // Another response is another identity.
    expect((await come(id, await tokenFor(id))).word).toBe("welcome");
  });

  it("comes back as itself, also by another check", async () => {
    const id = await createSession(CHECKED);
    const token = await tokenFor(id);
    const first = await come(id, token);
    const { identity } = first.client;
    await contribute(first);
    await leave(first);
    expect((await come(id, token)).word).toMatch(/^not-invited token-used/);
    const back = await come(id, token, identity);
    expect(back.client.identity).toEqual(identity);
    await leave(back);
    const later = await come(id, await tokenFor(id), identity);
    expect(later.client.identity).toEqual(identity);
    await leave(later);
    const thief = await come(id, await tokenFor(id), { client: identity!.client, resumeKey: "0".repeat(32) });
    expect(thief.word).toMatch(/^wrong-resume-key/);
  });

  it("is who the check says where nothing of it counted yet", async () => {
    const id = await createSession(CHECKED);
    const first = await come(id, await tokenFor(id));
    await leave(first);
    const again = await come(id, await tokenFor(id), first.client.identity);
    expect(again.word).toBe("welcome");
    expect(again.client.identity?.client).not.toBe(first.client.identity?.client);
  });

  it("is told to pass again once the token has expired or was taken back", async () => {
    const id = await createSession(CHECKED);
    const expires = Math.floor(Date.now() / 1_000) - 1;
    const terms = { session: id, capability: "join", generation: 0, expires, client: "c".repeat(32) } as const;
    const expired = await signToken(testEnv.ADMIN_SECRET, terms);
    expect((await come(id, expired)).word).toMatch(/^not-invited token-expired: .*pass the check/);
    const token = await tokenFor(id);
    const { client } = await come(id, token);
    await request(`/api/sessions/${id}/invitations`, asAdmin({ method: "DELETE" }));
    expect((await client.ofType("error")).code).toBe("not-invited");
    expect((await come(id, token)).word).toMatch(/^not-invited token-revoked: .*pass the check/);
    expect((await come(id, await tokenFor(id))).word).toBe("welcome");
  });

  it("may join and read, and no more", async () => {
    const id = await createSession(CHECKED);
    const headers = { Authorization: `Bearer ${await tokenFor(id)}` };
    const control = request(`/api/sessions/${id}/control`, { method: "POST", headers, body: '{"action":"pause"}' });
    expect(await refusalOf(control)).toEqual({ status: 403, code: "token-capability" });
    const other = await createSession(CHECKED);
    expect((await come(other, await tokenFor(id))).word).toMatch(/^not-invited token-session/);
  });
});

describe("a coordinator without a check", () => {
  const { TURNSTILE_SITE_KEY, TURNSTILE_SECRET } = TURNSTILE;
  const incomplete = [{}, { TURNSTILE_SITE_KEY }, { TURNSTILE_SECRET }, { TURNSTILE_SITE_KEY, TURNSTILE_SECRET: "" }];
  const bare = { ...testEnv, TURNSTILE_SITE_KEY: undefined, TURNSTILE_SECRET: undefined };

  it.each(incomplete)("refuses a session that asks for one, and says what is missing: %j", async (given) => {
    const create = asAdmin({ method: "POST", body: JSON.stringify(CHECKED) });
    const answer = await app.request("/api/sessions", create, { ...bare, ...given });
    expect(answer.status).toBe(503);
    const { error } = (await answer.json()) as Refused;
    expect(error.code).toBe("check-disabled");
    expect(error.message).toMatch(/TURNSTILE_SITE_KEY.*TURNSTILE_SECRET.*invited/);
  });

  it("refuses a checkpoint of one, and lets nobody into one that it has from before", async () => {
    const id = await createSession(CHECKED);
    const checkpoint = await (await request(`/api/sessions/${id}/checkpoint`, asAdmin())).arrayBuffer();
    const resume = app.request("/api/sessions/resume", asAdmin({ method: "POST", body: checkpoint }), bare);
    expect(await refusalOf(resume)).toEqual({ status: 503, code: "check-disabled" });
    const check = `/api/sessions/${id}/check`;
    const disabled = { status: 503, code: "check-disabled" };
    expect(await refusalOf(app.request(check, {}, bare))).toEqual(disabled);
    const body = JSON.stringify({ response: passed(id) });
    expect(await refusalOf(app.request(check, { method: "POST", body }, bare))).toEqual(disabled);
  });

  it("creates every other session as before", async () => {
    const create = asAdmin({ method: "POST", body: JSON.stringify(tinySession()) });
    expect((await app.request("/api/sessions", create, bare)).status).toBe(201);
  });
});

describe("sessions without a check", () => {
  it("have none, and nobody has one who is no session", async () => {
    const open = await createSession(tinySession());
    const invited = await createSession({ ...tinySession(), access: { join: "invited", read: "open" } });
    for (const id of [open, invited]) {
      expect(await refusalOf(request(`/api/sessions/${id}/check`))).toEqual({ status: 404, code: "no-check" });
      expect(await refusalOf(post(id, passed(id)))).toEqual({ status: 404, code: "no-check" });
    }
    const nobody = `${"0".repeat(32)}02`;
    expect(await refusalOf(post(nobody, passed(nobody)))).toEqual({ status: 404, code: "unknown-session" });
    expect(await refusalOf(post("nonsense", "x"))).toEqual({ status: 404, code: "unknown-session" });
  });

  it("cannot ask for one and keep readers out", async () => {
    const body = JSON.stringify({ ...tinySession(), access: { join: "checked", read: "invited" } });
    const create = request("/api/sessions", asAdmin({ method: "POST", body }));
    expect(await refusalOf(create)).toEqual({ status: 400, code: "bad-definition" });
  });
});

describe("the page of the check", () => {
  it("is not isolated, and lets in Cloudflare's script and frame and nothing else", async () => {
    const { status, headers } = await request(`/s/${"0".repeat(32)}02/door`);
    expect(status).toBe(200);
    expect(headers.get("Content-Type")).toContain("text/html");
    expect(headers.get("Cross-Origin-Embedder-Policy")).toBeNull();
    expect(headers.get("Cross-Origin-Opener-Policy")).toBeNull();
    expect(headers.get("Cross-Origin-Resource-Policy")).toBe("same-origin");
    expect(headers.get("X-Frame-Options")).toBe("DENY");
    expect(headers.get("Referrer-Policy")).toBe("no-referrer");
    const policy = (headers.get("Content-Security-Policy") ?? "").split(";").map((rule) => rule.trim());
    expect(policy.filter((rule) => rule.includes("http")).sort()).toEqual([
      "frame-src https://challenges.cloudflare.com",
      "script-src 'self' https://challenges.cloudflare.com",
    ]);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy.join()).not.toContain("unsafe");
  });

  it("leaves the session's page isolated, and without Cloudflare's script", async () => {
    const { headers } = await request(`/s/${"0".repeat(32)}02`);
    expect(headers.get("Cross-Origin-Embedder-Policy")).toBe("require-corp");
    expect(headers.get("Cross-Origin-Opener-Policy")).toBe("same-origin");
    expect(headers.get("Content-Security-Policy")).not.toContain("cloudflare");
  });
});
