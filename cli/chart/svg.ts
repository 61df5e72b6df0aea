/**
 * Curves as an SVG picture: axes, a legend, and lines that mark values. It has no background, and its colours are legible on
 * a light page and on a dark one, so that one file serves both; it needs no script, no font file and no style sheet.
 *
 * It leaves out whatever a page does better: nothing can be pointed at, zoomed or animated.
 */

import { type Axis, createAxis, type Point, type Range, segments } from "./axis.ts";

/** One curve. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** How it is drawn: a line by default, a thin pale one for what only stands behind another, or dots without a line. */
  readonly style?: "line" | "faint" | "dots";
}

/** A vertical line at a value of x, with its name above the plot; with `y` there is a dot at that height. */
export interface Marker {
  readonly x: number;
  readonly y?: number;
  readonly label: string;
}

/** What `lineChart` draws. */
export interface ChartOptions {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  readonly markers?: readonly Marker[];
  /** Logarithmic axes. */
  readonly logX?: boolean;
  readonly logY?: boolean;
  /** What is shown, by default everything. Curves are cut off at the edge. */
  readonly xRange?: Range;
  readonly yRange?: Range;
  /** Pixels, 720 × 400 by default. */
  readonly width?: number;
  readonly height?: number;
}

/** Grey of 4.5 : 1 on white and 4.1 : 1 on GitHub's dark pages. */
const INK = "#767676";
/** Middling in brightness, apart from one another for colour-blind eyes, too. */
const COLOURS = ["#2f7fd6", "#c9651b", "#1f9d6b", "#b04fc4", "#a08300", "#d1416b"];

const [LEFT, RIGHT, BOTTOM] = [64, 20, 52];
/** Heights of the header's lines: the title, the legend, one for each marker. */
const [TITLE, LEGEND, MARKER] = [34, 24, 16];
/** Pixels by which lines and dots may stand out of the plot, so that those at its edge are whole. */
const EDGE = 3;
/** Portion of the plot that is left empty above and below the curves. */
const MARGIN = 0.04;
/** Pixels between ticks, at least about so many. */
const [X_SPACE, Y_SPACE] = [80, 48];
/** A character's usual width at the size of the labels. */
const CHARACTER = 6.4;

const STYLE = `text{font:12px system-ui,sans-serif;fill:${INK}}.title{font-size:15px;font-weight:600}`;

/** As text of XML, in which most control characters must not be at all. */
function xmlText(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\uFFFE\uFFFF]/gu, " ")
    .replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A coordinate, no finer than can be seen. */
const at = (value: number): string => String(Math.round(value * 100) / 100);

const colourOf = (index: number): string => COLOURS[index % COLOURS.length];

interface Frame {
  readonly x: Axis;
  readonly y: Axis;
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const across = ({ left, width }: Frame, portion: number): number => left + portion * width;
const down = ({ top, height }: Frame, portion: number): number => top + (1 - portion) * height;

function drawAxes(frame: Frame, { xLabel, yLabel }: ChartOptions): string[] {
  const { x, y, left, top, width, height } = frame;
  const [right, bottom] = [left + width, top + height];
  return [
    ...y.ticks.flatMap(({ value, label }) => {
      const line = at(down(frame, y.place(value)));
      return [
        `<path d="M${left} ${line}H${right}" stroke="${INK}" stroke-opacity=".25"/>`,
        `<text x="${left - 8}" y="${line}" dy=".35em" text-anchor="end">${label}</text>`,
      ];
    }),
    ...x.ticks.flatMap(({ value, label }) => {
      const line = at(across(frame, x.place(value)));
      return [
        `<path d="M${line} ${bottom}v5" stroke="${INK}"/>`,
        `<text x="${line}" y="${bottom + 19}" text-anchor="middle">${label}</text>`,
      ];
    }),
    `<path d="M${left} ${top}V${bottom}H${right}" fill="none" stroke="${INK}"/>`,
    `<text x="${at(left + width / 2)}" y="${bottom + 40}" text-anchor="middle">${xmlText(xLabel)}</text>`,
    `<text x="${left - 8}" y="${TITLE + 14}" text-anchor="start">${xmlText(yLabel)}</text>`,
  ];
}

/** Names with a piece of their line, from the right edge to the left. */
function drawLegend(series: readonly Series[], right: number): string[] {
  let end = right;
  return series
    .map((one, index) => ({ ...one, colour: colourOf(index) }))
    .reverse()
    .flatMap(({ name, colour, style }) => {
      const text = end - name.length * CHARACTER;
      end = text - 44;
      const sample = style === "dots" ? `M${at(text - 14)} ${TITLE + 10}h.01` : `M${at(text - 24)} ${TITLE + 10}h18`;
      return [
        `<path d="${sample}" ${stroke(style, colour)}/>`,
        `<text x="${at(text)}" y="${TITLE + 14}">${xmlText(name)}</text>`,
      ];
    });
}

function stroke(style: Series["style"], colour: string): string {
  const line = `fill="none" stroke="${colour}" stroke-linejoin="round" stroke-linecap="round"`;
  if (style === "faint") return `${line} stroke-opacity=".6"`;
  return `${line} stroke-width="${style === "dots" ? 5 : 2}"`;
}

function drawSeries(frame: Frame, { points, style }: Series, colour: string): string {
  const runs = segments(points, frame.x, frame.y).map((run) =>
    run.map(([x, y]) => `${at(across(frame, x))} ${at(down(frame, y))}`),
  );
  // A point alone is a line of no length, which the round ends make a dot.
  const path =
    style === "dots"
      ? runs.flat().map((point) => `M${point}h.01`)
      : runs.map((run) => `M${run.join("L")}${run.length === 1 ? "h.01" : ""}`);
  return `<path d="${path.join("")}" ${stroke(style, colour)} clip-path="url(#plot)"/>`;
}

/** Each marker's name has a line of its own, the first one's at the top: names never meet, nor other markers on their right. */
function drawMarkers(frame: Frame, markers: readonly Marker[], first: number): string[] {
  const { x, y, left, top, width, height } = frame;
  const ordered = [...markers].sort((a, b) => a.x - b.x);
  return ordered.flatMap((marker, index) => {
    const line = across(frame, x.place(marker.x));
    if (!(line >= left && line <= left + width)) return [];
    const text = first + index * MARKER;
    const isAtEnd = line + 10 + marker.label.length * CHARACTER > left + width;
    const dot = marker.y === undefined ? Number.NaN : down(frame, y.place(marker.y));
    return [
      `<path d="M${at(line)} ${text - 10}V${top + height}" stroke="${INK}" stroke-dasharray="2 3"/>`,
      `<text x="${at(line + (isAtEnd ? -6 : 6))}" y="${text}" text-anchor="${isAtEnd ? "end" : "start"}">${xmlText(marker.label)}</text>`,
      ...(Number.isFinite(dot) ? [`<circle cx="${at(line)}" cy="${at(dot)}" r="4" fill="${INK}"/>`] : []),
    ];
  });
}

/** A whole SVG file. Points that are not finite, or not positive on a logarithmic axis, are gaps. */
export function lineChart(options: ChartOptions): string {
  const { title, series, markers = [], logX = false, logY = false, xRange, yRange } = options;
  const { width = 720, height = 400 } = options;
  const points = series.flatMap((one) => one.points);
  const top = TITLE + LEGEND + markers.length * MARKER + 4;
  const [plotWidth, plotHeight] = [width - LEFT - RIGHT, height - top - BOTTOM];
  const frame: Frame = {
    x: createAxis(
      points.map(([x]) => x),
      { log: logX, range: xRange, ticks: plotWidth / X_SPACE },
    ),
    y: createAxis(
      points.map(([, y]) => y),
      { log: logY, range: yRange, ticks: plotHeight / Y_SPACE, margin: MARGIN },
    ),
    left: LEFT,
    top,
    width: plotWidth,
    height: plotHeight,
  };
  const name = xmlText(title);
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${name}">`,
    `<style>${STYLE}</style>`,
    `<clipPath id="plot"><rect x="${LEFT - EDGE}" y="${top - EDGE}" width="${plotWidth + 2 * EDGE}" height="${plotHeight + 2 * EDGE}"/></clipPath>`,
    `<text class="title" x="${LEFT - 8}" y="22">${name}</text>`,
    ...(series.length > 1 ? drawLegend(series, width - RIGHT) : []),
    ...drawAxes(frame, options),
    ...series
      .map((one, index) => ({ one, colour: colourOf(index) }))
      .sort((a, b) => Number(b.one.style === "faint") - Number(a.one.style === "faint"))
      .map(({ one, colour }) => drawSeries(frame, one, colour)),
    ...drawMarkers(frame, markers, TITLE + LEGEND + 12),
    "</svg>",
  ].join("\n")}\n`;
}
