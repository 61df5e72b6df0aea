import { fileURLToPath } from "node:url";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

/**
 * Three projects, one run: plain Node, workerd (real Durable Objects), and end to end (real workerd processes, real
 * Chromium). The later ones start after the earlier ones have ended, because two cores are shared by all of them.
 */
export default defineConfig({
  test: {
    reporters: ["default", "./test/reporter.ts"],
    projects: [
      {
        // Session files of examples/, as the command line resolves them.
        resolve: {
          alias: { "commonweight/nn": fileURLToPath(new URL("shared/nn/index.ts", import.meta.url)) },
        },
        test: {
          name: "node",
          include: ["test/{shared,coordinator,client,cli,parity}/**/*.test.ts"],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: { bindings: { ADMIN_SECRET: "test-secret" } },
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
