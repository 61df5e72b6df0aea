/**
 * `<commonweight-curve>`: one curve on a canvas (uPlot) that follows the width of its element and the colour scheme. It is
 * for the eye alone: whoever places it says the same in words beside it.
 */

import uPlot from "uplot";

export interface CurveStyle {
  /** Name of the CSS custom property with the line's colour. */
  readonly colour: string;
  readonly format: (value: number) => string;
  readonly formatX: (value: number) => string;
  /** Distances that the ticks of the x axis may have. */
  readonly distances: readonly number[];
  /** Draws a dot at each value: for few values. */
  readonly dots: boolean;
  /** Whether the scale starts at 0. */
  readonly fromZero: boolean;
}

const HEIGHT = 180;

/** Of steps: 1, 2, 5, 10, … */
export const WHOLE_DISTANCES: readonly number[] = Array.from({ length: 8 }, (_, power) =>
  [1, 2, 5].map((digit) => digit * 10 ** power),
).flat();

/** Of seconds: from one to a week, as people count them. */
export const TIME_DISTANCES: readonly number[] = [1, 60, 3_600]
  .flatMap((unit) => [1, 2, 5, 10, 15, 30].map((count) => count * unit))
  .concat([86_400, 604_800]);

const DEFAULT_STYLE: CurveStyle = {
  colour: "--accent",
  format: String,
  formatX: String,
  distances: WHOLE_DISTANCES,
  dots: false,
  fromZero: false,
};

export class CurveElement extends HTMLElement {
  readonly #scheme = matchMedia("(prefers-color-scheme: dark)");
  readonly #redraw = (): void => this.#rebuild();
  #observer: ResizeObserver | null = null;
  #plot: uPlot | null = null;
  #style = DEFAULT_STYLE;
  #points: [xs: number[], ys: number[]] = [[], []];
  #drawn = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Set once, before the first points. */
  set look(style: CurveStyle) {
    this.#style = style;
  }

  set points(points: [xs: number[], ys: number[]]) {
    this.#points = points;
    // Nothing new, nothing drawn: the page renders for other reasons too.
    const [xs, ys] = points;
    const state = `${xs.length} ${xs.at(-1)} ${ys.at(-1)}`;
    if (state === this.#drawn) return;
    this.#drawn = state;
    // A task of its own for each curve: all of them at once could hold the page up.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#plot?.setData(this.#points);
    });
  }

  connectedCallback(): void {
    this.setAttribute("aria-hidden", "true");
    this.#observer = new ResizeObserver(() => {
      this.#plot?.setSize({ width: this.clientWidth, height: HEIGHT });
    });
    this.#observer.observe(this);
    this.#scheme.addEventListener("change", this.#redraw);
    this.#rebuild();
  }

  disconnectedCallback(): void {
    this.#observer?.disconnect();
    this.#scheme.removeEventListener("change", this.#redraw);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#plot?.destroy();
    this.#plot = null;
  }

  #rebuild(): void {
    this.#plot?.destroy();
    const { colour, format, formatX, distances, dots, fromZero } = this.#style;
    const styles = getComputedStyle(this);
    const resolve = (name: string): string => resolveColour(this, styles.getPropertyValue(name));
    const axis = { stroke: resolve("--quiet"), grid: { stroke: resolve("--line"), width: 1 }, ticks: { show: false } };
    this.#plot = new uPlot(
      {
        width: this.clientWidth || 320,
        height: HEIGHT,
        scales: {
          x: { time: false },
          ...(fromZero ? { y: { range: (_, __, most) => [0, most > 0 ? most : 1] } } : {}),
        },
        legend: { show: false },
        cursor: { show: false },
        axes: [
          { ...axis, size: 28, incrs: [...distances], values: (_, ticks) => ticks.map(formatX) },
          { ...axis, size: 56, values: (_, ticks) => ticks.map(format) },
        ],
        series: [{}, { stroke: resolve(colour), width: 2, points: { show: dots } }],
      },
      this.#points,
      this,
    );
  }
}

/** A canvas cannot read `light-dark()`: let the browser compute it. */
function resolveColour(within: HTMLElement, value: string): string {
  const probe = document.createElement("span");
  probe.style.color = value;
  within.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

customElements.define("commonweight-curve", CurveElement);
