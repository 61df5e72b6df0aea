/** The package's own names in programs that it loads: `commonweight/nn` is this very package, wherever the program lies. */

import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageRoot } from "./root.ts";

/** Where each name leads: in the repository to its source, in the published package to what was built of it. */
const MODULES: Readonly<Record<string, { readonly source: string; readonly built: string }>> = {
  "commonweight/nn": { source: "shared/nn/index.ts", built: "dist/shared/nn/index.js" },
  "commonweight/files": { source: "cli/files.ts", built: "dist/cli/files.js" },
  "commonweight/node": { source: "client/node/index.ts", built: "dist/client/node/index.js" },
  "commonweight/local": { source: "cli/local.ts", built: "dist/cli/local.js" },
};

/** Paths in this one are relative to whoever imports it: each importer has an instance of its own, and its address says whose. */
const RELATIVE = "commonweight/files";

function addressOf({ source, built }: (typeof MODULES)[string]): string {
  const path = join(packageRoot, source);
  return pathToFileURL(existsSync(path) ? path : join(packageRoot, built)).href;
}

/**
 * Formats of programs that are modules here, and how to load them: what a package.json leaves open, and TypeScript where it says
 * `"type": "commonjs"`, as the one does that npm writes now. JavaScript in such a project is what it says.
 */
const MODULE_FORMATS: readonly { readonly ending: string; readonly from: readonly unknown[]; readonly to: string }[] = [
  { ending: ".ts", from: [null, undefined, "commonjs-typescript"], to: "module-typescript" },
  { ending: ".js", from: [null, undefined], to: "module" },
];

/** From here on this process resolves the names above as told, and loads the formats above as modules (not in installed packages). */
export function resolveOwnImports(): void {
  const addresses = new Map(Object.entries(MODULES).map(([name, module]) => [name, addressOf(module)]));
  registerHooks({
    resolve: (specifier, context, next) => {
      const address = addresses.get(specifier);
      if (address !== undefined) {
        const from = specifier === RELATIVE ? `?from=${encodeURIComponent(context.parentURL ?? "")}` : "";
        return { url: address + from, shortCircuit: true };
      }
      const resolved = next(specifier, context);
      if (resolved.url.includes("/node_modules/")) return resolved;
      const module = MODULE_FORMATS.find(
        ({ ending, from }) => resolved.url.endsWith(ending) && from.includes(resolved.format),
      );
      return module === undefined ? resolved : { ...resolved, format: module.to };
    },
  });
}
