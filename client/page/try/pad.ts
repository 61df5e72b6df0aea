/**
 * `<commonweight-pad>`: a sheet to draw on, by mouse, finger, pen or keyboard (arrows move, Space puts the pen down and
 * lifts it, Enter reads, Delete clears). Says `drawn` with the picture that the network is given, or null for an empty sheet.
 */

import { html, LitElement, type TemplateResult } from "lit";
import { pictureOf } from "./picture.ts";

/** Pixels of the sheet's side. */
const SIZE = 280;
/** Width of a stroke, in parts of the side: MNIST's strokes are two to three of 28 pixels wide. */
const STROKE = 1 / 12;
/** Milliseconds from a change to the reading: a drawing is read while it grows, not at every move. */
const READ_DELAY = 120;

const MOVES: Readonly<Record<string, readonly [x: number, y: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

class PadElement extends LitElement {
  static override properties = {
    side: { type: Number },
    pen: { state: true },
    isDown: { state: true },
  };

  /** Pixels of a side of the picture. */
  declare side: number;
  /** The keyboard's pen, in cells; null until a key moves it. */
  declare pen: { readonly x: number; readonly y: number } | null;
  declare isDown: boolean;

  #stroke: { readonly x: number; readonly y: number } | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super();
    this.side = 28;
    this.pen = null;
    this.isDown = false;
  }

  /** The page's own stylesheet applies: no shadow tree. */
  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.#timer);
  }

  clear(): void {
    const context = this.#context();
    context?.clearRect(0, 0, SIZE, SIZE);
    this.isDown = false;
    this.#changed();
  }

  #context(): CanvasRenderingContext2D | null {
    return this.querySelector("canvas")?.getContext("2d", { willReadFrequently: true }) ?? null;
  }

  #changed(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), READ_DELAY);
  }

  /** Only how much ink there is counts: its opacity. */
  #read(): void {
    const context = this.#context();
    if (context === null) return;
    const { data } = context.getImageData(0, 0, SIZE, SIZE);
    const ink = new Uint8Array(SIZE * SIZE);
    for (let index = 0; index < ink.length; index++) ink[index] = data[index * 4 + 3];
    const picture = ink.some((value) => value > 0) ? pictureOf(ink, SIZE, this.side) : null;
    this.dispatchEvent(new CustomEvent("drawn", { detail: picture }));
  }

  #line(from: { x: number; y: number }, to: { x: number; y: number }): void {
    const context = this.#context();
    if (context === null) return;
    context.strokeStyle = "black";
    context.lineWidth = SIZE * STROKE;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    this.#changed();
  }

  /** The event's place on the sheet, whatever its size on the screen. */
  #place(event: PointerEvent): { x: number; y: number } {
    const canvas = event.currentTarget as HTMLCanvasElement;
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return { x: ((event.clientX - left) / width) * SIZE, y: ((event.clientY - top) / height) * SIZE };
  }

  readonly #onPointerDown = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    (event.currentTarget as HTMLCanvasElement).setPointerCapture(event.pointerId);
    this.pen = null;
    this.#stroke = this.#place(event);
    this.#line(this.#stroke, this.#stroke);
  };

  readonly #onPointerMove = (event: PointerEvent): void => {
    if (this.#stroke === null) return;
    const place = this.#place(event);
    this.#line(this.#stroke, place);
    this.#stroke = place;
  };

  readonly #onPointerUp = (): void => {
    this.#stroke = null;
  };

  readonly #onKey = (event: KeyboardEvent): void => {
    const move = MOVES[event.key];
    if (move !== undefined) this.#movePen(move);
    else if (event.key === " ") this.#togglePen();
    else if (event.key === "Enter") this.#read();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
  };

  #movePen([x, y]: readonly [number, number]): void {
    const from = this.#penOrMiddle();
    const within = (value: number): number => Math.min(this.side - 1, Math.max(0, value));
    const to = { x: within(from.x + x), y: within(from.y + y) };
    this.pen = to;
    if (this.isDown) this.#line(this.#centre(from), this.#centre(to));
  }

  #togglePen(): void {
    this.pen = this.#penOrMiddle();
    this.isDown = !this.isDown;
    if (this.isDown) this.#line(this.#centre(this.pen), this.#centre(this.pen));
  }

  #penOrMiddle(): { x: number; y: number } {
    const middle = Math.floor(this.side / 2);
    return this.pen ?? { x: middle, y: middle };
  }

  #centre({ x, y }: { x: number; y: number }): { x: number; y: number } {
    const cell = SIZE / this.side;
    return { x: (x + 0.5) * cell, y: (y + 0.5) * cell };
  }

  protected override render(): TemplateResult {
    const { pen, side } = this;
    return html`
      <div class="sheet">
        <canvas
          width=${SIZE}
          height=${SIZE}
          tabindex="0"
          role="application"
          aria-label="Sheet to draw on"
          aria-describedby="pad-keys"
          @pointerdown=${this.#onPointerDown}
          @pointermove=${this.#onPointerMove}
          @pointerup=${this.#onPointerUp}
          @pointercancel=${this.#onPointerUp}
          @keydown=${this.#onKey}
        ></canvas>
        <svg viewBox="0 0 ${side} ${side}" aria-hidden="true">
          <rect class=${this.isDown ? "pen down" : "pen"} x=${pen?.x ?? 0} y=${pen?.y ?? 0} width="1" height="1"
            visibility=${pen === null ? "hidden" : "visible"}></rect>
        </svg>
      </div>
      <p class="quiet small" id="pad-keys">
        Draw with finger, pen or mouse. By keyboard: arrows move, Space puts the pen down and lifts it, Enter reads, Delete
        clears.
      </p>
    `;
  }
}

customElements.define("commonweight-pad", PadElement);

export type { PadElement };
