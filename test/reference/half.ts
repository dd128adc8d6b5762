/** binary16 by its definition (IEEE 754-2019, 3.4 and 4.3.1), one value after the other: the slow twin of `float16.ts`. */

/** What the bits of a half mean: (−1)^sign · 2^(exponent − 15) · 1.fraction, and 2^−14 · 0.fraction for exponent 0. */
export function valueOfHalf(bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1
  const exponent = Math.floor(bits / 1024) % 32
  const fraction = bits % 1024
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (exponent === 0) return sign * (fraction / 1024) * 2 ** -14
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

const LARGEST = 0x7bff

/**
 * The half nearest to a float32: of the two around it the nearer one, of two that are as near the even one. Halves of one
 * sign are in the order of their bits. The middle of two has 12 digits, so that it is exact in a double, and so is every
 * float32. Beyond the largest half that is the largest.
 */
export function halfOf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude === Number.POSITIVE_INFINITY) return sign + 0x7c00
  let [below, above] = [0, LARGEST]
  if (magnitude >= valueOfHalf(above)) return sign + above
  while (above - below > 1) {
    const between = Math.floor((below + above) / 2)
    if (valueOfHalf(between) <= magnitude) below = between
    else above = between
  }
  const middle = (valueOfHalf(below) + valueOfHalf(above)) / 2
  if (magnitude === middle) return sign + (below % 2 === 0 ? below : above)
  return sign + (magnitude < middle ? below : above)
}
