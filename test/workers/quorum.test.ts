import { describe, expect, it } from "vitest";
import { createSession, FakeClient, request, takePart, tinySession } from "./fleet.ts";

describe("a session with a quorum", () => {
  it("ends its steps without a client that hangs, and says of how many samples each was made", async () => {
    const definition = { ...tinySession({ steps: 4 }), quorum: 0.5 };
    const id = await createSession(definition);
    const hanging = new FakeClient(id, definition);
    const leases: number[] = [];
    // It answers its calibration, wants little, and then answers nothing any more.
    const hangs = takePart(hanging, 0, ({ work, lease }) => {
      if (work === "train") leases.push(lease);
      else hanging.send({ type: "capacity", microBatches: 1 });
      return work === "train" ? new Promise(() => {}) : {};
    });
    hangs.catch(() => {});
    const begun = Date.now();
    await takePart(new FakeClient(id, definition));
    expect(Date.now() - begun).toBeLessThan(20_000);
    expect(leases.length).toBeGreaterThan(0);
    const { steps } = (await (await request(`/api/sessions/${id}/metrics?after=0`)).json()) as {
      steps: { samples: number }[];
    };
    expect(steps).toHaveLength(4);
    expect(steps.map(({ samples }) => samples)).toEqual([20, 24, 24, 24]);
  });
});
