/**
 * Rényi differential privacy of the Gaussian mechanism, with and without Poisson sampling.
 *
 * A mechanism is (α, ρ)-RDP when the Rényi divergence of order α between its results on neighbouring inputs is at most
 * ρ (Mironov, CSF '17, arXiv 1702.07476, Definition 4). Over several steps ρ adds up (Proposition 1).
 *
 * Here the result is a sum of vectors of norm at most 1 plus N(0, σ²), neighbours differ in one vector that is there or
 * not, and each vector takes part with probability q, independently of all others (Mironov, Talwar, Zhang 2019, arXiv
 * 1908.10530). ρ = log(A_α) / (α − 1), with A_α = E[((1 − q) + q·e^((2z−1)/2σ²))^α] over z of N(0, σ²) (section 3.3).
 */
import { logAdd, logErfc, logExpm1, logSubtract } from './log-math.ts'

/**
 * ρ of one step.
 *
 * @param noiseMultiplier σ: the deviation of the noise in units of the largest norm; 0 gives Infinity
 * @param sampleRate q, from 0 to 1
 * @param order α, above 1
 */
export function gaussianRdp(noiseMultiplier: number, sampleRate: number, order: number): number {
  if (sampleRate === 0) return 0
  if (noiseMultiplier === 0) return Infinity
  // Mironov '17, Proposition 7.
  if (sampleRate === 1) return order / (2 * noiseMultiplier ** 2)
  const logA = Number.isInteger(order) ? logAOfInteger : logAOfFraction
  // Rounding may take a divergence of almost nothing below it.
  return Math.max(0, logA(sampleRate, noiseMultiplier, order) / (order - 1))
}

/**
 * log A_α = log Σ C(α, k) (1 − q)^(α−k) q^k e^((k²−k)/2σ²) over k from 0 to α (Mironov, Talwar, Zhang, section 3.3).
 *
 * Summed as A_α − 1, by taking the terms of (1 − q + q)^α away: those for 0 and 1 are gone, and what is small keeps its
 * digits.
 */
function logAOfInteger(q: number, sigma: number, order: number): number {
  const [logQ, logRest] = [Math.log(q), Math.log1p(-q)]
  let logChoose = Math.log(order)
  let sum = -Infinity
  for (let k = 2; k <= order; k++) {
    logChoose += Math.log((order - k + 1) / k)
    sum = logAdd(sum, logChoose + (order - k) * logRest + k * logQ + logExpm1((k * k - k) / (2 * sigma ** 2)))
  }
  return logAdd(0, sum)
}

/** Terms after the order, at which a series that converges slowly is cut off. */
const MOST_TERMS = 1000
/** Terms that are smaller than this against the sum change it no more: 2^−53. */
const NOTHING = -53 * Math.LN2

/**
 * log A_α for α between integers: two binomial series, of what lies below and above the point z₀ where the two summands
 * of the base are alike (Mironov, Talwar, Zhang, section 3.3).
 *
 * Past k > α the signs of C(α, k) alternate, and what they multiply falls: C(α, k) and the integrals both are moments of
 * powers between 0 and 1, and with them their product. So does the rest of the series from any term on lie between half
 * of its first term and the whole. The sum ends before a negative term and takes half of that: never too little.
 */
function logAOfFraction(q: number, sigma: number, order: number): number {
  const [logQ, logRest] = [Math.log(q), Math.log1p(-q)]
  const z0 = sigma ** 2 * (logRest - logQ) + 0.5
  const scale = Math.SQRT2 * sigma
  let logChoose = 0
  let sign = 1
  let sum = -Infinity
  for (let k = 0; ; k++) {
    const j = order - k
    const below = k * logQ + j * logRest + (k * k - k) / (2 * sigma ** 2) + logErfc((k - z0) / scale)
    const above = j * logQ + k * logRest + (j * j - j) / (2 * sigma ** 2) + logErfc((z0 - j) / scale)
    const term = logChoose - Math.LN2 + logAdd(below, above)
    if (sign < 0 && (term < sum + NOTHING || k > order + MOST_TERMS)) return logSubtract(sum, term - Math.LN2)
    sum = sign > 0 ? logAdd(sum, term) : logSubtract(sum, term)
    // C(α, k + 1) = C(α, k) · (α − k) / (k + 1)
    logChoose += Math.log(Math.abs(j) / (k + 1))
    if (j < 0) sign = -sign
  }
}
