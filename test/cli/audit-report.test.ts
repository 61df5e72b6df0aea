import { expect, it } from "vitest";
import { type Audit, readAudit } from "../../scripts/audit-report.ts";

const report = (vulnerabilities: unknown): string => JSON.stringify({ auditReportVersion: 2, vulnerabilities });

const REPORTS: readonly (readonly [what: string, text: string, audit: Audit])[] = [
  ["without vulnerabilities", report({}), { outcome: "clean" }],
  ["with mild ones", report({ one: { severity: "moderate" }, two: { severity: "low" } }), { outcome: "clean" }],
  [
    "with grave ones",
    report({ one: { severity: "high" }, two: { severity: "low" }, three: { severity: "critical" } }),
    { outcome: "vulnerable", packages: ["one (high)", "three (critical)"] },
  ],
  [
    "of a registry without audits",
    JSON.stringify({ message: "405 Method Not Allowed", statusCode: 405, error: { summary: "", detail: "" } }),
    { outcome: "unanswered", reason: "the registry answered 405" },
  ],
  [
    "of nobody",
    JSON.stringify({ message: "getaddrinfo ENOTFOUND" }),
    { outcome: "unanswered", reason: "the registry did not answer" },
  ],
  ["that is empty", "", { outcome: "unanswered", reason: "npm audit printed no report" }],
];

it.each(REPORTS)("a report %s", (_, text, audit) => {
  expect(readAudit(text)).toEqual(audit);
});
