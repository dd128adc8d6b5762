/** Rényi divergences of the sampled Gaussian mechanism against integrals of their definition. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { logAdd, logErfc, logExpm1, logSubtract } from '../../src/privacy/log-math.ts'
import { gaussianRdp } from '../../src/privacy/renyi.ts'
import { logAByIntegration, upperTailOfNormal } from '../reference/renyi.ts'

const runs = { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 2000 : 200 }

describe('logarithms of sums and tails', () => {
  it('erfc is twice the tail of the normal distribution at √2 x', () => {
    for (let x = -4; x <= 4; x += 0.37) {
      const expected = Math.log(2 * upperTailOfNormal(Math.SQRT2 * x))
      // Simpson's rule with pieces of 1/400 leaves (z/400)⁴/180 of a tail at z = 4√2.
      expect(Math.abs(logErfc(x) - expected)).toBeLessThan(2.3e-10)
    }
  })

  // Values of mpmath 1.3 with 60 digits.
  it.each([
    [-30, Math.LN2],
    [1e-5, -1.1283855333035136e-5],
    [1.9999, -5.3644994577735305],
    [2, -5.364941264616638],
    [20, -403.56934333410425],
    [1000, -1000007.4801207219],
  ])('erfc at %d, where doubles end too', (x, expected) => {
    // One less the series keeps 13 digits of erfc just below 2.
    expect(Math.abs(logErfc(x) - expected)).toBeLessThanOrEqual(1e-13 * Math.max(1, Math.abs(expected)))
  })

  it('add and subtract what no double holds', () => {
    expect(logAdd(2000, 2000)).toBeCloseTo(2000 + Math.LN2, 12)
    expect(logAdd(-Infinity, -3)).toBe(-3)
    expect(logAdd(-Infinity, -Infinity)).toBe(-Infinity)
    expect(logSubtract(logAdd(5000, 4999), 4999)).toBeCloseTo(5000, 11)
    expect(logSubtract(5, -Infinity)).toBe(5)
    expect(logExpm1(1e-10)).toBeCloseTo(Math.log(1e-10), 9)
    expect(logExpm1(1e4)).toBe(1e4)
  })
})

/**
 * Both sides add up thousands of terms in doubles: 1e-12 of A, which is from 1 on. Exponents of size k²/2σ² cancel to
 * log A, which is of their size: 1e-15 of it each time.
 */
const close = (actual: number, expected: number) => Math.abs(actual - expected) <= 1e-12 + 1e-12 * Math.abs(expected)

describe('the divergence of the sampled Gaussian mechanism', () => {
  // The parameters of the tests of TensorFlow Privacy and dp-accounting, test_compute_log_a_equals_mp; then orders near 1.
  it.each([
    [1e-7, 0.1, 1.01],
    [1e-6, 0.1, 256],
    [1e-5, 0.1, 256.1],
    [1e-6, 1, 27],
    [1e-4, 1, 1.5],
    [1e-3, 1, 2],
    [0.01, 10, 20],
    [0.1, 100, 20.5],
    [0.99, 0.1, 256],
    [0.999, 100, 256.1],
    [0.1, 0.7, 1.02],
    [0.5, 0.3, 1.1],
    [0.5, 5, 1.04],
  ])('is the integral, for q = %d, σ = %d, α = %d', (q, sigma, order) => {
    const actual = gaussianRdp(sigma, q, order) * (order - 1)
    const expected = Math.max(0, logAByIntegration(q, sigma, order))
    expect(close(actual, expected), `${actual} for ${expected}`).toBe(true)
  })

  it('is the integral, anywhere', () => {
    const rate = fc.double({ min: 1e-4, max: 0.9999, noNaN: true })
    const order = fc.oneof(fc.integer({ min: 2, max: 64 }), fc.double({ min: 1.02, max: 20, noNaN: true }))
    fc.assert(
      fc.property(rate, fc.double({ min: 0.3, max: 8, noNaN: true }), order, (q, sigma, alpha) => {
        const actual = gaussianRdp(sigma, q, alpha) * (alpha - 1)
        const expected = Math.max(0, logAByIntegration(q, sigma, alpha))
        expect(close(actual, expected), `${actual} for ${expected}`).toBe(true)
      }),
      runs,
    )
  })

  it('keeps the digits of what is almost nothing, at whole orders', () => {
    // C(α, 2) q² (e^(1/σ²) − 1) leads; the next term is q·α as large.
    const [q, sigma, order] = [1e-9, 2, 8]
    const leading = 28 * q ** 2 * Math.expm1(1 / sigma ** 2)
    expect(gaussianRdp(sigma, q, order) * (order - 1)).toBeCloseTo(leading, 22)
    expect(Math.abs(gaussianRdp(sigma, q, order) * (order - 1) - leading) / leading).toBeLessThan(1e-7)
  })

  it('goes through whole orders without a step', () => {
    for (const order of [2, 3, 10, 64]) {
      const [before, at, after] = [order - 1e-9, order, order + 1e-9].map((alpha) => gaussianRdp(0.8, 0.02, alpha))
      expect(Math.abs(before! - at!) / at!).toBeLessThan(1e-6)
      expect(Math.abs(after! - at!) / at!).toBeLessThan(1e-6)
    }
  })

  it('is that of the plain mechanism where everyone takes part: α / 2σ²', () => {
    expect(gaussianRdp(2.75, 1, 3.5)).toBe(3.5 / (2 * 2.75 ** 2))
    // And comes close to it as the rate comes close to 1.
    expect(gaussianRdp(1.5, 1 - 1e-12, 3.5)).toBeCloseTo(3.5 / (2 * 1.5 ** 2), 9)
  })

  it('grows with the order and the rate, and falls with the noise', () => {
    const grid = [0.5, 0.9, 1.7, 4]
    for (const sigma of grid) {
      for (const order of [1.1, 2, 5.5, 32]) {
        for (const q of [0.001, 0.1, 0.7]) {
          const rho = gaussianRdp(sigma, q, order)
          expect(rho).toBeGreaterThan(0)
          expect(gaussianRdp(sigma, q, order * 1.2)).toBeGreaterThan(rho)
          expect(gaussianRdp(sigma, q * 1.2, order)).toBeGreaterThan(rho)
          expect(gaussianRdp(sigma * 1.2, q, order)).toBeLessThan(rho)
        }
      }
    }
  })

  it('is nothing where nobody takes part, and infinite where there is no noise', () => {
    expect(gaussianRdp(1, 0, 5)).toBe(0)
    expect(gaussianRdp(0, 0, 5)).toBe(0)
    expect(gaussianRdp(0, 0.1, 5)).toBe(Infinity)
  })
})
