import { describe, expect, it } from "vitest";
import { Chance } from "../coordinator/round/timeline.ts";
import { ATTACKS, honestReply } from "../hostile/attacks.ts";
import { Coordinator } from "../hostile/coordinator.ts";
import { visit } from "../hostile/guest.ts";
import { LIES } from "../hostile/lies.ts";
import { judge, meet } from "../hostile/volunteer.ts";

const SESSIONS = 8;

describe("a client that is given a hostile session (I10)", () => {
  it("takes part in the honest ones that they are made of", () => {
    for (let seed = 0; seed < 8; seed++) {
      const body = new TextEncoder().encode(JSON.stringify(honestReply(new Chance(seed))));
      expect(judge(body)).toMatchObject({ code: null, above: 0 });
    }
  });

  it.each(Object.keys(ATTACKS))("refuses it with a reason, or computes within its budget: %s", (attack) => {
    const verdicts = Array.from({ length: SESSIONS }, (_, seed) => meet(1_000 + seed, attack));
    expect(verdicts.filter(({ above }) => above > 0)).toEqual([]);
    expect(verdicts.some(({ code }) => code !== null)).toBe(true);
  });

  it("says what is wrong in few words, however long what it quotes is", () => {
    for (let seed = 0; seed < 30; seed++) expect(meet(seed, "length").message.length).toBeLessThanOrEqual(500);
  });
});

describe("a client whose coordinator lies, over real sockets (I10)", () => {
  const visitNew = async (seed: number, lie: string) => {
    const coordinator = await Coordinator.start();
    try {
      return await visit(coordinator, seed, lie);
    } finally {
      await coordinator.stop();
    }
  };

  it("computes for one that does not", async () => {
    const { microBatches, above, code } = await visitNew(0, "none");
    expect({ above, code }).toEqual({ above: 0, code: null });
    expect(microBatches).toBeGreaterThan(0);
  });

  it.concurrent.each(Object.keys(LIES))(
    "says what is wrong, or computes within its share, and leaves: %s",
    async (lie) => {
      const seed = 2_000;
      expect(await visitNew(seed, lie)).toMatchObject({ above: 0 });
    },
  );
});
