/**
 * `npm run record -- <out.svg> <command> [<command> …]`: runs the commands one after another in a pseudo-terminal and
 * writes what a person sees as an animated SVG, which every browser plays and no player is needed for. Real time, but
 * that pauses longer than a second are cut. A command that ends with & goes on beside those after it, as in a terminal of
 * its own, of which only the first seconds are shown.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import xterm from "@xterm/headless";

const COLUMNS = 112;
const ROWS = 24;
/** Milliseconds between two looks at the screen, the longest time that one picture stays, and how long the last one does. */
const INTERVAL = 200;
const LONGEST = 1_000;
const LAST = 6_000;
/** Milliseconds of a background command that are shown. */
const BACKGROUND_SHOWN = 5_000;
const FONT = { size: 13, width: 7.8, height: 18 } as const;

interface Frame {
  readonly lines: readonly string[];
  readonly milliseconds: number;
}

const escapeText = (text: string): string => text.replace(/[&<>]/g, (found) => `&#${found.charCodeAt(0)};`);

/** Commands that go on until the recording ends. */
const background: ChildProcess[] = [];

/** Runs a command line in a pseudo-terminal of the recording's size; what it writes goes to the screen. */
function play(command: string, write: (data: string) => void): Promise<void> {
  const isBackground = command.endsWith("&");
  const sized = `stty cols ${COLUMNS} rows ${ROWS}; ${command.replace(/&$/, "")}`;
  const child = spawn("script", ["-qefc", sized, "/dev/null"], { stdio: ["ignore", "pipe", "inherit"] });
  let isShown = true;
  child.stdout.setEncoding("utf8").on("data", (data: string) => {
    if (isShown) write(data);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    if (!isBackground) {
      child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}`))));
      return;
    }
    background.push(child);
    setTimeout(() => {
      isShown = false;
      resolve();
    }, BACKGROUND_SHOWN);
  });
}

async function record(commands: readonly string[]): Promise<Frame[]> {
  const terminal = new xterm.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true, convertEol: true });
  const look = (): string[] => {
    const { active } = terminal.buffer;
    return Array.from(
      { length: ROWS },
      (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? "",
    );
  };
  const frames: { lines: string[]; at: number }[] = [];
  const timer = setInterval(() => {
    const lines = look();
    if (lines.join("\n") !== frames.at(-1)?.lines.join("\n")) frames.push({ lines, at: performance.now() });
  }, INTERVAL);
  const write = (data: string): Promise<void> => new Promise((resolve) => terminal.write(data, resolve));
  for (const command of commands) {
    await write(`$ ${command}\r\n`);
    await play(command, (data) => terminal.write(data));
    await new Promise((resolve) => setTimeout(resolve, 2 * INTERVAL));
  }
  clearInterval(timer);
  return frames.map(({ lines, at }, index) => {
    const next = frames[index + 1]?.at;
    return { lines, milliseconds: next === undefined ? LAST : Math.min(LONGEST, next - at) };
  });
}

/** One group a frame, each shown for its part of the whole. */
function render(frames: readonly Frame[]): string {
  const total = frames.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const [width, height] = [COLUMNS * FONT.width + 24, ROWS * FONT.height + 24];
  let from = 0;
  const styles: string[] = [];
  const groups = frames.map(({ lines, milliseconds }, index) => {
    const [start, end] = [from, from + milliseconds].map((time) => ((time / total) * 100).toFixed(3));
    from += milliseconds;
    styles.push(
      `@keyframes f${index}{0%{visibility:hidden}${start}%{visibility:visible}${end}%{visibility:hidden}}`,
      `.f${index}{visibility:hidden;animation:f${index} ${(total / 1000).toFixed(2)}s step-end infinite}`,
    );
    const texts = lines.flatMap((line, row) =>
      line === "" ? [] : [`<text x="12" y="${12 + (row + 0.75) * FONT.height}">${escapeText(line)}</text>`],
    );
    return `<g class="f${index}">${texts.join("")}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="A recording of a terminal">
<style>text{font:${FONT.size}px ui-monospace,Menlo,Consolas,monospace;fill:#e6e6e6;white-space:pre}${styles.join("")}</style>
<rect width="100%" height="100%" rx="8" fill="#16181c"/>
${groups.join("\n")}
</svg>
`;
}

const [out, ...commands] = process.argv.slice(2);
if (out === undefined || commands.length === 0) {
  console.error('usage: npm run record -- out.svg "command" ["command" …]');
  process.exit(2);
}
const frames = await record(commands);
for (const child of background) child.kill();
const svg = render(frames);
writeFileSync(out, svg);
console.log(`${out}: ${frames.length} pictures, ${Math.round(svg.length / 1000)} kB`);
