import { expect, it } from "vitest";
import { reloadIfOld } from "../../client/page/reload.ts";

it("a page that is too old for its coordinator loads itself anew, once", () => {
  const kept = new Map<string, string>();
  let reloads = 0;
  const page = {
    sessionStorage: {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => void kept.set(key, value),
    },
    location: { reload: () => reloads++ },
  } as never;
  const now = 1_800_000_000_000;
  expect(reloadIfOld("network", page, now)).toBe(false);
  expect(reloadIfOld(null, page, now)).toBe(false);
  expect(reloadIfOld("protocol-version", page, now)).toBe(true);
  expect(reloadIfOld("protocol-version", page, now + 10_000)).toBe(false);
  // The next upgrade is another matter.
  expect(reloadIfOld("protocol-version", page, now + 100_000)).toBe(true);
  // A clock that was set back says nothing of when it was.
  expect(reloadIfOld("protocol-version", page, now - 86_400_000)).toBe(true);
  expect(reloads).toBe(3);
  const forgetful = {
    sessionStorage: {
      getItem: () => {
        throw new Error("no storage");
      },
    },
    location: page,
  } as never;
  expect(reloadIfOld("protocol-version", forgetful, now)).toBe(false);
});
