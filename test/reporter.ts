/**
 * The closing line of a test run, `N passed, N failed`, counted from Vitest's own report.
 *
 * Vitest's summary does not count a file that could not be imported, an error thrown after its test, a file without
 * tests, or a skip as failures. Here they are (invariant I8), and the process ends with a non-zero code for each.
 */

import type { Reporter, TestModule } from "vitest/node";

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    const failures: string[] = [];
    if (modules.length === 0) failures.push("no test file was found");
    for (const module of modules) {
      let tests = 0;
      for (const test of module.children.allTests()) {
        tests += 1;
        const { state } = test.result();
        if (state === "passed") passed += 1;
        else failures.push(`${module.relativeModuleId} > ${test.fullName}: ${state}`);
      }
      for (const error of module.errors()) failures.push(`${module.relativeModuleId}: ${error.message}`);
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors())
          failures.push(`${module.relativeModuleId} > ${suite.fullName}: ${error.message}`);
      }
      if (tests === 0 && module.errors().length === 0) failures.push(`${module.relativeModuleId}: holds no test`);
    }
    for (const error of unhandled)
      failures.push(`unhandled: ${error instanceof Error ? error.message : String(error)}`);
    if (failures.length > 0) process.exitCode = 1;
    process.on("exit", () => {
      for (const failure of failures) process.stdout.write(`failed  ${failure.split("\n")[0]}\n`);
      process.stdout.write(`\n${passed} passed, ${failures.length} failed\n`);
      if (failures.length > 0) process.exitCode = 1;
    });
  }
}
