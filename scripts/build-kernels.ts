/**
 * Compiles the optimizer's kernels (AssemblyScript, SIMD) to coordinator/optim/kernels.wasm, and writes their build id
 * beside it. With `--check`, only compares a rebuild with what is committed.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const source = join(root, "coordinator/optim/assembly/kernels.ts");
const binary = join(root, "coordinator/optim/kernels.wasm");
const build = join(root, "coordinator/optim/build.ts");

function compile(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-kernels-"));
  try {
    const out = join(folder, "kernels.wasm");
    const asc = join(root, "node_modules/assemblyscript/bin/asc.js");
    const options = [
      "--enable",
      "simd",
      "--runtime",
      "stub",
      "--noAssert",
      "-O3",
      "--optimizeLevel",
      "3",
      "--importMemory",
    ];
    const result = spawnSync(process.execPath, [asc, source, "-o", out, ...options], { encoding: "utf8" });
    if (result.status !== 0) throw new Error(`asc failed:\n${result.stdout}${result.stderr}`);
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const bytes = compile();
const id = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const text = `/** Build id of kernels.wasm, kept with every logged step. Written by scripts/build-kernels.ts. */
export const KERNELS_BUILD = "${id}";
`;

if (process.argv.includes("--check")) {
  if (!readFileSync(binary).equals(bytes) || readFileSync(build, "utf8") !== text) {
    console.error("coordinator/optim/kernels.wasm is not what its source compiles to: run npm run kernels");
    process.exit(1);
  }
  console.log(`kernels: ${bytes.length} bytes, as committed (${id})`);
} else {
  writeFileSync(binary, bytes);
  writeFileSync(build, text);
  console.log(`kernels: ${bytes.length} bytes (${id})`);
}
