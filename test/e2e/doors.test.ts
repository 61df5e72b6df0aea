/** The doors from outside: real HTTP and real sockets to a real coordinator. */

import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inviteTo, linkOf } from "../../cli/invitation.ts";
import { joinTraining } from "../../client/node/index.ts";
import { SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";

const PRIVATE = { join: "invited", read: "invited" } as const;

/** Of an upgrade from one of this machine's addresses: 101 if a socket was opened, which is closed at once. */
function knock(url: string, id: string, localAddress: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      "Sec-WebSocket-Protocol": SUBPROTOCOL,
    };
    const asked = request({ hostname, port, path: `/api/sessions/${id}/socket`, headers, localAddress, agent: false });
    asked.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve(response.statusCode ?? 0);
    });
    asked.on("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on("error", reject);
    asked.end();
  });
}

describe("the doors", () => {
  let coordinator: TestCoordinator;

  beforeAll(async () => {
    coordinator = await startTestCoordinator();
  });
  afterAll(() => coordinator?.stop());

  it("let a volunteer train a private session by its link, and nobody without", async () => {
    const { api, url } = coordinator;
    const { id } = await api.createSession(mnistSession({ access: PRIVATE, maxSteps: 4 }));
    const bare = `${url}/s/${id}`;
    await expect(joinTraining(bare, { engine: "wasm", workers: 1 })).rejects.toMatchObject({ code: "not-invited" });
    const { link: watching } = await inviteTo(api, id, "observe", 60);
    await expect(joinTraining(watching, { engine: "wasm", workers: 1 })).rejects.toMatchObject({ code: "not-invited" });
    const volunteer = await joinTraining(await linkOf(api, id), { engine: "wasm", workers: 1 });
    await untilDone(api, id);
    expect((await volunteer.finished).outcome).toBe("finished");
    for (const route of ["", "/metrics", "/weights/latest", "/weights/best"]) {
      expect((await fetch(`${url}/api/sessions/${id}${route}`)).status, route).toBe(401);
    }
  });

  it("have policies that allow no inline code, no frames and no other host, on every kind of answer", async () => {
    const { url } = coordinator;
    for (const path of ["/", `/s/${"0".repeat(32)}`, "/bench", "/api/health", "/api/sessions", "/no/such/route"]) {
      const { headers } = await fetch(url + path, { redirect: "manual" });
      expect(headers.get("X-Powered-By"), path).toBeNull();
      if (path === "/" || path === "/no/such/route") continue;
      const policy = headers.get("Content-Security-Policy") ?? "";
      expect(policy, path).toContain("default-src 'none'");
      expect(policy, path).toContain("frame-ancestors 'none'");
      expect(policy.replace("'wasm-unsafe-eval'", ""), path).not.toContain("unsafe-");
      expect(headers.get("X-Content-Type-Options"), path).toBe("nosniff");
      expect(headers.get("Referrer-Policy"), path).toBe("no-referrer");
    }
  });

  it("tell nothing of the inside where something is wrong", async () => {
    const { url } = coordinator;
    for (const path of ["/api/sessions/%00", "/api/sessions/..%2f..", "/api/chunks/x", "/api/datasets/%ff"]) {
      const text = await (await fetch(url + path)).text();
      expect(text, path).not.toMatch(/\bat .*:\d+|\.ts\b|\.js\b|workerd|SQLITE/);
    }
  });

  it("refuse a flood from one address while another trains on", async () => {
    const { api, url, frontDoor } = coordinator;
    const { id } = await api.createSession(mnistSession({ maxSteps: 12 }));
    const volunteer = await joinTraining(`${url}/s/${id}`, { engine: "wasm", workers: 1 });
    const count = Number(process.env.COMMONWEIGHT_FLOOD ?? 1_000);
    const statuses = new Map<number, number>();
    let waiting = count;
    const knocker = async (): Promise<void> => {
      while (waiting-- > 0) {
        const status = await knock(frontDoor, id, "127.0.0.66");
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    const began = performance.now();
    await Promise.all(Array.from({ length: 32 }, knocker));
    const seconds = (performance.now() - began) / 1_000;
    console.log(`${count} joins in ${seconds.toFixed(1)} s: ${JSON.stringify(Object.fromEntries(statuses))}`);
    expect(statuses.get(101) ?? 0).toBeLessThanOrEqual(512 + 32 * Math.ceil(seconds));
    expect(statuses.get(429) ?? 0).toBe(count - (statuses.get(101) ?? 0));
    expect(await knock(frontDoor, id, "127.0.0.67")).toBe(101);
    await untilDone(api, id);
    expect((await volunteer.finished).outcome).toBe("finished");
  });
});
