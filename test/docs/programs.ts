/**
 * The documentation's TypeScript and HTML, for real: types by the compiler, session files by the command line's own loader,
 * programs for Node in Node, programs for browsers bundled by Vite and run in Chromium on an origin that is not the coordinator's.
 */

import { execFile } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, extname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build } from "vite";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { Chromium } from "../../cli/devtools.ts";
import { packageRoot } from "../../cli/root.ts";
import { requireBrowser } from "../e2e/fleets.ts";
import type { Block, Page } from "./blocks.ts";

const run = promisify(execFile);

/** Within the repository, where its packages' types are found. */
const SCRATCH = join(packageRoot, "build/docs-test");

/** What the package's names are in the repository. */
const MODULES: Readonly<Record<string, string>> = {
  commonweight: "client/index.ts",
  "commonweight/element": "client/element/index.ts",
  "commonweight/files": "cli/files.ts",
  "commonweight/local": "cli/local.ts",
  "commonweight/nn": "shared/nn/index.ts",
  "commonweight/node": "client/node/index.ts",
};

const LIMIT = 120_000;

export type ProgramKind = "session" | "node" | "browser";

/** What a block of TypeScript is, by what it exports and imports. */
export function kindOf({ code }: Block): ProgramKind {
  if (/^export default /m.test(code)) return "session";
  return /from "commonweight(\/element)?"/.test(code) ? "browser" : "node";
}

/** Checks the types of all programs of all pages. Throws with the compiler's complaints, by page and number of the block. */
export async function checkTypes(pages: readonly Page[]): Promise<number> {
  const folder = join(SCRATCH, "types");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  let count = 0;
  for (const { path, blocks } of pages) {
    for (const [index, { code }] of blocks.filter(({ language }) => language === "ts").entries()) {
      writeFileSync(join(folder, `${path.replaceAll("/", "-")}-${index + 1}.ts`), `${code}\nexport {};\n`);
      count += 1;
    }
  }
  const paths = Object.fromEntries(Object.entries(MODULES).map(([name, file]) => [name, [join(packageRoot, file)]]));
  const config = {
    extends: join(packageRoot, "tsconfig.base.json"),
    compilerOptions: {
      lib: ["ES2024", "DOM", "DOM.Iterable", "DOM.AsyncIterable"],
      types: ["node", "@webgpu/types"],
      typeRoots: [join(packageRoot, "node_modules/@types"), join(packageRoot, "node_modules")],
      noUnusedLocals: false,
      paths,
    },
    include: ["*.ts"],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const tsc = join(packageRoot, "node_modules/.bin/tsc");
  await run(tsc, ["-p", folder], { cwd: folder }).catch(({ stdout }: { stdout: string }) => {
    throw new Error(`types of the documentation's programs:\n${stdout}`);
  });
  return count;
}

/** Runs TypeScript in a Node of its own, in which the package's names are the repository's sources. Answers what it prints. */
async function runInNode(file: string): Promise<string> {
  const hooks = `
    import { registerHooks } from "node:module";
    const modules = ${JSON.stringify(
      Object.fromEntries(
        Object.entries(MODULES).map(([name, path]) => [name, pathToFileURL(join(packageRoot, path)).href]),
      ),
    )};
    registerHooks({ resolve: (name, context, next) =>
      name in modules ? { url: modules[name], shortCircuit: true } : next(name, context) });`;
  const { stdout } = await run(
    process.execPath,
    ["--import", `data:text/javascript,${encodeURIComponent(hooks)}`, file],
    { cwd: dirname(file), timeout: LIMIT },
  );
  return stdout;
}

/** Loads a session file, and checks it as a coordinator does. */
export async function loadSession(file: string): Promise<void> {
  const modules = ["cli/session-file.ts", "shared/session/validate.ts", "workers/limits.ts"];
  const [loader, validate, limits] = modules.map((path) => JSON.stringify(pathToFileURL(join(packageRoot, path)).href));
  const code = `
    const { loadSessionFile } = await import(${loader});
    const { parseDefinition } = await import(${validate});
    const { coordinatorBudget } = await import(${limits});
    parseDefinition((await loadSessionFile(${JSON.stringify(file)})).definition, coordinatorBudget);`;
  await run(process.execPath, ["--input-type=module", "-e", code], { cwd: dirname(file), timeout: LIMIT });
}

export async function runNodeProgram(folder: string, code: string): Promise<void> {
  const file = join(folder, "program.ts");
  writeFileSync(file, code);
  await runInNode(file);
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
};

/** Serves a folder, with the package under node_modules as npm would install it, on any free port while `use` runs. */
async function withSite<T>(folder: string, use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://site").pathname);
    const installed = /^\/node_modules\/commonweight\/(dist\/.+)$/.exec(path)?.[1];
    const file = installed === undefined ? join(folder, path) : join(packageRoot, installed);
    const found = existsSync(file) && statSync(file).isFile();
    response.writeHead(found ? 200 : 404, {
      "Content-Type": CONTENT_TYPES[extname(file)] ?? "application/octet-stream",
    });
    if (found) createReadStream(file).pipe(response);
    else response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** One Chromium for all pages, begun when the first program needs it. */
export class ProgramBrowser {
  #chromium: Promise<Chromium> | null = null;

  /** Bundles a program and runs it to its end. Throws what it throws. */
  async runProgram(folder: string, code: string): Promise<void> {
    const source = join(SCRATCH, "browser");
    rmSync(source, { recursive: true, force: true });
    mkdirSync(source, { recursive: true });
    writeFileSync(join(source, "program.ts"), code);
    writeFileSync(
      join(source, "main.ts"),
      `import("./program.ts").then(() => { globalThis.outcome = "ended"; }, (error) => { globalThis.outcome = String(error?.stack ?? error); });\n`,
    );
    writeFileSync(
      join(source, "index.html"),
      `<!doctype html><html lang="en"><meta charset="utf-8"><title>Program</title><body><script type="module" src="./main.ts"></script></body></html>`,
    );
    const site = join(folder, "site");
    // The longest names first: one is the start of the others.
    const alias = Object.entries(MODULES).map(([name, file]) => ({
      find: new RegExp(`^${name}$`),
      replacement: join(packageRoot, file),
    }));
    await build({
      root: source,
      configFile: false,
      logLevel: "warn",
      resolve: { alias },
      build: { outDir: site, emptyOutDir: true, target: "es2023", minify: false },
    });
    await this.#visit(site, "/index.html", "globalThis.outcome", (outcome) => {
      if (outcome !== "ended") throw new Error(`in the browser: ${outcome}\n${code}`);
    });
  }

  /** Opens a page with the custom element, takes part as its button does, and waits for a step. */
  async takePart(folder: string, html: string): Promise<void> {
    const site = join(folder, "site");
    mkdirSync(site, { recursive: true });
    writeFileSync(join(site, "element.html"), html);
    const script = `
      globalThis.joined ??= customElements.whenDefined("commonweight-session").then(async () => {
        const handle = await document.querySelector("commonweight-session").join();
        for await (const { step } of handle.steps()) { await handle.leave(); return step; }
      }).then((step) => { globalThis.outcome = step; }, (error) => { globalThis.outcome = String(error); });
      globalThis.outcome`;
    await this.#visit(
      site,
      "/element.html",
      `(() => {${script.replace(/globalThis\.outcome$/, "return globalThis.outcome;")}})()`,
      (outcome) => {
        if (typeof outcome !== "number") throw new Error(`the element: ${outcome}\n${html}`);
      },
    );
  }

  async stop(): Promise<void> {
    await (await this.#chromium)?.stop();
  }

  async #visit(folder: string, path: string, expression: string, judge: (outcome: unknown) => void): Promise<void> {
    this.#chromium ??= Chromium.launch({ executable: requireBrowser(), flags: BROWSER_FLAGS });
    const chromium = await this.#chromium;
    const profile = await chromium.createProfile();
    await withSite(folder, async (url) => {
      const tab = await profile.open(`${url}${path}`);
      try {
        judge(await tab.until(expression, LIMIT, "the program's end"));
      } finally {
        await tab.close();
      }
    });
  }
}
