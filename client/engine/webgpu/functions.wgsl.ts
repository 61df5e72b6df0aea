/**
 * The functions that generated kernels call, as WGSL over T: f32, or vec4f in kernels that work on four elements at a time
 * (U, I likewise). A kernel gets the ones that it names.
 *
 * Whether a value is a number is asked of its bits: WGSL leaves comparisons with NaN open, and NaN must reach the gradient's
 * exponents, where the coordinator sees it.
 */

import { BLOCK } from "../../../shared/codec/exponents.ts";
import { THREEFRY_WGSL } from "../../../shared/random/threefry.wgsl.ts";
import { HEADER } from "./layout.ts";

/** Horner's scheme, coefficients from the highest power down. */
const polynomial = (x: string, coefficients: readonly number[]): string =>
  coefficients.slice(1).reduce((text, coefficient) => `(${text} * ${x} + ${coefficient})`, `${coefficients[0]}`);

const FUNCTIONS: Readonly<Record<string, (width: number) => string>> = {
  keep_nan: () => `fn keep_nan(x: T, y: T) -> T {
  return select(y, x, (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u));
}`,
  // NaN of either operand comes through.
  largest: () => "fn largest(x: T, y: T) -> T { return keep_nan(y, keep_nan(x, max(x, y))); }",
  // Bits from −0 to −∞ become 0; those of a NaN lie above.
  relu: () => "fn relu(x: T) -> T { return select(x, T(0), (bitcast<U>(x) - U(0x80000000u)) <= U(0x7f800000u)); }",
  sigmoid: () => `fn sigmoid(x: T) -> T {
  let e = exp(-abs(x));
  return select(e, T(1), x >= T(0)) / (T(1) + e);
}`,
  // log(1 + e) = 2 artanh(e / (2 + e)), whose argument is at most 1/3: the series ends below f32's precision.
  softplus: () => `fn softplus(x: T) -> T {
  let e = exp(-abs(x));
  let s = e / (e + T(2));
  let q = s * s;
  return max(x, T(0)) + 2 * s * ${polynomial(
    "q",
    [13, 11, 9, 7, 5, 3, 1].map((odd) => 1 / odd),
  )};
}`,
  // Cephes tanhf: a polynomial near 0, where the quotient of exponentials loses digits. Clamped: exp(2·90) overflows.
  hyperbolic_tangent: () => `fn hyperbolic_tangent(x: T) -> T {
  let z = x * x;
  let near = x + x * z * ${polynomial(
    "z",
    [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1],
  )};
  let far = sign(x) * (T(1) - T(2) / (exp(2 * min(abs(x), T(15))) + T(1)));
  return keep_nan(x, select(far, near, abs(x) < T(0.625)));
}`,
  // Cephes erff up to 1, beyond it Abramowitz and Stegun 7.1.26 (1.5e-7 absolute, of values above 0.84).
  erf: () => `fn erf(x: T) -> T {
  let z = x * x;
  let near = x * ${polynomial(
    "z",
    [
      7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3, -2.685381193529856e-2, 1.128358514861418e-1,
      -3.7612625824233e-1, 1.12837916572671,
    ],
  )};
  let y = min(abs(x), T(6));
  let t = T(1) / (T(1) + 0.3275911 * y);
  let far = sign(x) * (T(1) - t * ${polynomial(
    "t",
    [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592],
  )} * exp(-y * y));
  return keep_nan(x, select(far, near, y < T(1)));
}`,
  threefry2x32: () => THREEFRY_WGSL,
  // Unit u of a sample takes word u mod 2 of block u / 2 (shared/random/dropout.ts).
  dropout: (width) => `fn dropout(key: vec2u, position: u32, unit: u32, threshold: u32, scale: f32) -> T {
${
  width === 1
    ? `  let words = threefry2x32(key, vec2u(position, unit >> 1u));
  let word = select(words.x, words.y, (unit & 1u) == 1u);`
    : `  let word = vec4u(
    threefry2x32(key, vec2u(position, unit >> 1u)), threefry2x32(key, vec2u(position, (unit >> 1u) + 1u)));`
}
  return select(T(0), T(scale), word >= U(threshold));
}`,
  // Fixed-point sums (shared/codec/fixed.ts): round() is ties to even, and the scale is a power of two, so the product is
  // exact; a product too small for f32 would round to 0 anyway. The announced exponents bound the scales. Only what is to be
  // added to is read.
  accumulate: (width) => `fn accumulate(at: u32, value: T) {
  let magnitude = bitcast<U>(value) & U(0x7fffffffu);
  let block = at / ${BLOCK}u;
  let most = ${width === 1 ? "magnitude" : "max(max(magnitude.x, magnitude.y), max(magnitude.z, magnitude.w))"};
  if (most > atomicLoad(&stats[block])) { atomicMax(&stats[block], most); }
  let units = round(select(T(0), value, magnitude < U(0x7f800000u)) * scales[block]);
  let over = abs(units) >= T(bitcast<f32>(header(${HEADER.limitFloat}u)));
  let limit = I(bitcast<i32>(header(${HEADER.limit}u)));
  var sum = select(I(units), select(-limit, limit, units > T(0)), over);
  if (header(${HEADER.adds}u) != 0u) { sum += sums[${width === 1 ? "at" : "at / 4u"}]; }
  sums[${width === 1 ? "at" : "at / 4u"}] = sum;
  if (${width === 1 ? "over" : "any(over)"}) { atomicAdd(&stats[clamped_at], ${width === 1 ? "1u" : "dot(select(U(0), U(1), over), U(1))"}); }
}`,
  header: (width) => `fn header(at: u32) -> u32 { return ${width === 1 ? "input[at]" : "input[at >> 2u][at & 3u]"}; }`,
};

/** The functions that `body` calls, and those that they call. */
export function functionsFor(body: string, width: number): string {
  const wanted = new Map<string, string>();
  const visit = (text: string): void => {
    for (const [name, write] of Object.entries(FUNCTIONS)) {
      if (wanted.has(name) || !text.includes(`${name}(`)) continue;
      const source = write(width);
      wanted.set(name, source);
      visit(source);
    }
  };
  visit(body);
  return [...wanted.values()].join("\n");
}
