import { fileURLToPath } from "node:url";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import { createSiteverify, TURNSTILE } from "./test/fixtures/siteverify.ts";

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** What examples import, as their own runner resolves it (cli/own-modules.ts). */
const OWN_MODULES = {
  "commonweight/nn": source("shared/nn/index.ts"),
  "commonweight/files": source("cli/files.ts"),
  "commonweight/local": source("cli/local.ts"),
};

/**
 * Three projects, one run: plain Node, workerd (real Durable Objects), and end to end (real workerd processes, real
 * Chromium). The later ones start after the earlier ones have ended, because two cores are shared by all of them.
 */
export default defineConfig({
  test: {
    reporters: ["default", "./test/reporter.ts"],
    projects: [
      {
        resolve: { alias: OWN_MODULES },
        test: {
          name: "node",
          include: ["test/{shared,coordinator,client,cli,parity,bench}/**/*.test.ts"],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: { ADMIN_SECRET: "test-secret", ...TURNSTILE },
              outboundService: createSiteverify() as never,
            },
          }),
        ],
        test: {
          name: "workers",
          include: ["test/workers/**/*.test.ts"],
          testTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        resolve: { alias: OWN_MODULES },
        test: {
          name: "e2e",
          include: ["test/{e2e,docs}/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 120_000,
          // They wait more than they compute.
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
