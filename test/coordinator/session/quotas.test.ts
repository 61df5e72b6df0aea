import { describe, expect, it } from "vitest";
import { Bucket, Buckets } from "../../../coordinator/session/bucket.ts";
import { BYTES, MESSAGES, Quotas, quotaFactorOf } from "../../../coordinator/session/quotas.ts";

const RESULT = 12_000_000;
const HOUR = 3_600_000;

/** How many of these are taken before one is refused, and the refusal's message. */
function untilRefused(act: (index: number) => void, most = 100_000): readonly [taken: number, refusal: string] {
  for (let index = 0; index < most; index++) {
    try {
      act(index);
    } catch (error) {
      expect(error).toMatchObject({ code: "rate-limited" });
      return [index, (error as Error).message];
    }
  }
  return [most, ""];
}

describe("a bucket", () => {
  it("gives its burst at once, then so much a second, and never more than its burst", () => {
    const bucket = new Bucket({ burst: 10, perSecond: 2 }, 0);
    const taken = (now: number): number => Array.from({ length: 50 }, () => bucket.take(1, now)).filter(Boolean).length;
    expect([taken(0), taken(0), taken(1_500), taken(HOUR)]).toEqual([10, 0, 3, 10]);
  });

  it("is not filled by a clock that goes back", () => {
    const bucket = new Bucket({ burst: 1, perSecond: 1 }, 10_000);
    expect(bucket.take(1, 10_000)).toBe(true);
    expect(bucket.take(1, 0)).toBe(false);
    expect(bucket.take(1, 500)).toBe(false);
  });

  it("is kept for the latest keys alone", () => {
    const buckets = new Buckets({ burst: 1, perSecond: 0 }, 100);
    for (let key = 0; key < 1_000; key++) buckets.take(`${key}`, 1, 0);
    expect(buckets.size).toBe(100);
    expect(buckets.take("950", 1, 0)).toBe(false);
    expect(buckets.take("1", 1, 0)).toBe(true);
  });
});

describe("what was asked for", () => {
  it("counts for nothing, however fast a session is: 1,000 steps a second for a minute", () => {
    const quotas = new Quotas(1, RESULT, 0);
    const client = quotas.allowance(0);
    const frames = Math.ceil(RESULT / 1_000_000);
    for (let step = 0; step < 60_000; step++) {
      quotas.expectResult(client);
      quotas.expectAnswer(client);
      quotas.take(client, "block", 40, step);
      for (let frame = 0; frame < frames; frame++) quotas.take(client, "block", RESULT / frames + 64, step);
    }
    // And what it has besides is whole.
    expect(untilRefused(() => quotas.take(client, "block", 0, 60_000))[0]).toBeGreaterThanOrEqual(
      MESSAGES.client.burst,
    );
  });

  it("is a result once, and is not saved up without end", () => {
    const quotas = new Quotas(1, RESULT, 0);
    const client = quotas.allowance(0);
    const most = (results: number): number => Math.ceil((results * RESULT) / 1_000_000) + 2;
    quotas.expectResult(client);
    const [once] = untilRefused(() => quotas.take(client, "", 1_000_000, 0));
    expect(once).toBeLessThanOrEqual(most(1 + BYTES.client.results));
    for (let lease = 0; lease < 1_000; lease++) quotas.expectResult(client);
    const [later] = untilRefused(() => quotas.take(client, "", 1_000_000, 0));
    expect(later).toBeLessThanOrEqual(most(4));
  });
});

describe("what was not asked for", () => {
  it("is limited by client, and refused with the limit and when to come back", () => {
    const quotas = new Quotas(1, RESULT, 0);
    const client = quotas.allowance(0);
    const [taken, refusal] = untilRefused(() => quotas.take(client, "block", 20, 0));
    expect(taken).toBe(MESSAGES.client.burst);
    expect(refusal).toBe(
      "this client sent more than was asked for: at most 128 messages at once and 8 a second are taken; come back in 10 seconds",
    );
    expect(untilRefused(() => quotas.take(client, "block", 20, 10_000))[0]).toBe(10 * MESSAGES.client.perSecond);
  });

  it("is limited by bytes, which leave room for late results", () => {
    const quotas = new Quotas(1, RESULT, 0);
    const [taken, refusal] = untilRefused(
      (() => {
        const client = quotas.allowance(0);
        return () => quotas.take(client, "block", 1_000_000, 0);
      })(),
    );
    expect(taken).toBeGreaterThanOrEqual((BYTES.client.results * RESULT) / 1_000_000);
    expect(taken).toBeLessThan((BYTES.client.results * RESULT) / 1_000_000 + 2);
    expect(refusal).toContain("bytes at once");
  });

  it("is limited by address block over all its clients, greetings included", () => {
    const quotas = new Quotas(1, RESULT, 0);
    const [taken, refusal] = untilRefused(() => quotas.take(null, "one", 100, 0));
    expect(taken).toBe(MESSAGES.block.burst);
    expect(refusal).toContain("your network");
    expect(() => quotas.take(null, "another", 100, 0)).not.toThrow();
  });

  it("is limited for all together, and those who are asked go on", () => {
    const quotas = new Quotas(1, RESULT, 0);
    const worker = quotas.allowance(0);
    quotas.expectResult(worker);
    const [taken, refusal] = untilRefused((index) => quotas.take(null, `block ${index}`, 100, 0));
    expect(taken).toBe(MESSAGES.session.burst);
    expect(refusal).toContain("everyone here together");
    expect(() => quotas.take(worker, "block", RESULT, 0)).not.toThrow();
  });

  it("is limited by nothing but each client's own where no address is known", () => {
    const quotas = new Quotas(1, RESULT, 0);
    expect(untilRefused(() => quotas.take(null, "", 100, 0))[0]).toBe(100_000);
  });
});

describe("the deployment's QUOTAS", () => {
  it.each([
    [undefined, 1],
    ["4", 4],
    ["0.5", 0.5],
    ["0", 1],
    ["-3", 1],
    ["many", 1],
  ])("%s multiplies by %d", (text, factor) => {
    expect(quotaFactorOf(text)).toBe(factor);
    const quotas = new Quotas(quotaFactorOf(text), 1_000, 0);
    const client = quotas.allowance(0);
    expect(untilRefused(() => quotas.take(client, "block", 1, 0))[0]).toBe(MESSAGES.client.burst * factor);
  });

  it("off limits nothing", () => {
    const quotas = new Quotas(quotaFactorOf("off"), 1_000, 0);
    const client = quotas.allowance(0);
    expect(untilRefused(() => quotas.take(client, "block", 1_000_000, 0))[0]).toBe(100_000);
  });
});
