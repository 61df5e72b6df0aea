import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createDisplay } from "../../cli/display.ts";
import { plain, plainJson, plainLines } from "../../cli/foreign-text.ts";
import { packageRoot } from "../../cli/root.ts";
import type { Progress } from "../../shared/protocol/messages.ts";

/** Characters that could do something to a terminal, or to the order of what it shows: ranges of code points. */
const HARMFUL = [
  [0x00, 0x1f],
  [0x7f, 0x9f],
  [0x61c, 0x61c],
  [0x200e, 0x200f],
  [0x2028, 0x202e],
  [0x2066, 0x2069],
] as const;

const harmIn = (text: string): string[] =>
  [...text].filter((character) => {
    const code = character.codePointAt(0)!;
    return HARMFUL.some(([from, to]) => from <= code && code <= to);
  });

it("text of several lines keeps its lines and tabs, and nothing else that a terminal acts on", () => {
  expect(plainLines("a\u001b[31mb\r\n\tc\u202ed\u2028e 🐋")).toBe("a[31mb\n\tcde 🐋");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(harmIn(plainLines(text)).filter((character) => character !== "\n" && character !== "\t")).toEqual([]);
    }),
  );
});

const HOSTILE = "\u001b[2J\u001b]0;owned\u0007evil\r\n\u009b31mred\u202egnp.exe\u2066\u200f\u0000\u0085end";

it("escape sequences, control characters and marks of direction are taken out, and text stays", () => {
  expect(plain(HOSTILE)).toBe("evil redgnp.exe end");
  expect(plain("Handgeschriebene Ziffern, 手書き数字, أرقام 🎉")).toBe(
    "Handgeschriebene Ziffern, 手書き数字, أرقام 🎉",
  );
  expect(plain(undefined)).toBe("undefined");
});

it("is one line of at most the limit, whatever comes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 300 }), fc.integer({ min: 1, max: 40 }), (text, limit) => {
      const shown = plain(text, limit);
      expect(harmIn(shown)).toEqual([]);
      expect([...shown].length).toBeLessThanOrEqual(limit);
      expect(shown.isWellFormed()).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

it("a megabyte is cut, and what was cut off is not looked at", () => {
  const shown = plain("\u001b[31m".repeat(200_000) + "x".repeat(1_000_000));
  expect(shown.length).toBeLessThanOrEqual(200);
  expect(plain("x".repeat(1_000_000), 10)).toBe("xxxxxxxxx…");
});

it("lines for machines keep their values and hold no harmful character", () => {
  const line = plainJson({ title: HOSTILE });
  expect(harmIn(line)).toEqual([]);
  expect(JSON.parse(line)).toEqual({ title: HOSTILE });
});

it("the display shows hostile titles, devices and reasons as text, and redraws no more lines than it drew", () => {
  const written: string[] = [];
  const screen = { isTTY: true, columns: 100, rows: 20, write: (text: string) => written.push(text) };
  const display = createDisplay({ json: false }, { stdout: screen, stderr: screen });
  const client = {
    id: HOSTILE,
    name: HOSTILE,
    engine: "wasm",
    device: HOSTILE.repeat(50),
    samples: 1,
    speed: 1,
    state: "ready",
  } as const;
  const progress: Progress = {
    type: "progress",
    stage: "train",
    status: "paused",
    reason: HOSTILE,
    step: 1,
    totalSteps: 2,
    epoch: 0,
    version: 1,
    loss: 1,
    metrics: {},
    validation: null,
    samplesPerSecond: 1,
    clientCount: 1,
    clients: [client],
  };
  const title = `${HOSTILE}${"a".repeat(1_000_000)}`;
  display.show({ title, url: "u", progress, epochs: 1, clients: [client], elapsed: 0, left: null });
  const lines = written.join("").trimEnd().split("\n");
  expect(lines).toHaveLength(4);
  for (const line of lines) {
    expect(harmIn(line)).toEqual([]);
    expect(line.length).toBeLessThan(100);
  }
});

it("a coordinator's refusal reaches the terminal as text", async () => {
  const server = createServer((_request, response) => {
    response.writeHead(418, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { code: HOSTILE, message: HOSTILE + "x".repeat(1_000_000) } }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const bin = join(packageRoot, "bin/commonweight.js");
    const failure = await promisify(execFile)(process.execPath, [bin, "dataset", "list", "--server", url]).catch(
      (error: { stderr: string }) => error,
    );
    expect(failure.stderr).toContain("evil redgnp.exe end");
    expect(harmIn(failure.stderr.trimEnd())).toEqual([]);
    expect(failure.stderr.length).toBeLessThan(1_000);
  } finally {
    server.close();
  }
});

it("a file that an error quotes reaches the terminal as text", async () => {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-foreign-"));
  try {
    const file = join(folder, "table.csv");
    writeFileSync(file, "x,\u001b[31mred\u202e\n1,2\n");
    const bin = join(packageRoot, "bin/commonweight.js");
    const args = [bin, "dataset", "push", "d", "--csv", file, "--target", "y"];
    const failure = await promisify(execFile)(process.execPath, args).catch((error: { stderr: string }) => error);
    expect(failure.stderr).toContain('there is no column "y"; there are x, red');
    expect(harmIn(failure.stderr.trimEnd())).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
