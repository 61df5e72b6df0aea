/**
 * Commands of the documentation that the test does not run as they are, each with its reason, and with the nearest thing that
 * it runs in its place. Everything that is not here runs.
 */

export interface Exception {
  /** Start of the command. */
  readonly command: string;
  readonly reason: string;
  /** What runs instead, in the repository; null where the command is the gate's own. */
  readonly instead: string | null;
}

const DRY_RUN = "npx wrangler deploy --dry-run --outdir build/docs-test/worker";
const DEPLOY_DRY_RUN = "npx commonweight deploy --dry-run";
const HELP = "node bin/commonweight.js --help";

export const EXCEPTIONS: readonly Exception[] = [
  { command: "npm ci && npm test", reason: "runs this test", instead: null },
  {
    command: "npm ci && npm run demo",
    reason: "downloads, and trains MNIST for minutes",
    instead: "npm run demo -- --help",
  },
  { command: "npm run demo -- --engine", reason: "trains MNIST for minutes", instead: "npm run demo -- --help" },
  {
    command: "npx commonweight train examples/char-gpt.ts",
    reason: "trains a GPT for minutes; test/parity/char-gpt.test.ts trains it for 20 steps",
    instead: "npx commonweight generate --help",
  },
  {
    command: "npx commonweight generate examples/char-gpt.ts",
    reason: "needs the model of that training",
    instead: null,
  },
  { command: "npm run check", reason: "npm test runs it before the tests", instead: null },
  { command: "npm ci && npm run build", reason: "npm test builds before the tests", instead: null },
  { command: "npm run build", reason: "npm test builds before the tests", instead: null },
  {
    command: "npm run exactness",
    reason: "takes minutes; test/e2e/exactness.test.ts is the same check, shorter",
    instead: null,
  },
  {
    command: "npm run audits",
    reason: "takes minutes; test/coordinator/audits is the same, shorter",
    instead: "npm run audits -- --help",
  },
  {
    command: "npm run hostile",
    reason: "visits a thousand sessions for a minute",
    instead: "npm run hostile -- --sessions 40",
  },
  {
    command: "npm run example ",
    reason: "test/e2e/examples.test.ts runs each of them, smaller",
    instead: null,
  },
  {
    command: "npm run bench",
    reason: "installs what it compares with, and takes all of the machine for minutes",
    instead: "npm run bench -- --help",
  },
  { command: "npx vitest run", reason: "a part of npm test, which runs this test", instead: null },
  { command: "npm install commonweight", reason: "the package is not in the registry yet", instead: HELP },
  { command: "npx wrangler login", reason: "needs an account", instead: DRY_RUN },
  { command: "npx wrangler r2 bucket create", reason: "needs an account", instead: DRY_RUN },
  { command: "npx wrangler secret put", reason: "needs an account", instead: DRY_RUN },
  { command: "export COMMONWEIGHT_ADMIN_SECRET", reason: "reads the secret of a deployment", instead: null },
  { command: "npx commonweight train session.ts --server https:", reason: "needs a deployment", instead: HELP },
  { command: "npx commonweight deploy", reason: "needs an account", instead: DEPLOY_DRY_RUN },
  { command: "npx wrangler deploy", reason: "needs an account", instead: DRY_RUN },
];

/** The exception that a command is, or null; dry runs need nothing and are none. */
export const exceptionFor = (command: string): Exception | null =>
  command.endsWith("--dry-run") ? null : (EXCEPTIONS.find((known) => command.startsWith(known.command)) ?? null);
