/**
 * The inner loops over parameters, in AssemblyScript with 128-bit SIMD. Pointers are byte offsets into the one linear
 * memory, 16-byte aligned; counts are elements, multiples of 4. Plain IEEE operations only, no relaxed SIMD, so that every
 * machine computes the same bits.
 */

const LANE_BYTES: usize = 16;

/** sums[i] += incoming[i], both i32. */
export function addFixed32(sums: usize, incoming: usize, count: i32): void {
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    v128.store(sums, i32x4.add(v128.load(sums), v128.load(incoming)));
    sums += LANE_BYTES;
    incoming += LANE_BYTES;
  }
}

/** sums[i] += incoming[i], sums i32 and incoming i16. */
export function addFixed16(sums: usize, incoming: usize, count: i32): void {
  const end = sums + (<usize>count << 2);
  while (sums < end) {
    v128.store(sums, i32x4.add(v128.load(sums), v128.load_ext<i16>(incoming)));
    sums += LANE_BYTES;
    incoming += 8;
  }
}

/** In place: i32 sums become f32 gradients, each block of 256 times its scale. */
export function decode(values: usize, scales: usize, count: i32): void {
  const end = values + (<usize>count << 2);
  while (values < end) {
    const scale = v128.load32_splat(scales);
    const blockEnd = min(values + 1024, end);
    while (values < blockEnd) {
      v128.store(values, f32x4.mul(f32x4.convert_i32x4_s(v128.load(values)), scale));
      values += LANE_BYTES;
    }
    scales += 4;
  }
}

/** Σ g², each square and the sum in f64, in two lanes of fixed order. */
export function squaredNorm(gradients: usize, count: i32): f64 {
  let sum = f64x2.splat(0);
  const end = gradients + (<usize>count << 2);
  while (gradients < end) {
    const values = v128.load(gradients);
    const low = f64x2.promote_low_f32x4(values);
    const high = f64x2.promote_low_f32x4(i8x16.shuffle(values, values, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    sum = f64x2.add(sum, f64x2.mul(low, low));
    sum = f64x2.add(sum, f64x2.mul(high, high));
    gradients += LANE_BYTES;
  }
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}

/**
 * m ← β₁·m + (1−β₁)·g;  v ← β₂·v + (1−β₂)·g²;  w ← w − stepSize · m / (√v / rootBias2 + eps), with g the gradient times `scale`.
 */
export function adam(
  weights: usize,
  m: usize,
  v: usize,
  gradients: usize,
  count: i32,
  scale: f32,
  beta1: f32,
  rest1: f32,
  beta2: f32,
  rest2: f32,
  stepSize: f32,
  rootBias2: f32,
  eps: f32,
): void {
  const scales = f32x4.splat(scale);
  const betas1 = f32x4.splat(beta1);
  const rests1 = f32x4.splat(rest1);
  const betas2 = f32x4.splat(beta2);
  const rests2 = f32x4.splat(rest2);
  const steps = f32x4.splat(stepSize);
  const roots = f32x4.splat(rootBias2);
  const epsilons = f32x4.splat(eps);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    const g = f32x4.mul(v128.load(gradients), scales);
    const first = f32x4.add(f32x4.mul(v128.load(m), betas1), f32x4.mul(g, rests1));
    const second = f32x4.add(f32x4.mul(v128.load(v), betas2), f32x4.mul(f32x4.mul(g, g), rests2));
    v128.store(m, first);
    v128.store(v, second);
    const denominator = f32x4.add(f32x4.div(f32x4.sqrt(second), roots), epsilons);
    v128.store(weights, f32x4.sub(v128.load(weights), f32x4.mul(steps, f32x4.div(first, denominator))));
    weights += LANE_BYTES;
    m += LANE_BYTES;
    v += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}

/** w ← w − lr·g, with g the gradient times `scale`. */
export function sgd(weights: usize, gradients: usize, count: i32, scale: f32, lr: f32): void {
  const scales = f32x4.splat(scale);
  const rates = f32x4.splat(lr);
  const end = weights + (<usize>count << 2);
  while (weights < end) {
    v128.store(weights, f32x4.sub(v128.load(weights), f32x4.mul(rates, f32x4.mul(v128.load(gradients), scales))));
    weights += LANE_BYTES;
    gradients += LANE_BYTES;
  }
}
