/** What limits and counts by the coordinator's clock, when that is set a day ahead or a day back. */

import { describe, expect, it } from "vitest";
import { Bucket } from "../../../coordinator/session/bucket.ts";
import { Downloads } from "../../../coordinator/session/downloads.ts";
import { Ledger } from "../../../coordinator/session/ledger.ts";
import { MESSAGES, Quotas } from "../../../coordinator/session/quotas.ts";
import { Meter } from "../../../coordinator/store/meter.ts";

const DAY = 86_400_000;
const NOW = 20 * DAY;

describe("a clock that is set", () => {
  it("refuses no honest client: whatever is asked for is free, and the rest fills up from where the clock stands", () => {
    for (const jump of [DAY, -DAY]) {
      const quotas = new Quotas(1, 1_000, NOW);
      const client = quotas.allowance(NOW);
      const take = (now: number) => quotas.take(client, "block", 40, now);
      for (let count = 0; count < MESSAGES.client.burst; count++) take(NOW);
      quotas.expectResult(client);
      take(NOW + jump);
      if (jump < 0) expect(() => take(NOW + jump)).toThrow("come back");
      for (let count = 0; count < MESSAGES.client.perSecond; count++) take(NOW + jump + 1_000);
    }
  });

  it("gives a flood no more than its burst once more", () => {
    const bucket = new Bucket({ burst: 10, perSecond: 1 }, NOW);
    const taken = (now: number): number => Array.from({ length: 50 }, () => bucket.take(1, now)).filter(Boolean).length;
    expect([taken(NOW), taken(NOW + DAY), taken(NOW), taken(NOW - DAY)]).toEqual([10, 10, 0, 0]);
  });

  it("counts no day that was not, and goes on counting", () => {
    for (const jump of [DAY, -DAY]) {
      const meter = new Meter();
      meter.keepAwake(NOW);
      meter.keepAwake(NOW + jump);
      meter.keepAwake(NOW + jump + 500);
      expect(meter.counts.activeSeconds).toBe(2.5);
    }
  });

  it("lets a reader that stands still give way all the same", async () => {
    const downloads = new Downloads(new Ledger());
    const total = 30_000_000;
    const body = () => ({ total, sections: [{ offset: 0, bytes: new Uint8Array(total) }] });
    const open = (name: string, now: number) => downloads.open(name, now, total, body);
    let most = 0;
    while (open(`version ${most}`, NOW) !== null) most += 1;
    expect(most).toBeGreaterThan(0);
    expect(open("next", NOW + 1_000)).toBeNull();
    expect(open("next", NOW - DAY)).not.toBeNull();
  });
});
