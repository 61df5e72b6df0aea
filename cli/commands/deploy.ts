/**
 * `commonweight deploy`: the commands of docs/deployment.md one after the other, each shown before it runs. Doing it again
 * upgrades what is there, and changes neither its data nor its secret.
 */

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { type Command, Option } from "commander";
import { createCommand, dataOption, real, whole } from "../arguments.ts";
import { prepareBundle } from "../coordinator.ts";
import { CliError } from "../errors.ts";
import { plain } from "../foreign-text.ts";
import { packageRoot } from "../root.ts";
import { writeWhole } from "../state.ts";
import { commandLine, runWrangler, type WranglerOptions, type WranglerResult } from "../wrangler.ts";

interface DeployOptions {
  readonly dryRun: boolean;
  readonly retentionDays?: number;
  readonly quotas?: string;
  readonly data: string;
}

/** That of wrangler.toml. */
const BUCKET = "commonweight";
const SECRET = "ADMIN_SECRET";
/** What wrangler says of a bucket that is not there; anything else is a failure of its own. */
const NO_BUCKET = /does not exist|\b10006\b/i;
/** And where nobody is logged in. */
const NO_ACCOUNT = /CLOUDFLARE_API_TOKEN|not authenticated/i;
/** Characters of a failure that are repeated. */
const LAST_WORDS = 600;

const say = (line: string): void => console.log(line);

/** The folder's path as a person would type it here. */
const shown = (path: string): string => relative(process.cwd(), path) || ".";

const config = (): string[] => ["--config", shown(join(packageRoot, "wrangler.toml"))];

function deployCommandLine({ dryRun, retentionDays, quotas }: DeployOptions): string[] {
  return [
    "deploy",
    shown(join(packageRoot, "build/worker/index.js")),
    // It was bundled when this package was built; what runs is what was tested.
    "--no-bundle",
    ...config(),
    ...(retentionDays === undefined ? [] : ["--var", `RETENTION_DAYS:${retentionDays}`]),
    ...(quotas === undefined ? [] : ["--var", `QUOTAS:${quotas}`]),
    ...(dryRun ? ["--dry-run"] : []),
  ];
}

async function run(args: readonly string[], options?: WranglerOptions): Promise<WranglerResult> {
  say(`$ ${commandLine(args)}`);
  return runWrangler(args, options);
}

function requireSuccess({ code, words }: WranglerResult, args: readonly string[]): void {
  if (code === 0) return;
  if (NO_ACCOUNT.test(words)) {
    throw new CliError("wrangler knows no account: run wrangler login first, or set CLOUDFLARE_API_TOKEN");
  }
  const why = words.trim() === "" ? "" : `: ${plain(words.trim(), LAST_WORDS)}`;
  throw new CliError(`${commandLine(args)} ended with ${code}${why}`);
}

async function ensureBucket(): Promise<void> {
  const look = ["r2", "bucket", "info", BUCKET];
  const found = await run(look, { capture: true });
  if (found.code === 0) return;
  if (!NO_BUCKET.test(found.words)) requireSuccess(found, look);
  const create = ["r2", "bucket", "create", BUCKET];
  requireSuccess(await run(create), create);
}

/** The secret of an earlier deployment from here, or a new one, in a file that only its owner reads. */
function keepSecret(data: string): { readonly file: string; readonly secret: string } {
  const folder = resolve(data);
  mkdirSync(folder, { recursive: true });
  // A repository around it must not take it in.
  writeFileSync(join(folder, ".gitignore"), "*\n");
  const file = join(folder, "deployed-admin-secret");
  if (!existsSync(file)) writeWhole(file, randomBytes(32).toString("base64url"), 0o600);
  return { file, secret: readFileSync(file, "utf8").trim() };
}

async function ensureSecret(data: string): Promise<void> {
  const list = ["secret", "list", ...config()];
  const listed = await run(list, { capture: true });
  requireSuccess(listed, list);
  if (listed.output.includes(`"${SECRET}"`)) {
    say(`${SECRET} is set already, and stays as it is`);
    return;
  }
  const { file, secret } = keepSecret(data);
  const put = ["secret", "put", SECRET, ...config()];
  requireSuccess(await run(put, { input: secret }), put);
  say(`the admin secret is in ${shown(file)}: keep it safe, and give it to the other commands by`);
  say(`  export COMMONWEIGHT_ADMIN_SECRET="$(cat ${shown(file)})"`);
}

async function deploy(options: DeployOptions): Promise<void> {
  const version = await runWrangler(["--version"], { capture: true });
  requireSuccess(version, ["--version"]);
  await prepareBundle(say);
  const upload = deployCommandLine(options);
  if (options.dryRun) {
    say("a dry run: of these only the third is run, and it uploads nothing");
    say(`  ${commandLine(["r2", "bucket", "info", BUCKET])}`);
    say(`  ${commandLine(["r2", "bucket", "create", BUCKET])}    if there is none`);
    say(`  ${commandLine(upload)}`);
    say(`  ${commandLine(["secret", "list", ...config()])}`);
    say(`  ${commandLine(["secret", "put", SECRET, ...config()])}    if there is none`);
    requireSuccess(await run(upload), upload);
    return;
  }
  await ensureBucket();
  requireSuccess(await run(upload), upload);
  // Until it is set, the admin routes are off.
  await ensureSecret(options.data);
}

export function deployCommand(): Command {
  return createCommand("deploy", "put the coordinator on a Cloudflare account, or upgrade it there", [
    "deploy --dry-run",
    "deploy",
    "deploy --retention-days 30",
  ])
    .option("--dry-run", "show the commands, and check what would be uploaded", false)
    .addOption(
      new Option(
        "--retention-days <n>",
        "sessions that are over delete themselves after so many days; without it they are kept",
      ).argParser(whole(1, 36_500)),
    )
    .addOption(
      new Option(
        "--quotas <n>",
        "by what the limits of each client and network are multiplied, from 0.01 to 1000, or off",
      ).argParser((text: string) => (text === "off" ? text : String(real(0.01, 1_000)(text)))),
    )
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Needs wrangler (npm install wrangler), and an account: wrangler login, or CLOUDFLARE_API_TOKEN. See docs/deployment.md.`,
    )
    .action(deploy);
}
