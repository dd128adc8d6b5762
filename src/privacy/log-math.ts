/** Sums and tails whose size only a logarithm can hold. */

/** log(e^a + e^b). */
export function logAdd(a: number, b: number): number {
  const [small, large] = a < b ? [a, b] : [b, a]
  return small === -Infinity ? large : large + Math.log1p(Math.exp(small - large))
}

/** log(e^a − e^b), for a ≥ b. */
export function logSubtract(a: number, b: number): number {
  return b === -Infinity ? a : a + Math.log1p(-Math.exp(b - a))
}

/** log(e^x − 1), for x > 0. */
export function logExpm1(x: number): number {
  return x + Math.log(-Math.expm1(-x))
}

/** From here on the continued fraction gives erfc; below, one less the series of erf still keeps 13 digits. */
const SERIES_BELOW = 2

/** log erfc(x), for every x: erfc itself is below the smallest double from 27 on. */
export function logErfc(x: number): number {
  return x < SERIES_BELOW ? Math.log1p(-erfBySeries(x)) : -x * x - Math.log(Math.sqrt(Math.PI) * fraction(x))
}

/** erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)), of one sign throughout (Abramowitz and Stegun 7.1.6). */
function erfBySeries(x: number): number {
  // Within one unit of the last place of −1.
  if (x < -6) return -1
  let term = x
  let sum = x
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 2 ** -54; n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

/** x + (1/2)/(x + 1/(x + (3/2)/(x + …))) = e^(−x²) / (√π erfc(x)), for x > 0 (Abramowitz and Stegun 7.1.14). */
function fraction(x: number): number {
  // As deep as 15 digits take: 76 levels at 2, 31 at 4.
  let value = x
  for (let k = Math.ceil(16 + 240 / (x * x)); k >= 1; k--) value = x + k / 2 / value
  return value
}
