/**
 * Compiles the kernels (AssemblyScript, SIMD) and writes what is committed of them: the coordinator's as a `.wasm` file, which
 * workerd takes as a module, and a build id that is kept with every logged step; the client's as text, because the SDK's worker
 * is one file under any bundler. With `--check`, only compares a rebuild with what is committed.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

interface Kernels {
  readonly source: string;
  /** How the compiler makes it better. */
  readonly passes: readonly string[];
  /** Files by path, from the compiled bytes; those of `shared` import a memory that is shared. */
  readonly files: (own: Buffer, shared: () => Buffer) => Readonly<Record<string, Buffer>>;
}

const ALL = ["-O3", "--optimizeLevel", "3"];
/**
 * Without the pass that moves values down to where they are used: kernels that begin a root long before they divide by it say so by
 * their order. What is left of the optimizing is done by whoever compiles the module to a machine's code.
 */
const KEEPING_ORDER = [
  "--runPasses",
  [
    "inlining",
    "precompute-propagate",
    "optimize-instructions",
    "remove-unused-brs",
    "vacuum",
    "coalesce-locals",
    "remove-unused-module-elements",
  ].join(),
];

const idOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex").slice(0, 16);

const KERNELS: readonly Kernels[] = [
  {
    source: "coordinator/optim/assembly/kernels.ts",
    passes: KEEPING_ORDER,
    files: (bytes) => ({
      "coordinator/optim/kernels.wasm": bytes,
      "coordinator/optim/build.ts":
        Buffer.from(`/** Build id of kernels.wasm, kept with every logged step. Written by scripts/build-kernels.ts. */
export const KERNELS_BUILD = "${idOf(bytes)}";
`),
    }),
  },
  {
    source: "client/core/assembly/kernels.ts",
    passes: ALL,
    files: (bytes) => ({
      "client/core/kernels-wasm.ts":
        Buffer.from(`/** assembly/kernels.ts, compiled, in base64. Written by scripts/build-kernels.ts. */
export const KERNELS_WASM =
  "${bytes.toString("base64")}";
`),
    }),
  },
  {
    source: "client/engine/onnx/assembly/kernels.ts",
    passes: ALL,
    files: (own, shared) => ({
      "client/engine/onnx/kernels-wasm.ts":
        Buffer.from(`/** assembly/kernels.ts, compiled for either kind of memory, in base64. Written by scripts/build-kernels.ts. */
export const KERNELS_WASM = {
  own: "${own.toString("base64")}",
  shared:
    "${shared().toString("base64")}",
} as const;
`),
    }),
  },
];

/** Of a shared memory the most has to be said: all that 32 bits can address. */
const SHARED = ["--enable", "threads", "--sharedMemory", "--maximumMemory", "65536"];

function compile({ source, passes }: Kernels, more: readonly string[] = []): Buffer {
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
      "--importMemory",
      // Every memory has a page: a compiler that knows it need not look whether small offsets are within.
      "--initialMemory",
      "1",
      ...passes,
      ...more,
    ];
    const result = spawnSync(process.execPath, [asc, join(root, source), "-o", out, ...options], { encoding: "utf8" });
    if (result.status !== 0) throw new Error(`asc failed:\n${result.stdout}${result.stderr}`);
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const check = process.argv.includes("--check");
for (const kernels of KERNELS) {
  const { source, files } = kernels;
  const bytes = compile(kernels);
  for (const [file, content] of Object.entries(files(bytes, () => compile(kernels, SHARED)))) {
    if (!check) writeFileSync(join(root, file), content);
    else if (!readFileSync(join(root, file)).equals(content)) {
      console.error(`${file} is not what ${source} compiles to: run npm run kernels`);
      process.exit(1);
    }
  }
  console.log(`${source}: ${bytes.length} bytes${check ? ", as committed" : ""} (${idOf(bytes)})`);
}
