import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { OPSETS } from "../../../shared/onnx/model.ts";
import { IMPORTED } from "../../../shared/onnx/module.ts";
import { UNSUPPORTED } from "../../../shared/onnx/unsupported.ts";

const page = readFileSync(join(import.meta.dirname, "../../../docs/onnx.md"), "utf8");
const rows = page.split("\n").filter((line) => line.startsWith("| "));
const opsOf = (row: string): string[] => [...row.matchAll(/`(\w+)`/g)].map(([, op]) => op!);
const border = rows.findIndex((row) => row.startsWith("| not imported"));

describe("docs/onnx.md", () => {
  it("lists every op that is imported, and those of shapes and constants apart", () => {
    const imported = rows.slice(0, border);
    const folded = imported.filter((row) => row.startsWith("| of shapes and constants only"));
    expect(folded.flatMap(opsOf).sort()).toEqual([...IMPORTED.folded].sort());
    const computed = imported.filter((row) => !folded.includes(row));
    expect(computed.flatMap(opsOf).sort()).toEqual([...IMPORTED.computed].sort());
  });

  it("lists every other op of ONNX with the reason that errors give", () => {
    const listed = rows
      .slice(border + 1)
      .flatMap((row) => opsOf(row).map((op) => [op, row.split(" | ")[1]!.slice(0, -2)]));
    expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(UNSUPPORTED));
  });

  it("says which opsets are read", () => {
    expect(page).toContain(`Opsets ${OPSETS.least} to ${OPSETS.most} are read`);
  });
});
