import { base64url, SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { PROTOCOL_ERRORS, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { type Access, type Capability, doorsOf } from "../../shared/session/access.ts";
import type { SessionCost } from "../../shared/session/cost.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { signToken } from "../../workers/tokens.ts";
import { asAdmin, createSession, FakeClient, request, takePart, testEnv, tinySession } from "./fleet.ts";

const guarded = (access: Access): SessionDefinition => ({ ...tinySession({ steps: 2 }), access });
const INVITED = guarded({ join: "invited", read: "open" });
const PRIVATE = guarded({ join: "invited", read: "invited" });

/** Ten thousand of each: `npm run fuzz -- --forged 10000`. */
const FORGED = 300;

const now = (): number => Math.floor(Date.now() / 1000);

async function invite(session: string, capability: Capability = "join", expiresIn = 60): Promise<string> {
  const body = JSON.stringify({ capability, expiresIn });
  const response = await request(`/api/sessions/${session}/invitations`, asAdmin({ method: "POST", body }));
  expect(response.status).toBe(201);
  return ((await response.json()) as { token: string }).token;
}

const withToken = (token: string, init: RequestInit = {}): RequestInit => ({
  ...init,
  headers: { Authorization: `Bearer ${token}` },
});

async function codeOf(path: string, init: RequestInit): Promise<string> {
  const response = await request(path, init);
  if (response.ok) return "";
  return ((await response.json()) as { error: { code: string } }).error.code;
}

/** What the socket says to who comes with these subprotocols: the error's code and the first word of its message. */
async function knock(session: string, ...protocols: string[]): Promise<string> {
  const client = new FakeClient(session, INVITED);
  await client.connect([SUBPROTOCOL, ...protocols].join(", "));
  client.hello();
  const word = await client.next((message) => {
    if (message.type === "welcome") return "welcome";
    return message.type === "error" ? `${message.code} ${message.message.split(":")[0]}` : undefined;
  });
  if (word === "welcome") client.drop();
  else {
    while (client.closed === null) await client.changed();
    expect(client.closed.code).toBe(PROTOCOL_ERRORS["not-invited"].close);
  }
  return word;
}

const unsigned = (session: string): string => {
  const part = (value: object): string => base64url.encode(JSON.stringify(value));
  const claims = { cap: "join", gen: 0, aud: session, exp: now() + 60 };
  return `${part({ alg: "none", typ: "commonweight" })}.${part(claims)}.`;
};

const ofOtherKey = (session: string): Promise<string> =>
  signToken("another secret", { session, capability: "join", generation: 0, expires: now() + 60 });

/** The secret itself as the key, as who knows how tokens are made but not that keys are derived would try. */
const ofUnderivedKey = (session: string): Promise<string> =>
  new SignJWT({ cap: "join", gen: 0 })
    .setProtectedHeader({ alg: "HS256", typ: "commonweight" })
    .setAudience(session)
    .setExpirationTime("1m")
    .sign(new TextEncoder().encode(testEnv.ADMIN_SECRET));

const expired = (session: string): Promise<string> =>
  signToken(testEnv.ADMIN_SECRET, { session, capability: "join", generation: 0, expires: now() - 1 });

const changed = async (session: string): Promise<string> => {
  const [head, , signature] = (await invite(session, "observe")).split(".");
  const claims = { cap: "join", gen: 0, aud: session, exp: now() + 60 };
  return `${head}.${base64url.encode(JSON.stringify(claims))}.${signature}`;
};

const REFUSED: readonly (readonly [what: string, code: string, make: (session: string) => string | Promise<string>])[] =
  [
    ["without a signature", "token-invalid", unsigned],
    ["signed with another secret", "token-invalid", ofOtherKey],
    ["signed with the secret itself", "token-invalid", ofUnderivedKey],
    ["with changed claims", "token-invalid", changed],
    ["that is none", "token-invalid", () => "x.y.z"],
    ["that is far too long", "token-invalid", async (session) => `${await invite(session)}${"A".repeat(1_000)}`],
    ["that has expired", "token-expired", expired],
    ["for another session", "token-session", async () => invite(await createSession(INVITED))],
  ];

describe("a session by invitation", () => {
  it("says so in its id, which cannot be changed to one that is open", async () => {
    const id = await createSession(PRIVATE);
    expect(doorsOf(id)).toEqual({ join: "invited", read: "invited" });
    for (const other of [id.slice(0, 32), `${id.slice(0, 32)}01`, `${id}00`]) {
      expect(await codeOf(`/api/sessions/${other}`, {})).toBe("unknown-session");
    }
  });

  it("lets in who holds an invitation, over sockets and over HTTP", async () => {
    const id = await createSession(PRIVATE);
    const token = await invite(id);
    expect(await knock(id, `bearer.${token}`)).toBe("welcome");
    expect((await request(`/api/sessions/${id}`, withToken(token))).status).toBe(200);
  });

  it("refuses who holds none, before its object wakes", async () => {
    const id = await createSession(INVITED);
    const calls = async (): Promise<number> => {
      const described = (await (await request(`/api/sessions/${id}`)).json()) as { cost: SessionCost };
      return described.cost.usage.requests;
    };
    const before = await calls();
    for (let attempt = 0; attempt < 5; attempt++) {
      expect(await knock(id)).toBe("not-invited token-missing");
      expect(await knock(id, `bearer.${await ofOtherKey(id)}`)).toBe("not-invited token-invalid");
    }
    // The question itself, and nothing else.
    expect(await calls()).toBe(before + 1);
  });

  it.each(REFUSED)("refuses a token %s: %s", async (_, code, make) => {
    const id = await createSession(PRIVATE);
    const token = await make(id);
    expect(await knock(id, `bearer.${token}`)).toBe(`not-invited ${code}`);
    for (const route of ["", "/metrics", "/weights/latest", "/weights/1", `/chunks/${"0".repeat(64)}`]) {
      expect(await codeOf(`/api/sessions/${id}${route}`, withToken(token)), route).toBe(code);
    }
  });

  it("lets an observer read and not join, and neither an observer nor a volunteer control", async () => {
    const id = await createSession(PRIVATE);
    const [observer, volunteer, admin] = [await invite(id, "observe"), await invite(id), await invite(id, "admin")];
    expect(await knock(id, `bearer.${observer}`)).toBe("not-invited token-capability");
    expect(await codeOf(`/api/sessions/${id}/weights/latest`, withToken(observer))).toBe("");
    const pause = (token: string) =>
      codeOf(`/api/sessions/${id}/control`, withToken(token, { method: "POST", body: '{"action":"pause"}' }));
    expect(await pause(observer)).toBe("token-capability");
    expect(await pause(volunteer)).toBe("token-capability");
    expect(await pause(admin)).toBe("");
    // Nor does an admin of one session have a say in another, or create one.
    const other = await createSession(PRIVATE);
    const remove = withToken(admin, { method: "DELETE" });
    expect(await codeOf(`/api/sessions/${other}`, remove)).toBe("token-session");
    expect(await codeOf("/api/sessions", withToken(admin, { method: "POST", body: "{}" }))).toBe("unauthorized");
    expect(await codeOf(`/api/sessions/${id}`, remove)).toBe("");
  });

  it("takes its invitations back: who came by one leaves, and it is good for nothing more", async () => {
    const id = await createSession(PRIVATE);
    const token = await invite(id);
    const client = new FakeClient(id, PRIVATE);
    await client.connect(`${SUBPROTOCOL}, bearer.${token}`);
    client.hello();
    await client.ofType("welcome");
    const revoked = await request(`/api/sessions/${id}/invitations`, asAdmin({ method: "DELETE" }));
    expect(await revoked.json()).toEqual({ generation: 1, closed: 1 });
    expect((await client.ofType("error")).code).toBe("not-invited");
    expect(await knock(id, `bearer.${token}`)).toBe("not-invited token-revoked");
    expect(await codeOf(`/api/sessions/${id}/weights/latest`, withToken(token))).toBe("token-revoked");
    expect(await knock(id, `bearer.${await invite(id)}`)).toBe("welcome");
  });

  it("is never kept by anything in between", async () => {
    const id = await createSession(PRIVATE);
    const token = await invite(id, "observe");
    for (const route of ["", "/metrics", "/weights/latest", "/weights/1"]) {
      const response = await request(`/api/sessions/${id}${route}`, withToken(token));
      expect(response.headers.get("Cache-Control"), route).toBe("private, no-store");
      await response.body?.cancel();
    }
  });

  it("accepts none of some hundred forged tokens", async () => {
    const id = await createSession(PRIVATE);
    const good = await invite(id);
    const seed = 7;
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const { readToken } = await import("../../workers/tokens.ts");
    let accepted = 0;
    for (let attempt = 0; attempt < FORGED; attempt++) {
      const letters = [...good];
      // The last letter of a signature has bits that mean nothing: changed alone they are no forgery.
      for (let change = 0; change <= random(3); change++) {
        const at = random(letters.length - 1);
        letters[at] = alphabet[(alphabet.indexOf(letters[at]) + 1 + random(63)) % 64];
      }
      const forged = attempt % 4 === 0 ? await ofOtherKey(id) : letters.join("");
      if (forged === good) continue;
      await readToken(testEnv.ADMIN_SECRET, forged, id, "observe").then(
        () => {
          accepted += 1;
        },
        (error: { code: string }) => expect(error.code, `seed ${seed}, ${attempt}: ${forged}`).toBe("token-invalid"),
      );
    }
    expect(accepted).toBe(0);
  });
});

describe("a resume key", () => {
  it("is accepted for none of some hundred that are forged", async () => {
    const id = await createSession(tinySession());
    const owner = new FakeClient(id, tinySession());
    await owner.connect();
    owner.hello();
    const { client, resumeKey } = await owner.ofType("welcome");
    let accepted = 0;
    const forge = async (): Promise<void> => {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      const forged = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
      if (forged === resumeKey) return;
      const thief = new FakeClient(id, tinySession());
      await thief.connect();
      thief.identity = { client, resumeKey: forged };
      thief.hello();
      const code = await thief.next((message) =>
        message.type === "welcome" ? "" : message.type === "error" ? message.code : undefined,
      );
      if (code !== "wrong-resume-key") accepted += 1;
    };
    for (let round = 0; round < FORGED / 50; round++) await Promise.all(Array.from({ length: 50 }, forge));
    expect(accepted).toBe(0);
    expect(owner.closed).toBeNull();
  });
});

describe("a session for some pages only", () => {
  const access: Access = { join: "open", read: "open", origins: ["https://example.org"] };
  const from = async (session: string, origin: string | null, token?: string): Promise<string> => {
    const protocols = [SUBPROTOCOL, ...(token === undefined ? [] : [`bearer.${token}`])].join(", ");
    const headers: Record<string, string> = { Upgrade: "websocket", "Sec-WebSocket-Protocol": protocols };
    if (origin !== null) headers.Origin = origin;
    const client = new FakeClient(session, guarded(access));
    await client.connect(protocols, headers);
    client.hello();
    const word = await client.next((message) =>
      message.type === "welcome" ? "welcome" : message.type === "error" ? message.code : undefined,
    );
    client.drop();
    return word;
  };

  it("takes clients from them, and others only by invitation if they have no page at all", async () => {
    const id = await createSession(guarded(access));
    expect(await from(id, "https://example.org")).toBe("welcome");
    expect(await from(id, "https://evil.example")).toBe("wrong-origin");
    expect(await from(id, "https://evil.example", await invite(id))).toBe("wrong-origin");
    expect(await from(id, null)).toBe("not-invited");
    expect(await from(id, null, await invite(id))).toBe("welcome");
  });

  it("refuses what is no origin, and to let those join who may not read", async () => {
    for (const wrong of [
      { join: "open", read: "open", origins: ["https://example.org/path"] },
      { join: "open", read: "open", origins: [] },
      { join: "open", read: "invited" },
    ]) {
      const body = JSON.stringify({ ...tinySession(), access: wrong });
      expect(await codeOf("/api/sessions", asAdmin({ method: "POST", body }))).toBe("bad-definition");
    }
  });
});

describe("sessions as they were", () => {
  it("go on with the link alone", async () => {
    const id = await createSession(tinySession({ steps: 2 }));
    const client = new FakeClient(id, tinySession({ steps: 2 }));
    await takePart(client);
    expect(client.error).toBe("finished");
  });
});
