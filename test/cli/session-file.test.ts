import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";
import { locateComplaint } from "../../cli/session-error.ts";
import { moonsCsv, SESSION_SOURCE } from "../../cli/starter.ts";
import { SessionError } from "../../shared/session/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-session-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the real command in the folder; it ends before any coordinator is started. */
async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const bin = join(packageRoot, "bin/commonweight.js");
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [bin, ...args], { cwd: folder });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
}

/** What `train` says of a file with this content. */
async function complaint(name: string, source: string): Promise<string> {
  writeFileSync(join(folder, name), source);
  const { code, stderr } = await run("train", name);
  expect(code).toBe(1);
  return stderr;
}

/** The starter's session file with one thing changed. */
function changed(before: string, after: string): string {
  expect(SESSION_SOURCE).toContain(before);
  return SESSION_SOURCE.replace(before, after);
}

/** Line and column, from 1, of the first place of `text`. */
function placeOf(source: string, text: string): string {
  const before = source.slice(0, source.indexOf(text)).split("\n");
  return `${before.length}:${before.at(-1)!.length + 1}`;
}

describe("errors in a session file point at its line", () => {
  it("TypeScript that does not parse", async () => {
    const source = changed("input: [2],", "input: [2,");
    expect(await complaint("a.ts", source)).toMatch(/^error: a\.ts:\d+:\d+: .*\n +\d+ \| .*\n +\| *\^\n$/);
    expect(await complaint("b.ts", "enum A {\n  B,\n}\n")).toMatch(
      /^error: b\.ts:1:1: TypeScript enum is not supported/,
    );
  });

  it("JavaScript that does not parse", async () => {
    expect(await complaint("c.mjs", "export default {\n  title: 1,,\n};\n")).toBe(
      "error: c.mjs:2:12: Unexpected token ','\n    2 |   title: 1,,\n      |            ^\n",
    );
  });

  it("a name that the package does not export", async () => {
    const text = await complaint(
      "d.ts",
      changed("{ dataset, ", "{ datasets, dataset, ").replace("const datasets", "const d"),
    );
    expect(text).toContain("does not provide an export named 'datasets'");
    expect(text).toMatch(/^error: d\.ts:7:10: /);
  });

  it("of a project whose package.json says commonjs, as npm writes it", async () => {
    mkdirSync(join(folder, "app"));
    writeFileSync(join(folder, "app/package.json"), JSON.stringify({ type: "commonjs" }));
    writeFileSync(join(folder, "app/layers.ts"), `export const width: number = 15;\n`);
    const source = `import { width } from "./layers.ts";\n${changed("nn.linear(16, 2)", "nn.linear(width, 2)")}`;
    expect(await complaint("app/session.ts", source)).toContain("layer 4 (linear): expected input [N, 15]");
  });

  it("layers that do not fit together: the call that builds the model", async () => {
    // Nested so deep that Node's usual ten frames would not reach the file.
    const source = changed("nn.linear(16, 2)", "nn.sequential(nn.sequential(nn.linear(15, 2)))");
    expect(await complaint("e.ts", source)).toBe(
      `error: e.ts:${placeOf(source, "defineSession({\n")}: layer 4.0.0 (linear): expected input [N, 15], got [N, 16]
    9 | export default defineSession({
      |                ^
`,
    );
  });

  it("layers that cannot be: their own line, in a file of the user's that this one imports, too", async () => {
    const source = changed("nn.linear(16, 2)", "nn.linear(16, 0.5)");
    const text = await complaint("f.ts", source);
    expect(text).toMatch(
      new RegExp(`^error: f\\.ts:${placeOf(source, "linear(16, 0.5)")}: linear's output size is 0.5`),
    );
    writeFileSync(
      join(folder, "model.ts"),
      'import { nn } from "commonweight/nn";\nexport const model = nn.dropout(2);\n',
    );
    expect(await complaint("g.ts", `import "./model.ts";\n${SESSION_SOURCE}`)).toMatch(
      /^error: model\.ts:2:25: dropout's/,
    );
  });

  it("what the file itself throws", async () => {
    expect(await complaint("h.ts", "function fail(): never {\n\tthrow new Error('no data');\n}\nfail();\n")).toMatch(
      /^error: h\.ts:2:8: no data\n/,
    );
  });

  it("a session that is well written and still refused: the option, or the definition", async () => {
    const zero = changed("epochs: 40,", "epochs: 0,");
    expect(await complaint("i.ts", zero)).toMatch(new RegExp(`^error: i\\.ts:${placeOf(zero, "epochs: 0")}: epochs: `));
    const overlap = changed("validation: [320, 360]", "validation: [300, 360]");
    expect(await complaint("j.ts", overlap)).toMatch(
      new RegExp(`^error: j\\.ts:${placeOf(overlap, "dataset(")}: data.train and data.validation overlap`),
    );
  });

  it("a column that the data set does not have: where it is named", () => {
    const path = join(folder, "k.ts");
    const source = changed('x: "features"', 'x: "feature"');
    writeFileSync(path, source);
    const refusal = new SessionError("dataset-mismatch", "data.inputs.x: no column feature; there are features, moon");
    expect(locateComplaint(path, refusal).message).toMatch(
      new RegExp(
        `k\\.ts:${placeOf(source, '"feature"')}: data.inputs.x: no column feature; there are features, moon\n`,
      ),
    );
  });

  it("a default export that is no session", async () => {
    expect(await complaint("l.ts", "export default 3;\n")).toBe(
      "error: l.ts: its default export must be defineSession({...})\n",
    );
  });
});

it("a folder whose package.json says nothing of modules, as npm writes it, is no reason for a warning", async () => {
  const project = join(folder, "untyped");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), "{}");
  writeFileSync(join(project, "layers.ts"), "export const layers: number = 3;\n");
  const file = "untyped/session.ts";
  // Warnings are printed a moment after their cause.
  const source = `
    import { layers } from "./layers.ts";
    await new Promise((resolve) => setTimeout(resolve, 100));
    export default layers;`;
  expect(await complaint(file, source)).toBe(`error: ${file}: its default export must be defineSession({...})\n`);
});

describe("init", () => {
  it("writes a session file and its table, says what to do next, and never overwrites unasked", async () => {
    const first = await run("init", "project");
    expect(first.code).toBe(0);
    expect(first.stdout).toContain("npx commonweight train session.ts");
    expect(readFileSync(join(folder, "project/session.ts"), "utf8")).toBe(SESSION_SOURCE);
    writeFileSync(join(folder, "project/session.ts"), "mine");
    const second = await run("init", "project");
    expect(second).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("session.ts and project/moons.csv would be"),
    });
    expect(readFileSync(join(folder, "project/session.ts"), "utf8")).toBe("mine");
    expect((await run("init", "project", "--force")).code).toBe(0);
    expect(readFileSync(join(folder, "project/session.ts"), "utf8")).toBe(SESSION_SOURCE);
  });

  it("makes the same table everywhere: 400 points of two classes", () => {
    const lines = moonsCsv().trimEnd().split("\n");
    expect(lines).toHaveLength(401);
    expect(lines.slice(0, 3)).toEqual(["x,y,moon", expect.stringMatching(/^-?\d\.\d{3},-?\d\.\d{3},upper$/), lines[2]]);
    expect(lines.filter((line) => line.endsWith(",lower"))).toHaveLength(200);
  });
});

it("help lists the commands in groups, and every command's help has examples that it understands", async () => {
  const { stdout } = await run("--help");
  for (const group of ["Train:", "Take part:", "Run a coordinator:"]) expect(stdout).toContain(`\n${group}\n`);
  for (const command of [["init"], ["train"], ["watch"], ["export"], ["dataset", "push"], ["dataset", "list"]]) {
    const help = (await run(...command, "--help")).stdout;
    expect(help).toMatch(new RegExp(`\nExamples:\n  commonweight ${command.join(" ")}`));
  }
});
