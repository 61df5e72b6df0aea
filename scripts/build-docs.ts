/**
 * `npm run docs`: the documentation as a small site in build/docs, one HTML file for each page of docs/, and the README as the
 * front page. Fails on a link within the repository that leads nowhere, on a heading that a link names and that is not there, and on a page
 * that the navigation does not know.
 */

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Marked, type Token, type Tokens } from "marked";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const out = join(root, "build/docs");
const STYLE = "style.css";

/** Pages in reading order, by their file, with their words in the navigation. */
const NAVIGATION: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Start: {
    "README.md": "Commonweight",
    "docs/first-minute.md": "The first minute",
    "docs/how-it-works.md": "How it works",
    "docs/examples.md": "Examples",
  },
  Use: {
    "docs/training-your-model.md": "Training your model",
    "docs/session-file.md": "The session file",
    "docs/onnx.md": "ONNX models",
    "docs/sdk.md": "The SDK",
    "docs/deployment.md": "Deployment and cost",
  },
  Judge: {
    "docs/privacy.md": "Privacy",
    "docs/security.md": "Security",
    "docs/performance.md": "Performance",
    "docs/comparison.md": "Which of DISCO, Flower, …?",
    "docs/not-verified.md": "Not verified",
  },
  Inside: {
    "docs/architecture.md": "Architecture",
    "docs/protocol.md": "Protocol",
    "CONTRIBUTING.md": "Contributing",
  },
};

const PAGES: readonly (readonly [file: string, title: string])[] = Object.values(NAVIGATION).flatMap((section) =>
  Object.entries(section),
);

/** File of the site that a page becomes. */
const target = (file: string): string =>
  file === "README.md" ? "index.html" : (file.split("/").at(-1) ?? file).toLowerCase().replace(/\.md$/, ".html");

const escapeHtml = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** The anchor of a heading, as GitHub makes it. */
const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");

/** A heading's words without their markup. */
const plainText = (tokens: readonly Token[]): string =>
  tokens
    .map((token) => ("tokens" in token && token.tokens ? plainText(token.tokens) : "text" in token ? token.text : ""))
    .join("");

/** Names of a block's language that readers need; the others say only what the test does with it (test/docs/blocks.ts). */
const LABELS: Readonly<Record<string, string>> = {
  sh: "terminal",
  output: "prints",
  ts: "TypeScript",
  html: "HTML",
  python: "Python",
};

function renderCode({ lang, text, codeBlockStyle }: Tokens.Code): string {
  const [language = "", ...words] = codeBlockStyle === "indented" ? ["sh"] : (lang ?? "").split(/\s+/);
  const file = language === "ts" ? words.find((word) => word.includes(".")) : undefined;
  const own = words.includes("background") ? "a terminal of its own" : undefined;
  const label = file ?? own ?? LABELS[language] ?? "";
  // Wide code scrolls: by keyboard, too, if it can have the focus.
  const code = `<pre tabindex="0"><code>${escapeHtml(text)}</code></pre>`;
  return `<figure class="code ${escapeHtml(language)}">${label === "" ? "" : `<figcaption>${escapeHtml(label)}</figcaption>`}${code}</figure>\n`;
}

interface Rendered {
  readonly file: string;
  readonly html: string;
  readonly anchors: ReadonlySet<string>;
  /** Links to places in the repository: paths from its root, and headings. */
  readonly links: readonly { readonly path: string; readonly anchor: string; readonly href: string }[];
}

const isForeign = (href: string): boolean => /^[a-z]+:/i.test(href);

function render(file: string): Rendered {
  const anchors = new Set<string>();
  const links: { path: string; anchor: string; href: string }[] = [];
  const folder = dirname(file);
  const pages = new Set(PAGES.map(([name]) => name));

  /** The address on the site of what a page of the repository links to; null for what is not part of the site. */
  const follow = (href: string): string | null => {
    if (isForeign(href)) return href;
    const [path = "", anchor = ""] = href.split("#", 2);
    const full = path === "" ? file : join(folder, path);
    links.push({ path: full, anchor, href });
    if (pages.has(full)) return `${target(full)}${anchor === "" ? "" : `#${anchor}`}`;
    return null;
  };

  const marked = new Marked({
    gfm: true,
    renderer: {
      heading({ tokens, depth }) {
        const anchor = slug(plainText(tokens));
        anchors.add(anchor);
        const text = this.parser.parseInline(tokens);
        return `<h${depth} id="${escapeHtml(anchor)}">${text} <a class="anchor" href="#${escapeHtml(anchor)}" aria-label="Link to this section">#</a></h${depth}>\n`;
      },
      link({ href, tokens }) {
        const [address, text] = [follow(href), this.parser.parseInline(tokens)];
        return address === null ? text : `<a href="${escapeHtml(address)}">${text}</a>`;
      },
      image({ href, text }) {
        const source = join(folder, href);
        if (!existsSync(join(root, source))) throw new Error(`${file}: there is no picture ${href}`);
        const name = source.split("/").at(-1) ?? source;
        copyFileSync(join(root, source), join(out, name));
        return `<img src="${escapeHtml(name)}" alt="${escapeHtml(text)}">`;
      },
      code: renderCode,
      // Pages are Markdown alone; what looks like HTML is meant as text.
      html: ({ text }) => escapeHtml(text),
      table(token) {
        const cells = (row: readonly Tokens.TableCell[], tag: string): string =>
          `<tr>${row.map(({ tokens }) => `<${tag}>${this.parser.parseInline(tokens)}</${tag}>`).join("")}</tr>`;
        const body = token.rows.map((row) => cells(row, "td")).join("");
        return `<div class="table" tabindex="0"><table><thead>${cells(token.header, "th")}</thead><tbody>${body}</tbody></table></div>\n`;
      },
    },
  });
  const html = marked.parse(readFileSync(join(root, file), "utf8"), { async: false });
  return { file, html, anchors, links };
}

function navigation(current: string): string {
  const sections = Object.entries(NAVIGATION).map(([section, pages]) => {
    const items = Object.entries(pages).map(
      ([file, title]) =>
        `<li><a href="${target(file)}"${file === current ? ' aria-current="page"' : ""}>${escapeHtml(title)}</a></li>`,
    );
    return `<h2>${section}</h2><ul>${items.join("")}</ul>`;
  });
  const reference = existsSync(join(out, "api/index.html"))
    ? '<ul><li><a href="api/index.html">API reference</a></li></ul>'
    : "";
  return sections.join("") + reference;
}

function page({ file, html }: Rendered, title: string): string {
  const at = PAGES.findIndex(([name]) => name === file);
  const [before, after] = [PAGES[at - 1], PAGES[at + 1]];
  const step = (to: readonly [string, string] | undefined, rel: string, text: string): string =>
    to === undefined
      ? "<span></span>"
      : `<a rel="${rel}" href="${target(to[0])}">${text.replace("%", escapeHtml(to[1]))}</a>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}${file === "README.md" ? "" : " · Commonweight"}</title>
<link rel="stylesheet" href="${STYLE}">
</head>
<body>
<a class="skip" href="#content">Skip to the text</a>
<a class="pages" href="#pages">All pages</a>
<main id="content">
${html}
<footer>${step(before, "prev", "← %")}${step(after, "next", "% →")}</footer>
</main>
<nav id="pages" aria-label="Pages">${navigation(file)}</nav>
</body>
</html>
`;
}

/** What is wrong with the links of all pages, by page. */
function brokenLinks(rendered: readonly Rendered[]): string[] {
  const anchors = new Map(rendered.map(({ file, anchors }) => [file, anchors]));
  return rendered.flatMap(({ file, links }) =>
    links.flatMap(({ path, anchor, href }) => {
      if (!existsSync(join(root, path))) return [`${file}: ${href} leads nowhere`];
      const known = anchors.get(path);
      return anchor !== "" && known !== undefined && !known.has(anchor)
        ? [`${file}: ${path} has no heading #${anchor}`]
        : [];
    }),
  );
}

/** Throws with all that is broken. */
export function buildDocs(): readonly string[] {
  mkdirSync(out, { recursive: true });
  const listed = new Set(PAGES.map(([file]) => file));
  const unlisted = readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md") && !listed.has(`docs/${name}`))
    .map((name) => `docs/${name}: the navigation does not know it`);
  const missing = PAGES.filter(([file]) => !existsSync(join(root, file))).map(
    ([file]) => `${file}: there is no such page`,
  );
  if (missing.length > 0) throw new Error(missing.join("\n"));
  const rendered = PAGES.map(([file]) => render(file));
  const broken = [...unlisted, ...brokenLinks(rendered)];
  if (broken.length > 0) throw new Error(broken.join("\n"));
  for (const [index, one] of rendered.entries()) {
    const [file = "", title = ""] = PAGES[index] ?? [];
    writeFileSync(join(out, target(file)), page(one, title));
  }
  copyFileSync(join(root, "docs", STYLE), join(out, STYLE));
  return rendered.map(({ file }) => target(file));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(`built: build/docs, ${buildDocs().length} pages; open build/docs/index.html`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
