/** Limits of what one client and one address may send and ask, at the real Worker and the real object. */

import { describe, expect, it } from "vitest";
import { MESSAGES } from "../../coordinator/session/quotas.ts";
import { PROTOCOL_ERRORS } from "../../shared/protocol/messages.ts";
import { BlockRates, RATES } from "../../workers/rate.ts";
import { createSession, FakeClient, request, takePart, tinySession } from "./fleet.ts";

describe("requests of one block", () => {
  it.each(["joins", "reads", "chunks"] as const)(
    "%s are as many as the burst at once, and then so many a second",
    (what) => {
      const rates = new BlockRates(1);
      const { burst, perSecond } = RATES[what];
      const taken = (address: string | undefined, at: number): number =>
        Array.from({ length: 50_000 }, () => rates.take(what, address, at)).filter(Boolean).length;
      expect(taken("203.0.113.7", 0)).toBe(burst);
      expect(taken("203.0.113.8", 0)).toBe(0);
      expect(taken("203.0.113.7", 1_000)).toBe(perSecond);
      expect(taken("203.0.114.7", 1_000)).toBe(burst);
      expect(taken("203.0.113.7", 3_600_000)).toBe(burst);
      expect(taken(undefined, 0)).toBe(50_000);
    },
  );
});

describe("a flood of reads", () => {
  it("is answered 429 with when to come back, while another network reads on", async () => {
    const id = await createSession(tinySession());
    const read = (address: string): Promise<Response> =>
      request(`/api/sessions/${id}/nothing`, { headers: { "CF-Connecting-IP": address } });
    let refused: Response | null = null;
    for (let count = 0; refused === null && count < 3 * RATES.reads.burst; count += 64) {
      const answers = await Promise.all(Array.from({ length: 64 }, () => read("198.51.100.7")));
      refused = answers.find(({ status }) => status === 429) ?? null;
    }
    expect(refused?.headers.get("Retry-After")).toBe("10");
    expect(await refused?.json()).toEqual({
      error: {
        code: "rate-limited",
        message: "your network asks for more than 4096 reads at once and 256 a second: come back in 10 seconds",
      },
    });
    expect((await read("198.51.101.7")).status).toBe(404);
  });
});

describe("a flood of messages", () => {
  it("closes its sender, who is told the limit, and nobody else", async () => {
    const definition = tinySession({ steps: 12 });
    const id = await createSession(definition);
    const honest = new FakeClient(id, definition, "203.0.113.7");
    const training = takePart(honest, 20);
    const noisy = new FakeClient(id, definition, "203.0.113.8");
    await noisy.connect();
    noisy.hello();
    await noisy.ofType("welcome");
    for (let count = 0; count < 2 * MESSAGES.client.burst; count++) noisy.send({ type: "capacity", microBatches: 0 });
    const { code, message } = await noisy.ofType("error");
    expect(code).toBe("rate-limited");
    expect(message).toContain("come back in 10 seconds");
    while (noisy.closed === null) await noisy.changed();
    expect(noisy.closed.code).toBe(PROTOCOL_ERRORS["rate-limited"].close);
    await training;
    expect(honest.error).toBe("finished");
  });
});

describe("a client that only does what it is asked for", () => {
  it("sends many times the limit, and is not limited", async () => {
    const steps = 4 * MESSAGES.client.burst;
    const definition = { ...tinySession({ steps }), epochs: steps };
    const id = await createSession(definition);
    const client = new FakeClient(id, definition, "203.0.113.7");
    await takePart(client);
    expect(client.error).toBe("finished");
    expect(client.sent).toBeGreaterThan(6 * MESSAGES.client.burst);
  });
});
