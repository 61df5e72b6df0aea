/** What `npm audit --json` says, read without trust: a registry need not have that service, and then its answer is something else. */

/** Severities for which a release waits. */
const GRAVE: readonly unknown[] = ["high", "critical"];

export type Audit =
  | { readonly outcome: "clean" }
  /** Packages with the severity of the worst that is known of each. */
  | { readonly outcome: "vulnerable"; readonly packages: readonly string[] }
  /** Nothing was audited, and why. */
  | { readonly outcome: "unanswered"; readonly reason: string };

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function readAudit(text: string): Audit {
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch {
    return { outcome: "unanswered", reason: "npm audit printed no report" };
  }
  if (!isObject(report) || !isObject(report.vulnerabilities)) {
    const status = isObject(report) && typeof report.statusCode === "number" ? `answered ${report.statusCode}` : "";
    return { outcome: "unanswered", reason: `the registry ${status || "did not answer"}` };
  }
  const packages = Object.entries(report.vulnerabilities).flatMap(([name, found]) =>
    isObject(found) && GRAVE.includes(found.severity) ? [`${name} (${found.severity})`] : [],
  );
  return packages.length === 0 ? { outcome: "clean" } : { outcome: "vulnerable", packages };
}
