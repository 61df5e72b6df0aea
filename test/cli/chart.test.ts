import { describe, expect, it } from "vitest";
import { createAxis, type Point } from "../../cli/chart/axis.ts";
import { type ChartOptions, lineChart } from "../../cli/chart/svg.ts";
import { drawChart } from "../../cli/chart/terminal.ts";

const labels = (values: number[], log: boolean, ticks: number): string[] =>
  createAxis(values, { log, ticks }).ticks.map(({ label }) => label);

describe("the ticks of an axis", () => {
  it.each<[from: number, to: number, ticks: number, expected: string[]]>([
    [0, 1, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]],
    [-3, 7, 4, ["0", "5"]],
    [0, 1234, 3, ["0", "500", "1000"]],
    [2e6, 8e6, 4, ["2e6", "4e6", "6e6", "8e6"]],
  ])("are round, from %f to %f", (from, to, ticks, expected) => {
    expect(labels([from, to], false, ticks)).toEqual(expected);
  });

  it.each<[from: number, to: number, ticks: number, expected: string[]]>([
    [1e-6, 10, 10, ["1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1", "1e1"]],
    [1e-12, 1, 4, ["1e-12", "1e-9", "1e-6", "1e-3", "1"]],
    [1, 64, 10, ["1", "2", "5", "10", "20", "50"]],
    [3, 4, 2, ["3", "3.5", "4"]],
  ])("are powers of ten on a logarithmic axis, or finer: %f to %f", (from, to, ticks, expected) => {
    expect(labels([from, to], true, ticks)).toEqual(expected);
  });

  it("lie where the values do", () => {
    const log = createAxis([1e-4, 1], { log: true, ticks: 4 });
    expect([1e-4, 1e-2, 1].map(log.place)).toEqual([0, 0.5, 1]);
    expect([0, -1, Number.NaN, Number.POSITIVE_INFINITY].map(log.place)).toEqual([NaN, NaN, NaN, NaN]);
  });

  it("are there for one value, and for none", () => {
    expect(createAxis([5], { log: false, ticks: 4 }).place(5)).toBe(0.5);
    expect(createAxis([0], { log: false, ticks: 4 }).place(0)).toBe(0.5);
    expect(createAxis([], { log: true, ticks: 4 }).ticks.length).toBeGreaterThan(0);
    expect(createAxis([Number.NaN], { log: false, ticks: 4 }).ticks.length).toBeGreaterThan(0);
  });
});

/** Throws unless every tag is closed, every attribute is quoted, and text has no characters of its own meaning. */
function checkXml(text: string): void {
  const open: string[] = [];
  const rest = text.replace(/<(\/?)([a-zA-Z]+)((?: [\w-]+(?::\w+)?="[^"<]*")*)(\/?)>/g, (_, end, name, __, self) => {
    if (end === "/") {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
    } else if (self !== "/") open.push(name);
    return "";
  });
  if (open.length > 0) throw new Error(`not closed: ${open.join(" ")}`);
  if (/[<>]|&(?!#\d+;)/.test(rest)) throw new Error(`loose text: ${rest}`);
}

const chart = (options: Partial<ChartOptions>): string =>
  lineChart({ title: "A curve", xLabel: "x", yLabel: "y", series: [], ...options });

/** Paths of curves, by the plot that they are cut off at. */
const curvesOf = (svg: string): string[] => [...svg.matchAll(/<path d="([^"]*)"[^>]*clip-path/g)].map(([, d]) => d!);

const LINE: Point[] = [
  [0, 0],
  [1, 2],
  [2, 1],
];

describe("a chart as SVG", () => {
  it("is well-formed, whatever the texts hold", () => {
    const nasty = `<script>"&'\u0000\uD800]]></svg>`;
    const svg = chart({
      title: nasty,
      xLabel: nasty,
      series: [
        { name: nasty, points: LINE },
        { name: "b", points: LINE },
      ],
      markers: [{ x: 1, label: nasty }],
    });
    checkXml(svg);
    expect(svg).not.toContain("<script");
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 720 400" /);
  });

  it("draws each point at its place", () => {
    const svg = chart({ series: [{ name: "a", points: LINE }], yRange: [0, 2], width: 284, height: 214 });
    // The plot is 200 × 100 pixels with its lower left corner at (64, 162).
    expect(curvesOf(svg)).toEqual(["M64 162L164 62L264 112"]);
  });

  it("has a gap where a value is missing, and a dot where one stands alone", () => {
    const points: Point[] = [
      [0, 1],
      [1, Number.NaN],
      [2, 1],
      [3, 2],
    ];
    const [path] = curvesOf(chart({ series: [{ name: "a", points }] }));
    expect(path).toMatch(/^M[\d.]+ [\d.]+h\.01M[\d.]+ [\d.]+L[\d.]+ [\d.]+$/);
  });

  it("names markers from the left and the top, whatever their order", () => {
    const markers = [
      { x: 2, label: "right" },
      { x: 0, label: "left" },
      { x: 1, label: "middle" },
    ];
    const names = chart({ series: [{ name: "a", points: LINE }], markers }).matchAll(/y="(\d+)"[^>]*>(\w+)<\/text>/g);
    const found = [...names].filter(([, , name]) => markers.some(({ label }) => label === name));
    expect(found.map(([, y, name]) => [Number(y), name])).toEqual([
      [70, "left"],
      [86, "middle"],
      [102, "right"],
    ]);
  });

  it("draws nothing that is not a number", () => {
    for (const points of [[], [[0, Number.NaN]], [[-1, 5]]] as Point[][]) {
      const svg = chart({ series: [{ name: "a", points }], logX: true, markers: [{ x: -1, label: "m" }] });
      checkXml(svg);
      expect(svg).not.toMatch(/NaN|Infinity/);
    }
  });
});

describe("a chart in a terminal", () => {
  const draw = (points: Point[], columns = 40) =>
    drawChart({ points, xLabel: "learning rate", yLabel: "loss", logX: true, columns, rows: 4, markers: [] });

  it("is a curve between its axes", () => {
    expect(
      draw([
        [1e-3, 2],
        [1e-2, 1],
        [1e-1, 0],
        [1, 2],
      ]),
    ).toEqual([
      "   loss",
      " 2 ┤⠉⠒⠢⠤⣀⡀                          ⡠⠔⠊",
      "   │     ⠈⠉⠒⠢⠤⣀⡀                 ⡠⠔⠉",
      "   │           ⠈⠉⠑⠒⠤⢄⣀        ⣀⠔⠊",
      " 0 ┤                  ⠉⠑⠒⠤⢄⡠⠔⠊",
      "   └┬──────────┬───────────┬──────────┬",
      "    0.001    0.01         0.1         1",
      "               learning rate",
    ]);
  });

  it.each([20, 80, 200])("fits into %i columns", (columns) => {
    const points = Array.from({ length: 50 }, (_, at): Point => [10 ** (at / 7 - 6), Math.sin(at)]);
    const lines = drawChart({
      points,
      xLabel: "learning rate",
      yLabel: "loss",
      logX: true,
      columns,
      rows: 15,
      markers: [{ x: 10, label: "at the end" }],
    });
    for (const line of lines) expect([...line].length).toBeLessThan(Math.max(columns, 30));
  });

  it("marks a value below the axis, its name on the side that has room", () => {
    const lines = drawChart({
      points: [
        [1, 0],
        [100, 1],
      ],
      xLabel: "x",
      yLabel: "y",
      columns: 40,
      rows: 3,
      markers: [
        { x: 1, label: "first" },
        { x: 100, label: "last" },
      ],
    });
    expect(lines.find((line) => line.includes("first"))).toMatch(/^ +▲ first$/);
    expect(lines.find((line) => line.includes("last"))).toMatch(/^ +last ▲$/);
  });
});
