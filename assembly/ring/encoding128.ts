/** Fixed point in Z_2^128: real numbers to elements and back. */

/** The bits of a double that are 0 in a power of two. */
const FRACTION: u64 = 0x000fffffffffffff
/** Bits of a double's fraction, and what is added to its exponent. */
const FRACTION_BITS: u64 = 52
const BIAS: u64 = 1023

/** round(values · scale); the result is true if one of them is not below the limit, which is at most 2^64. */
export function encodeFloat32To128(out: usize, values: usize, scale: f64, limit: f64, n: i32): bool {
  let good = true
  for (let i = 0; i < n; i++) {
    const scaled = <f64>load<f32>(values + (<usize>i << 2)) * scale
    good = good && abs(scaled) < limit
    storeRounded(out + (<usize>i << 4), scaled)
  }
  return !good
}

/** As {@link encodeFloat32To128}. */
export function encodeFloat64To128(out: usize, values: usize, scale: f64, limit: f64, n: i32): bool {
  let good = true
  for (let i = 0; i < n; i++) {
    const scaled = load<f64>(values + (<usize>i << 3)) * scale
    good = good && abs(scaled) < limit
    storeRounded(out + (<usize>i << 4), scaled)
  }
  return !good
}

/** To the nearest whole number and to even; what is too large or none becomes something. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function storeRounded(out: usize, x: f64): void {
  const magnitude = <u64>nearest(abs(x))
  const sign = <u64>(<i64>reinterpret<u64>(x) >> 63)
  const low = (magnitude ^ sign) - sign
  store<u64>(out, low)
  store<u64>(out, low == 0 ? 0 : sign, 8)
}

/** Signed elements / scale, as float32. */
export function decode128(out: usize, a: usize, scale: f64, n: i32): void {
  const isPower = (reinterpret<u64>(scale) & FRACTION) == 0
  const inverse = 1 / scale
  for (let i = 0; i < n; i++) {
    const x = toDouble(load<u64>(a + (<usize>i << 4)), load<u64>(a + (<usize>i << 4), 8))
    // A power of two has an inverse, and a product takes less time than a quotient.
    store<f32>(out + (<usize>i << 2), <f32>(isPower ? x * inverse : x / scale))
  }
}

/**
 * A signed element as a double. What does not fit into 53 bits is rounded to odd (its last bit is set if anything was cut
 * off), so that rounding once more, to the 24 bits of a float32, is rounding once (S. Boldo, G. Melquiond, "Emulation of a
 * FMA and correctly rounded sums", IEEE Trans. Comput. 57(4), 2008).
 */
// @ts-ignore: a decorator of AssemblyScript
@inline
function toDouble(low: u64, high: u64): f64 {
  // What fits into a word of 53 bits, with its sign, is exact.
  if (high == <u64>(<i64>low >> 63) && low + (<u64>1 << 53) <= <u64>1 << 54) return <f64>(<i64>low)
  const sign = <u64>(<i64>high >> 63)
  const x0 = (low ^ sign) - sign
  const x1 = (high ^ sign) + (sign & u64(x0 == 0))
  const zeros = x1 == 0 ? 64 + clz(x0) : clz(x1)
  let top: u64
  let rest: u64
  if (zeros >= 64) {
    top = x0 << (zeros - 64)
    rest = 0
  } else {
    top = (x1 << zeros) | ((x0 >> 1) >> (63 - zeros))
    rest = x0 << zeros
  }
  const odd = (top >> 11) | u64((top & 2047) != 0 || rest != 0)
  // The 53 bits of `odd` stand 75 − zeros places further up.
  const power = reinterpret<f64>((BIAS + 75 - zeros) << FRACTION_BITS)
  const magnitude = <f64>odd * power
  return sign ? -magnitude : magnitude
}
