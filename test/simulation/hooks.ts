/**
 * Lets Node load the coordinator as workerd does: `cloudflare:workers` is a few lines, `.wasm` is a module, and the two seams that
 * mutations tamper with lie between the shell and what it calls. To be imported before anything of the coordinator.
 */

import { registerHooks } from "node:module";

const here = (path: string): string => new URL(path, import.meta.url).href;

/** What `coordinator/session/live.ts` imports, and what it is given instead. */
const SEAMS: Readonly<Record<string, string>> = {
  "../round/index.ts": here("./seams/round.ts"),
  "../../shared/protocol/frames.ts": here("./seams/frames.ts"),
};

registerHooks({
  resolve(specifier, context, next) {
    if (specifier === "cloudflare:workers") return { url: here("./runtime.ts"), shortCircuit: true };
    const seam = context.parentURL?.endsWith("/coordinator/session/live.ts") ? SEAMS[specifier] : undefined;
    return seam === undefined ? next(specifier, context) : { url: seam, shortCircuit: true };
  },
  load(url, context, next) {
    if (!url.endsWith(".wasm")) return next(url, context);
    const path = JSON.stringify(new URL(url).pathname);
    const source = `import { readFileSync } from "node:fs"; export default new WebAssembly.Module(readFileSync(${path}));`;
    return { format: "module", source, shortCircuit: true };
  },
});
