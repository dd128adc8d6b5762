/** Privacy of the Gaussian mechanism by the definitions: densities, divided and integrated point by point. */

/** log Σ e^x. */
function logSum(logs: readonly number[]): number {
  const largest = Math.max(...chunked(logs, (part) => Math.max(...part)))
  return largest + Math.log(logs.reduce((sum, x) => sum + Math.exp(x - largest), 0))
}

/** A call takes so many arguments and no more. */
function chunked<T, R>(list: readonly T[], f: (part: readonly T[]) => R): R[] {
  return Array.from({ length: Math.ceil(list.length / 10_000) }, (_, i) => f(list.slice(10_000 * i, 10_000 * (i + 1))))
}

/**
 * log ∫ p₀ · (p/p₀)^α, with p₀ of N(0, σ²) and p the mixture of it, 1 − q, and of N(1, σ²), q.
 *
 * By the trapezoid rule, whose error for a function without singularities within ±a of the real axis is e^(−2πa/h). Here
 * a is πσ², where the ratio is 0. With h = min(σ/8, σ²/4) that is e^−79.
 */
export function logAByIntegration(q: number, sigma: number, order: number): number {
  const step = Math.min(sigma / 8, sigma ** 2 / 4)
  // Beyond 12 deviations of 0, and of the order, where the integrand has its second summit, nothing is left.
  const from = Math.floor((-12 * sigma) / step)
  const to = Math.ceil((order + 12 * sigma) / step)
  const logs = Array.from({ length: to - from + 1 }, (_, i) => {
    const z = (from + i) * step
    const exponent = (2 * z - 1) / (2 * sigma ** 2)
    // 1 − q + q·e^x, where e^x may be too large for a double.
    const ratio =
      exponent > 0 ? exponent + Math.log(q + (1 - q) * Math.exp(-exponent)) : Math.log1p(q * Math.expm1(exponent))
    return order * ratio - z ** 2 / (2 * sigma ** 2)
  })
  return logSum(logs) + Math.log(step / (sigma * Math.sqrt(2 * Math.PI)))
}

/** P(Z > z) for Z of N(0, 1), by Simpson's rule. */
export function upperTailOfNormal(z: number): number {
  if (z < 0) return 1 - upperTailOfNormal(-z)
  const [pieces, width] = [4000, 10 / 4000]
  const density = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)
  let sum = 0
  for (let i = 0; i <= pieces; i++) {
    const weight = i === 0 || i === pieces ? 1 : i % 2 === 1 ? 4 : 2
    sum += weight * density(z + i * width)
  }
  return (sum * width) / 3
}

/**
 * The least δ for an ε, of Gaussian noise alone: P(L > ε) − e^ε P(L′ < −ε) of the privacy losses, for a shift of μ
 * deviations (Balle and Wang, ICML '18, arXiv 1805.06530, Theorem 8). T steps of σ are one with μ = √T / σ.
 */
export function exactGaussianDelta(epsilon: number, mu: number): number {
  return upperTailOfNormal(epsilon / mu - mu / 2) - Math.exp(epsilon) * upperTailOfNormal(epsilon / mu + mu / 2)
}

/** The ε at which that δ is reached. */
export function exactGaussianEpsilon(delta: number, mu: number): number {
  let [low, high] = [0, mu * 40 + mu * mu]
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    if (exactGaussianDelta(middle, mu) > delta) low = middle
    else high = middle
  }
  return high
}
