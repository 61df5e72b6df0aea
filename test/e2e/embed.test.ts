import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build as esbuild } from "esbuild";
import { type Browser, chromium, type Page } from "playwright-core";
import { build as vite } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { packageRoot } from "../../cli/root.ts";
import type {} from "../../client/element/index.ts";
import type { Summary } from "../../client/index.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { type Hosting, type Loaded, type Site, serveSite, type Visit, visit } from "./foreign-site.ts";
import { installPackage, lend, type Packed, packPackage } from "./package.ts";

const manifest = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8"));

const MINUTES = 60_000;
const STEPS = 4;

/** An application of a few lines; what it saw is left where the test finds it. */
const APP = `
import { joinTraining } from "commonweight";
const query = new URLSearchParams(location.search);
const seen = (window.seen = { firstGradient: null, summary: null, error: null });
try {
  const training = await joinTraining(query.get("session"), { engine: query.get("engine") });
  const gradients = new Set();
  training.on("result", ({ lease, work }) => work === "train" && gradients.add(lease));
  training.on("receipt", ({ lease, accepted }) => {
    if (accepted && gradients.has(lease)) seen.firstGradient ??= performance.now();
  });
  seen.summary = await training.finished;
} catch (error) {
  seen.error = String(error);
}
`;
const HTML = `<!doctype html><html lang="en"><meta charset="utf-8"><title>App</title>
<script type="module" src="./main.js"></script></html>`;

interface Seen {
  /** Milliseconds since the page began to load. */
  readonly firstGradient: number | null;
  readonly summary: Summary | null;
  readonly error: string | null;
}

/** Builds the application in `folder` into the folder that is answered. */
const BUNDLERS = {
  Vite: async (folder: string): Promise<string> => {
    const outDir = join(folder, "built-by-vite");
    await vite({ root: folder, configFile: false, logLevel: "warn", build: { outDir } });
    return outDir;
  },
  esbuild: async (folder: string): Promise<string> => {
    const outdir = join(folder, "built-by-esbuild");
    const entryPoints = [join(folder, "main.js")];
    await esbuild({ entryPoints, bundle: true, format: "esm", minify: true, outdir, logLevel: "warning" });
    cpSync(join(folder, "index.html"), join(outdir, "index.html"));
    return outdir;
  },
} as const;

const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(0)} kB`;
const sum = (loaded: readonly Loaded[]): number => loaded.reduce((total, { bytes }) => total + bytes, 0);

let scratch: string;
let packed: Packed;
let installed: string[];
/** A folder with the package in its node_modules and nothing else. */
let app: string;
let coordinator: TestCoordinator;
let browser: Browser;
const sites: Site[] = [];

beforeAll(async () => {
  const executablePath = findBrowser();
  if (executablePath === null) throw new Error(`these tests need a browser: ${BROWSER_HINT}`);
  scratch = mkdtempSync(join(tmpdir(), "commonweight-embed-"));
  packed = await packPackage(scratch);
  app = join(scratch, "app");
  installed = await installPackage(app, packed.tarball);
  coordinator = await startTestCoordinator();
  browser = await chromium.launch({ executablePath, args: [...BROWSER_FLAGS] });
}, 15 * MINUTES);

afterAll(async () => {
  await browser?.close();
  await Promise.all(sites.map((site) => site.stop()));
  await coordinator?.stop();
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
});

/** More steps than anyone waits for. */
const ENDLESS = 20_000;

/** A session's link. */
async function createLink(maxSteps = STEPS): Promise<string> {
  const { id } = await coordinator.api.createSession(mnistSession({ maxSteps, epochs: 100 }));
  return `${coordinator.url}/s/${id}`;
}

const idOf = (link: string): string => link.split("/").at(-1)!;

async function open(folder: string, hosting: Hosting, link: string, engine: "wasm" | "webgpu"): Promise<Visit> {
  const site = await serveSite(folder, hosting, coordinator.url);
  sites.push(site);
  return visit(browser, `${site.url}?session=${encodeURIComponent(link)}&engine=${engine}`);
}

/** Code comes from the page's own origin alone. */
async function expectOwnCode({ page, loaded: all }: Visit): Promise<void> {
  const loaded = await all();
  const { origin } = new URL(page.url());
  const code = loaded.filter(({ isScript, type }) => isScript || type.includes("javascript"));
  expect(code.length).toBeGreaterThan(0);
  for (const { url } of code) expect(url.replace(/^blob:/, "").startsWith(`${origin}/`), url).toBe(true);
  // The workers were followed as well: the data came to one.
  expect(loaded.some(({ url }) => url.startsWith(coordinator.url) && url.includes("/chunks/"))).toBe(true);
}

/** What the package is made and tested with. */
const TOOLS = new Set(Object.keys(manifest.devDependencies));

/** Options of an application's compiler, without any that would overlook a mistake. */
const STRICT = "--strict --noEmit --target es2024 --module esnext --moduleResolution bundler".split(" ");

describe("the package as npm installs it", () => {
  it("brings none of the tools that it was made with", () => {
    const { bytes, unpackedBytes } = packed;
    const size = Number(execFileSync("du", ["-sk", join(app, "node_modules")], { encoding: "utf8" }).split("\t")[0]);
    console.log(`package: ${kilobytes(bytes)}, unpacked ${kilobytes(unpackedBytes)}`);
    console.log(`installed with it: ${installed.join(", ")}; ${kilobytes(size * 1024)} in all`);
    expect(installed).toEqual(expect.arrayContaining(["commonweight", ...Object.keys(manifest.dependencies)]));
    // wrangler, node, miniflare, vite and the rest; workerd would come with one of them.
    expect(installed.filter((name) => TOOLS.has(name) || name === "workerd")).toEqual([]);
  });

  it("trains through its own local coordinator, with miniflare beside it", { timeout: 10 * MINUTES }, async () => {
    const folder = join(scratch, "researcher");
    await installPackage(folder, packed.tarball, ["miniflare"]);
    cpSync(join(packageRoot, "examples/neural-net.ts"), join(folder, "session.ts"));
    const bin = join(folder, "node_modules/commonweight/bin/commonweight.js");
    const command = ["train", "session.ts", "--volunteers", "1", "--node", "--steps", "5"];
    const output = execFileSync(process.execPath, [bin, ...command], { cwd: folder, encoding: "utf8" });
    expect(output).toMatch(/finished: 5 steps/);
    expect(existsSync(join(folder, "model.safetensors"))).toBe(true);
  });

  it("trains in a researcher's own program, by commonweight/local, whose types hold", {
    timeout: 10 * MINUTES,
  }, async () => {
    const folder = join(scratch, "program");
    await installPackage(folder, packed.tarball, ["miniflare"]);
    const program = `
      import { type LocalOutcome, LocalError, startLocal } from "commonweight/local";
      import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";
      const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
      await using local = await startLocal();
      const session = await local.create(
        defineSession({
          title: "Program", model: nn.linear(1, 1), input: [1], loss: loss.mse(), optimizer: optim.sgd({ lr: 0.1 }),
          data: dataset("rows", { x: "x", y: "y", train: [0, 64] }), batchSize: 64, epochs: 5,
        }),
        { datasets: { rows: { columns: { x: { values: x, shape: [1] }, y: { values: x, shape: [1] } } } } },
      );
      const outcome: LocalOutcome = await session.train({ clients: 2, onProgress: ({ step }) => step.toFixed() });
      const weight: Float32Array | undefined = (await session.weights()).get("weight")?.values;
      const refused = await session.save("model.txt").catch((error: unknown) => error instanceof LocalError && error.code);
      console.log(outcome.steps, outcome.weightsHash?.length, weight?.length, (await session.predict({ x: [1] })).length, refused);
      // @ts-expect-error: there is no such engine in Node
      session.train({ engine: "webgpu" }).catch(() => {});`;
    writeFileSync(join(folder, "program.ts"), program);
    const output = execFileSync(process.execPath, ["program.ts"], { cwd: folder, encoding: "utf8" });
    expect(output).toBe("5 64 1 1 invalid-argument\n");
    const tsc = join(packageRoot, "node_modules/.bin/tsc");
    execFileSync(tsc, [...STRICT, "--types", "", "program.ts"], { cwd: folder, stdio: "pipe" });
  });

  it("has types that an application's own compiler accepts", () => {
    const folder = join(scratch, "typed");
    mkdirSync(folder);
    writeFileSync(
      join(folder, "app.ts"),
      `import { joinTraining, type TrainingHandle } from "commonweight";
       import "commonweight/element";
       import { joinTraining as joinInNode } from "commonweight/node";
       import { nn } from "commonweight/nn";
       const training: TrainingHandle = await joinTraining("https://host/s/0", { engine: "wasm" });
       training.on("progress", ({ step }) => step.toFixed());
       const element = document.querySelector("commonweight-session");
       element?.addEventListener("progress", ({ detail }) => detail.clientCount.toFixed());
       element?.handle?.pause();
       export const model = nn.sequential(nn.linear(1, 1));
       export const other = joinInNode("https://host/s/0", { engine: "native" });
       // @ts-expect-error: there is no such engine in browsers
       joinTraining("https://host/s/0", { engine: "native" });`,
    );
    cpSync(join(app, "node_modules"), join(folder, "node_modules"), { recursive: true });
    const tsc = join(packageRoot, "node_modules/.bin/tsc");
    execFileSync(tsc, [...STRICT, "app.ts"], { cwd: folder, stdio: "pipe" });
  });
});

describe("an application on another origin", () => {
  const built = new Map<keyof typeof BUNDLERS, string>();

  beforeAll(async () => {
    writeFileSync(join(app, "main.js"), APP);
    writeFileSync(join(app, "index.html"), HTML);
    for (const name of Object.keys(BUNDLERS) as (keyof typeof BUNDLERS)[]) built.set(name, await BUNDLERS[name](app));
  }, 5 * MINUTES);

  const cases = (["Vite", "esbuild"] as const).flatMap((bundler) =>
    (["plain", "isolated", "strict"] as const).map((hosting) => ({ bundler, hosting, engine: "wasm" as const })),
  );

  it.each([...cases, { bundler: "Vite", hosting: "strict", engine: "webgpu" } as const])(
    "built by $bundler and served $hosting trains with $engine",
    async ({ bundler, hosting, engine }) => {
      const link = await createLink();
      const visit = await open(built.get(bundler)!, hosting, link, engine);
      const { page, complaints, close } = visit;
      const isOver = () => page.evaluate<boolean>("seen.summary !== null || seen.error !== null");
      await expect.poll(isOver, { timeout: 4 * MINUTES }).toBe(true);
      const { firstGradient, summary, error } = (await page.evaluate("seen")) as Seen;
      expect(error).toBeNull();
      expect(summary).toMatchObject({ outcome: "finished", step: STEPS, engine: { kind: engine } });
      expect(summary!.contributed.acceptedShards).toBeGreaterThan(0);
      expect(firstGradient).toBeGreaterThan(0);
      expect((await untilDone(coordinator.api, idOf(link))).result?.weightsHash).toMatch(/^[0-9a-f]+$/);
      expect(await page.evaluate("crossOriginIsolated")).toBe(hosting === "isolated");
      await expectOwnCode(visit);
      expect(complaints).toEqual([]);
      const loaded = await visit.loaded();
      const isOwn = ({ url }: Loaded): boolean => url.startsWith(new URL(page.url()).origin);
      const isRuntime = ({ url }: Loaded): boolean => url.includes("/ort/");
      const theirs = loaded.filter((entry) => !isOwn(entry) && !isRuntime(entry));
      console.log(
        `${bundler}, ${hosting}, ${engine}: first gradient accepted ${firstGradient?.toFixed(0)} ms after the page began to load; ` +
          `${kilobytes(sum(loaded.filter(isOwn)))} from its own site, ${kilobytes(sum(loaded.filter(isRuntime)))} of onnxruntime's wasm, ` +
          `${kilobytes(sum(theirs))} of session, data and weights`,
      );
      await close();
    },
  );
});

/** What an element on the page said, by event. */
const listen = (page: Page): Promise<void> =>
  page.evaluate(() => {
    const heard: Record<string, unknown[]> = { progress: [], status: [], finished: [], error: [] };
    const element = document.querySelector("commonweight-session");
    for (const [type, details] of Object.entries(heard)) {
      element?.addEventListener(type, (event) => details.push((event as CustomEvent).detail));
    }
    Object.assign(window, { heard });
  });

describe("the examples", () => {
  it("plain HTML: the element, by one script tag, under a strict policy", async () => {
    const folder = join(scratch, "plain-html");
    cpSync(join(packageRoot, "examples/plain-html"), folder, { recursive: true });
    cpSync(join(app, "node_modules"), join(folder, "node_modules"), { recursive: true });
    const file = readFileSync(join(folder, "node_modules/commonweight/dist/commonweight-element.js"));
    console.log(
      `commonweight-element.js: ${kilobytes(file.byteLength)}, ${kilobytes(gzipSync(file).byteLength)} compressed`,
    );

    const link = await createLink(60);
    const visit = await open(folder, "strict", link, "wasm");
    const { page, complaints, loaded, close } = visit;
    await page.getByText("MNIST").waitFor();
    const status = page.getByRole("status");
    expect(await status.textContent()).toBe("Open to volunteers");
    // Nothing but the session was asked for, and nobody has joined.
    const asked = (await loaded()).filter(({ url }) => url.startsWith(coordinator.url));
    expect(asked.map(({ url }) => new URL(url).pathname)).toEqual([`/api/sessions/${idOf(link)}`]);
    expect((await coordinator.api.readSession(idOf(link))).progress.clientCount).toBe(0);

    await listen(page);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    const pause = page.getByRole("button", { name: "Pause" });
    await pause.click();
    await page.getByRole("status").getByText("Paused").waitFor();
    await page.getByRole("button", { name: "Resume" }).click();
    await pause.waitFor();
    await page.getByText("The training is finished.").waitFor({ timeout: 4 * MINUTES });
    expect(await page.getByRole("button").count()).toBe(0);
    const heard = (await page.evaluate("heard")) as Record<
      "progress" | "status" | "finished" | "error",
      { status?: string }[]
    >;
    expect(heard.progress.length).toBeGreaterThan(0);
    expect(heard.status.map(({ status }) => status)).toEqual(
      expect.arrayContaining(["joining", "working", "paused", "finished"]),
    );
    expect(heard.finished).toMatchObject([{ outcome: "finished", step: 60 }]);
    expect(heard.error).toEqual([]);
    expect(complaints).toEqual([]);
    await expectOwnCode(visit);
    await close();
  });

  it("plain HTML: the element leaves when it is taken off the page, and says what does not work", async () => {
    const folder = join(scratch, "plain-html");
    const link = await createLink(ENDLESS);
    const { page, close } = await open(folder, "plain", link, "wasm");
    const clients = async (): Promise<number> => (await coordinator.api.readSession(idOf(link))).progress.clientCount;
    await page.getByRole("button", { name: "Take part" }).click();
    await page.getByRole("button", { name: "Pause" }).waitFor({ timeout: MINUTES });
    await expect.poll(clients, { timeout: MINUTES }).toBe(1);
    await page.evaluate("document.querySelector('commonweight-session').remove()");
    await expect.poll(clients, { timeout: MINUTES }).toBe(0);

    await page.evaluate(
      (href) => {
        const element = document.createElement("commonweight-session");
        element.addEventListener("error", ({ detail }) => Object.assign(window, { problem: detail }));
        element.href = href;
        document.body.append(element);
      },
      link.replace(/.{4}$/, "0000"),
    );
    await page.getByText("there is no such session").waitFor();
    expect(await page.evaluate("problem")).toMatchObject({ code: "unknown-session", fatal: true });
    expect(await page.getByRole("button").count()).toBe(0);
    await close();
  });

  it("React: the hook, with its types checked", async () => {
    const folder = join(scratch, "react");
    cpSync(join(packageRoot, "examples/react"), folder, { recursive: true });
    cpSync(join(app, "node_modules"), join(folder, "node_modules"), { recursive: true });
    lend(folder, ["react", "react-dom", "scheduler", "csstype", "@types/react", "@types/react-dom"]);
    execFileSync(join(packageRoot, "node_modules/.bin/tsc"), ["--skipLibCheck"], { cwd: folder, stdio: "pipe" });
    const outDir = await BUNDLERS.Vite(folder);

    const visit = await open(outDir, "strict", await createLink(), "wasm");
    const { page, complaints, close } = visit;
    await page.getByRole("button", { name: "Take part" }).click();
    await page.getByText(/finished: \d+ samples came from here/).waitFor({ timeout: 4 * MINUTES });
    expect(complaints).toEqual([]);
    await expectOwnCode(visit);
    await close();
  });

  it("Node: a volunteer that says each step, and leaves when it is interrupted", async () => {
    const folder = join(scratch, "node-volunteer");
    cpSync(join(packageRoot, "examples/node-volunteer"), folder, { recursive: true });
    cpSync(join(app, "node_modules"), join(folder, "node_modules"), { recursive: true });
    /** Runs it; interrupts it, once, when it says `last`. */
    const start = async (link: string, last: string | null) => {
      const child = spawn(process.execPath, ["volunteer.js", link], { cwd: folder });
      let output = "";
      let errors = "";
      child.stdout.on("data", (data: Buffer) => {
        const isLast = last !== null && !output.includes(last);
        output += data.toString();
        if (isLast && output.includes(last)) child.kill("SIGINT");
      });
      child.stderr.on("data", (data: Buffer) => {
        errors += data.toString();
      });
      const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
      return { code, output, errors };
    };

    const whole = await start(await createLink(), null);
    expect(whole).toMatchObject({ code: 0, errors: "" });
    for (let step = 1; step <= STEPS; step++) expect(whole.output).toMatch(new RegExp(`^step ${step}: loss \\d`, "m"));
    expect(whole.output).toMatch(/^finished: \d+ samples computed here$/m);

    const link = await createLink(ENDLESS);
    const left = await start(link, "step 1:");
    expect(left).toMatchObject({ code: 0, errors: "" });
    expect(left.output).toMatch(/^left: \d+ samples computed here$/m);
    await expect.poll(async () => (await coordinator.api.readSession(idOf(link))).progress.clientCount).toBe(0);
  });
});

describe("the reference", () => {
  it("is built of every public export, none of them without documentation", { timeout: 5 * MINUTES }, () => {
    execFileSync(process.execPath, ["scripts/build-api-docs.ts"], { cwd: packageRoot, stdio: "pipe" });
    expect(existsSync(join(packageRoot, "build/docs/api/index.html"))).toBe(true);
  });
});
