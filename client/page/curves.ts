/** One curve on a canvas (uPlot) that follows the width of its element and the colour scheme. */

import uPlot from "uplot";

export interface CurveStyle {
  readonly label: string;
  /** Name of the CSS custom property with the line's colour. */
  readonly colour: string;
  readonly format: (value: number) => string;
  /** Draws a dot at each value: for few values. */
  readonly dots: boolean;
}

export class Curve {
  readonly #element: HTMLElement;
  readonly #style: CurveStyle;
  readonly #observer: ResizeObserver;
  readonly #scheme = matchMedia("(prefers-color-scheme: dark)");
  readonly #redraw = (): void => this.#rebuild();
  #plot: uPlot | null = null;
  #data: [number[], number[]] = [[], []];

  constructor(element: HTMLElement, style: CurveStyle) {
    this.#element = element;
    this.#style = style;
    this.#observer = new ResizeObserver(() => {
      this.#plot?.setSize({ width: element.clientWidth, height: 220 });
    });
    this.#observer.observe(element);
    this.#scheme.addEventListener("change", this.#redraw);
    this.#rebuild();
  }

  /** Steps and values, both in the order of the steps. */
  draw(steps: number[], values: number[]): void {
    this.#data = [steps, values];
    this.#plot?.setData(this.#data);
  }

  dispose(): void {
    this.#observer.disconnect();
    this.#scheme.removeEventListener("change", this.#redraw);
    this.#plot?.destroy();
  }

  #rebuild(): void {
    this.#plot?.destroy();
    const styles = getComputedStyle(this.#element);
    const colour = (name: string): string => resolveColour(this.#element, styles.getPropertyValue(name));
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    this.#plot = new uPlot(
      {
        width: this.#element.clientWidth || 320,
        height: 220,
        scales: { x: { time: false } },
        legend: { show: false },
        axes: [axis, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => this.#style.format(tick)) }],
        series: [
          { label: "step" },
          {
            label: this.#style.label,
            stroke: colour(this.#style.colour),
            width: 2,
            points: { show: this.#style.dots },
          },
        ],
      },
      this.#data,
      this.#element,
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

/** Exponential moving average that starts unbiased: the line people read a noisy loss by. */
export function smooth(values: readonly number[], keep: number): number[] {
  const out: number[] = [];
  let average = 0;
  let weight = 0;
  for (const value of values) {
    average = keep * average + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    out.push(average / weight);
  }
  return out;
}
