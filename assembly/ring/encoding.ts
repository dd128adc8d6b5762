/** Fixed point: real numbers to words and back. */

/** 1.5·2^52: a double of this size has no bits after the point, so adding it rounds, to nearest and to even. */
const NO_FRACTION: f64 = 6755399441055744.0
/** The bits of the above. */
const NO_FRACTION_BITS: i64 = 0x4338000000000000

/** The bits of a double that are 0 in a power of two. */
const FRACTION: u64 = 0x000fffffffffffff

/** Bits of 2^52, of 2^84 + 2^63, and 2^84 + 2^63 + 2^52 as a double. */
const TWO_52: i64 = 0x4330000000000000
const TWO_84: i64 = 0x4530000080000000
const OFFSETS: f64 = 19342822341709703277445120.0

/** round(values · scale); the result is true if one of them is not below the limit. What pads them is overwritten. */
export function encodeFloat32(out: usize, values: usize, scale: f64, limit: f64, n: i32): bool {
  v128.store(values + (<usize>n << 2), i64x2.splat(0))
  const scales = f64x2.splat(scale)
  const limits = f32x4.splat(above(limit / scale))
  let good = i32x4.splat(-1)
  for (const end = out + (<usize>n << 3); out < end; out += 32, values += 16) {
    const four = v128.load(values)
    good = v128.and(good, f32x4.lt(f32x4.abs(four), limits))
    const first = f64x2.mul(f64x2.promote_low_f32x4(four), scales)
    const second = f64x2.mul(f64x2.promote_low_f32x4(v128.load64_zero(values, 8)), scales)
    v128.store(out, rounded(first))
    v128.store(out, rounded(second), 16)
  }
  return !i32x4.all_true(good)
}

/** The least float32 that is not below a positive number: below it are the same float32s as below the number. */
function above(limit: f64): f32 {
  const near = <f32>limit
  return <f64>near < limit ? reinterpret<f32>(reinterpret<u32>(near) + 1) : near
}

/** As {@link encodeFloat32}. */
export function encodeFloat64(out: usize, values: usize, scale: f64, limit: f64, n: i32): bool {
  store<f64>(values + (<usize>n << 3), 0)
  const scales = f64x2.splat(scale)
  const limits = f64x2.splat(limit)
  let good = i64x2.splat(-1)
  for (const end = out + (<usize>n << 3); out < end; out += 16, values += 16) {
    const scaled = f64x2.mul(v128.load(values), scales)
    good = v128.and(good, below(scaled, limits))
    v128.store(out, rounded(scaled))
  }
  return !i64x2.all_true(good)
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function below(x: v128, limits: v128): v128 {
  return f64x2.lt(f64x2.abs(x), limits)
}

/** Doubles below 2^51 to the nearest whole numbers. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function rounded(x: v128): v128 {
  return i64x2.sub(f64x2.add(x, f64x2.splat(NO_FRACTION)), i64x2.splat(NO_FRACTION_BITS))
}

/** Signed words / scale, as float32. */
export function decode(out: usize, a: usize, scale: f64, n: i32): void {
  // A power of two has an inverse, and a product takes less time than a quotient.
  if ((reinterpret<u64>(scale) & FRACTION) == 0) decodeBy(out, a, 1 / scale, n, true)
  else decodeBy(out, a, scale, n, false)
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function decodeBy(out: usize, a: usize, factor: f64, n: i32, multiplies: bool): void {
  const factors = f64x2.splat(factor)
  for (const end = a + (<usize>n << 3); a < end; a += 32, out += 16) {
    const x = toDoubles(v128.load(a))
    const y = toDoubles(v128.load(a, 16))
    const first = f32x4.demote_f64x2_zero(multiplies ? f64x2.mul(x, factors) : f64x2.div(x, factors))
    const second = f32x4.demote_f64x2_zero(multiplies ? f64x2.mul(y, factors) : f64x2.div(y, factors))
    v128.store(out, v128.shuffle<u64>(first, second, 0, 2))
  }
}

/**
 * Signed words to doubles, rounded once: the halves are put into the fractions of 2^52 and of 2^84 + 2^63, which makes
 * doubles of them, and those two powers are taken off again. The difference is exact, and the sum rounds.
 */
// @ts-ignore: a decorator of AssemblyScript
@inline
function toDoubles(x: v128): v128 {
  const low = v128.shuffle<u32>(x, i64x2.splat(TWO_52), 0, 5, 2, 7)
  const high = v128.xor(i64x2.shr_u(x, 32), i64x2.splat(TWO_84))
  return f64x2.add(f64x2.sub(high, f64x2.splat(OFFSETS)), low)
}
