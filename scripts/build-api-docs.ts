/**
 * `npm run docs:api`: the reference of the package's public entry points, by TypeDoc, into build/docs/api. Fails on a public
 * export without documentation and on a broken link.
 */

import { rmSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const out = join(root, "build/docs/api");

/** What can be imported, and the file that it is. */
const ENTRIES: Readonly<Record<string, string>> = {
  commonweight: "client/index.ts",
  "commonweight/element": "client/element/index.ts",
  "commonweight/node": "client/node/index.ts",
  "commonweight/nn": "shared/nn/index.ts",
  "commonweight/files": "cli/files.ts",
  "commonweight/local": "cli/local.ts",
};

// TypeDoc needs the compiler's JavaScript API, which TypeScript 7 no longer has.
registerHooks({
  resolve: (specifier, context, next) => next(specifier === "typescript" ? "typescript-6" : specifier, context),
});

const { Application, LogLevel } = await import("typedoc");
const app = await Application.bootstrap({
  name: "Commonweight",
  entryPoints: Object.values(ENTRIES).map((entry) => join(root, entry)),
  tsconfig: join(root, "scripts/api-docs.tsconfig.json"),
  out,
  readme: "none",
  disableSources: true,
  githubPages: false,
  excludePrivate: true,
  excludeExternals: true,
  // Messages whose fields are documented for each member of a union draw a warning each; what is missing is told below.
  logLevel: "Error",
  requiredToBeDocumented: ["Class", "Function", "Interface", "TypeAlias", "Variable"],
  // Types that a public one is made of are shown where they are used.
  validation: { notDocumented: true, notExported: false, invalidLink: true },
});
const project = await app.convert();
if (project === undefined) process.exit(1);
for (const module of project.children ?? []) {
  const files = [`${module.name}/index.ts`, `${module.name}.ts`];
  const name = Object.keys(ENTRIES).find((known) => files.includes(ENTRIES[known] ?? ""));
  if (name !== undefined) module.name = name;
}
app.logger.resetWarnings();
app.logger.level = LogLevel.Warn;
app.validate(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
rmSync(out, { recursive: true, force: true });
await app.generateOutputs(project);
if (app.logger.hasErrors()) process.exit(1);
console.log("built: build/docs/api");
