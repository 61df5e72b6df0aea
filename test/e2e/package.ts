/** The package as npm would publish it, packed from a fresh build and installed into folders of its users. */

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../cli/root.ts";
import { ensurePackage } from "../../scripts/build.ts";

const run = promisify(execFile);
const BUFFER = { maxBuffer: 16 * 2 ** 20 };

const { overrides, peerDependencies } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
  overrides: Record<string, unknown>;
  peerDependencies: Record<string, string>;
};

export interface Packed {
  readonly tarball: string;
  /** Of the tarball, and of what it unpacks to. */
  readonly bytes: number;
  readonly unpackedBytes: number;
}

/** Builds the package and packs it into `folder`. */
export async function packPackage(folder: string): Promise<Packed> {
  await ensurePackage();
  const packing = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const { stdout } = await run("npm", packing, { cwd: packageRoot, ...BUFFER });
  // npm 10 lists what it packed, npm 11 names it.
  const [report] = Object.values(
    JSON.parse(stdout) as Record<string, { filename: string; size: number; unpackedSize: number }>,
  );
  return { tarball: join(folder, report!.filename), bytes: report!.size, unpackedBytes: report!.unpackedSize };
}

/** Installs the tarball, and the peers named, into a folder that becomes an application's. Answers what is in its node_modules. */
export async function installPackage(
  folder: string,
  tarball: string,
  peers: readonly string[] = [],
): Promise<string[]> {
  mkdirSync(folder, { recursive: true });
  // The registry may hold newer builds of workerd than this machine has seen: the ones of this repository do.
  const { workerd } = overrides;
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ private: true, type: "module", overrides: { workerd } }),
  );
  const wanted = [tarball, ...peers.map((name) => `${name}@${peerDependencies[name]}`)];
  const quiet = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  await run("npm", ["install", ...quiet, ...wanted], { cwd: folder, ...BUFFER });
  const lock = JSON.parse(readFileSync(join(folder, "node_modules/.package-lock.json"), "utf8")) as {
    packages: Record<string, unknown>;
  };
  return Object.keys(lock.packages).map((path) => path.replace("node_modules/", ""));
}

/** Makes packages of this repository available to an application, as if it had installed them. */
export function lend(folder: string, names: readonly string[]): void {
  for (const name of names) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(packageRoot, "node_modules", name), link);
  }
}
