/** The accountant against figures that others have published, and against what Gaussian noise gives exactly. */
import fc from 'fast-check'
import { epsilonOf, type NoisySteps, noiseFor, PrivacyAccountant } from 'sotto'
import { describe, expect, it } from 'vitest'
import { gaussianRdp } from '../../src/privacy/renyi.ts'
import { exactGaussianDelta, exactGaussianEpsilon } from '../reference/renyi.ts'

const runs = { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 1000 : 50 }

const from = (first: number, last: number, step = 1) =>
  Array.from({ length: Math.round((last - first) / step) + 1 }, (_, i) => first + i * step)

/** The orders of TensorFlow Privacy's compute_dp_sgd_privacy. */
const tfPrivacyOrders = [1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, ...from(5, 63), 128, 256, 512]
/** The orders of Opacus. */
const opacusOrders = [...from(1, 99).map((x) => 1 + x / 10), ...from(12, 63)]

/** Passes over n examples in batches. */
const training = (n: number, batch: number, epochs: number) => ({
  sampleRate: batch / n,
  steps: Math.ceil((epochs * n) / batch),
})

describe('published figures', () => {
  // test_compute_dp_sgd_privacy in tensorflow_privacy/privacy/analysis/compute_dp_sgd_privacy_test.py.
  it.each([
    [60_000, 150, 1.3, 15, 1e-5, 0.7242234026109595, 19],
    [100_000, 100, 1, 30, 1e-7, 1.4154988495444842, 13],
    [100_000_000, 1024, 0.1, 10, 1e-7, 5907982.3113978775, 1.25],
  ])(
    'TensorFlow Privacy: %d examples, batch %d, σ = %d, %d epochs',
    (n, batch, noiseMultiplier, epochs, delta, epsilon, order) => {
      const steps = { noiseMultiplier, ...training(n, batch, epochs) }
      const spent = new PrivacyAccountant({ orders: tfPrivacyOrders }).add(steps).spent(delta)
      // The series there end at terms of e^−30 of the sum, with some tens of such terms to come: 1e-11 of it at most.
      expect(Math.abs(spent.epsilon - epsilon) / epsilon).toBeLessThan(1e-11)
      expect(spent).toMatchObject({ delta, order })
      // With more orders to choose from it is no more.
      expect(epsilonOf({ ...steps, delta }).epsilon).toBeLessThanOrEqual(spent.epsilon)
    },
  )

  // test_rdp_accountant in opacus/tests/accountants_test.py, to the 7 places that it holds there.
  it('Opacus: σ = 1.5, rate 0.04, 2,250 steps', () => {
    const spent = new PrivacyAccountant({ orders: opacusOrders })
      .add({ noiseMultiplier: 1.5, sampleRate: 0.04, steps: 2250 })
      .spent(1e-5)
    expect(Math.abs(spent.epsilon - 7.32911117143)).toBeLessThan(5e-8)
  })

  // test_get_noise_multiplier_rdp_epochs and _steps there. Opacus stops within 0.01 of ε, below it.
  it.each([
    [2250, 1.416],
    [2000, 1.3562],
  ])('Opacus: the noise for ε = 8 in %d steps of rate 0.04 is %d', (steps, theirs) => {
    const common = { sampleRate: 0.04, steps, delta: 1e-5 }
    const ours = noiseFor({ epsilon: 8, ...common })
    expect(ours).toBeLessThanOrEqual(theirs + 5e-5)
    expect(epsilonOf({ noiseMultiplier: theirs + 5e-5, ...common }).epsilon).toBeGreaterThan(7.99)
    expect(epsilonOf({ noiseMultiplier: ours, ...common }).epsilon).toBeGreaterThan(7.999)
  })

  // test_compute_rdp_sequence and test_compute_rdp_scalar in tensorflow_privacy's rdp_accountant_test.py, to their places.
  it.each([
    [1.5, 0.00065],
    [2.5, 0.001085],
    [5, 0.00218075],
    [50, 0.023846],
    [100, 167.416307],
  ])('TensorFlow Privacy: ρ of 50 steps, σ = 2.5, rate 0.01, at α = %d', (order, rho) => {
    expect(Math.abs(50 * gaussianRdp(2.5, 0.01, order) - rho)).toBeLessThan(1e-5)
  })
  it('TensorFlow Privacy: ρ of 10 steps, σ = 2, rate 0.1, at α = 5', () => {
    expect(10 * gaussianRdp(2, 0.1, 5)).toBeCloseTo(0.07737, 5)
  })

  // test_compute_epsilon_delta_gaussian in dp-accounting: σ = 4.530877117 is (1, 10^−6), with orders a thousandth apart.
  it('dp-accounting: the Gaussian mechanism that is (1, 10^−6)', () => {
    const spent = new PrivacyAccountant({ orders: from(20, 25, 0.001) })
      .add({ noiseMultiplier: 4.530877117 })
      .spent(1e-6)
    expect(spent.epsilon).toBeCloseTo(1, 7)
    // The default orders are coarser there: 22 instead of 21.985.
    const { epsilon } = epsilonOf({ noiseMultiplier: 4.530877117, delta: 1e-6 })
    expect(epsilon).toBeGreaterThanOrEqual(spent.epsilon)
    expect(epsilon).toBeLessThan(1.000001)
  })

  // The README of TensorFlow Privacy's tutorials: ε = 3.01, by the conversion of its time (Mironov '17, Proposition 3).
  it('the MNIST tutorial: σ = 1.1, batch 256 of 60,000, 60 epochs, δ = 10^−5', () => {
    const { sampleRate, steps } = training(60_000, 256, 60)
    const older = Math.min(
      ...tfPrivacyOrders.map((order) => steps * gaussianRdp(1.1, sampleRate, order) - Math.log(1e-5) / (order - 1)),
    )
    expect(older).toBeCloseTo(3.01, 2)
    // The conversion of today promises more.
    expect(epsilonOf({ noiseMultiplier: 1.1, sampleRate, steps, delta: 1e-5 }).epsilon).toBeCloseTo(2.597, 3)
  })

  // test_compute_dp_sgd_example_privacy in tensorflow_privacy: σ = 0.7, 1.2 epochs, δ = 10^−5, by RDP and, almost exactly,
  // by the distribution of the privacy loss (PLD).
  it('TensorFlow Privacy: two steps of σ = 0.7 are 10.86 by RDP, and 10.12 exactly', () => {
    const { epsilon } = epsilonOf({ noiseMultiplier: 0.7, steps: 2, delta: 1e-5 })
    // The published figure has an order of 3.3 as ours.
    expect(epsilon).toBeCloseTo(10.8602036, 6)
    const exact = exactGaussianEpsilon(1e-5, Math.sqrt(2) / 0.7)
    // PLD discretises the loss by 1e-4 a step, upwards.
    expect(Math.abs(exact - 10.1224946)).toBeLessThan(2e-4)
  })
  it('is above what the distribution of the privacy loss gives for sampled noise: 2.4612', () => {
    const { epsilon } = epsilonOf({ noiseMultiplier: 0.7, sampleRate: 1e-2, steps: 120, delta: 1e-5 })
    expect(epsilon).toBeGreaterThan(2.4612381)
    // dp-accounting's RDP takes every term of the series for positive, and so comes out a little above ours.
    expect(epsilon).toBeLessThan(3.2392676)
    expect(epsilon).toBeGreaterThan(3.239)
  })
})

describe('an upper bound', () => {
  const noise = fc.double({ min: 0.3, max: 50, noNaN: true })
  const steps = fc.integer({ min: 1, max: 200 })
  const delta = fc.integer({ min: 2, max: 10 }).map((digits) => 10 ** -digits)

  it('is never below what Gaussian noise gives exactly, and not far above it', () => {
    fc.assert(
      fc.property(noise, steps, delta, (noiseMultiplier, count, d) => {
        const mu = Math.sqrt(count) / noiseMultiplier
        fc.pre(mu < 20)
        const { epsilon } = epsilonOf({ noiseMultiplier, steps: count, delta: d })
        // The reference integrates to 1e-9 of each of the two tails, whose difference δ is; a thousandth leaves room to both.
        expect(exactGaussianDelta(epsilon, mu)).toBeLessThanOrEqual(d * 1.001)
        const exact = exactGaussianEpsilon(d, mu)
        // Asymptotically tight; below ε = 0.1 the orders end at 1024 and the bound is loose in proportion.
        if (exact > 0.1) expect(epsilon / exact).toBeLessThan(1.35)
      }),
      runs,
    )
  })

  it('is 0 where even the total variation is no more than δ', () => {
    expect(epsilonOf({ noiseMultiplier: 1e6, delta: 1e-5 }).epsilon).toBe(0)
    expect(exactGaussianDelta(0, 1e-6)).toBeLessThan(1e-5)
    expect(epsilonOf({ noiseMultiplier: 1e4, delta: 1e-5 }).epsilon).toBeGreaterThan(0)
  })
})

describe('composition', () => {
  const kinds: NoisySteps[] = [
    { noiseMultiplier: 1.1, sampleRate: 0.01, steps: 300 },
    { noiseMultiplier: 2, sampleRate: 0.2, steps: 3 },
    { noiseMultiplier: 5 },
  ]
  const total = (list: readonly NoisySteps[]) =>
    list.reduce((accountant, steps) => accountant.add(steps), new PrivacyAccountant()).spent(1e-6)

  it('adds up, however steps are grouped and in whatever order', () => {
    const whole = total(kinds)
    const single = new PrivacyAccountant()
    for (let i = 0; i < 300; i++) single.add({ noiseMultiplier: 1.1, sampleRate: 0.01 })
    for (let i = 0; i < 3; i++) single.add({ noiseMultiplier: 2, sampleRate: 0.2 })
    expect(single.add({ noiseMultiplier: 5 }).spent(1e-6)).toEqual(whole)
    const back = total(kinds.toReversed())
    // Sums of three numbers in another order.
    expect(back.epsilon).toBeCloseTo(whole.epsilon, 12)
    expect(total(kinds.slice(1)).epsilon).toBeLessThan(whole.epsilon)
  })

  it('T plain steps cost what one of σ/√T costs', () => {
    const many = epsilonOf({ noiseMultiplier: 6, steps: 9, delta: 1e-6 })
    const one = epsilonOf({ noiseMultiplier: 2, delta: 1e-6 })
    expect(many.epsilon).toBeCloseTo(one.epsilon, 12)
    expect(many.order).toBe(one.order)
  })

  it('goes on from a history', () => {
    const first = new PrivacyAccountant()
    for (const steps of kinds) first.add(steps).add(steps)
    expect(first.history).toEqual([
      { noiseMultiplier: 1.1, sampleRate: 0.01, steps: 600 },
      { noiseMultiplier: 2, sampleRate: 0.2, steps: 6 },
      { noiseMultiplier: 5, sampleRate: 1, steps: 2 },
    ])
    expect(total(JSON.parse(JSON.stringify(first.history)))).toEqual(first.spent(1e-6))
  })

  it('costs nothing without steps, or where nobody takes part, and everything without noise', () => {
    expect(new PrivacyAccountant().spent(1e-6).epsilon).toBe(0)
    expect(epsilonOf({ noiseMultiplier: 0, steps: 0, delta: 1e-6 }).epsilon).toBe(0)
    expect(epsilonOf({ noiseMultiplier: 1, sampleRate: 0, steps: 9, delta: 1e-6 }).epsilon).toBe(0)
    expect(epsilonOf({ noiseMultiplier: 0, sampleRate: 1e-9, delta: 1e-6 }).epsilon).toBe(Infinity)
  })
})

describe('the noise for an ε', () => {
  it('is the least that keeps to it', () => {
    const options = fc.record({
      epsilon: fc.double({ min: 0.05, max: 50, noNaN: true }),
      delta: fc.constantFrom(1e-3, 1e-5, 1e-8),
      sampleRate: fc.constantFrom(1, 0.1, 0.004),
      steps: fc.integer({ min: 1, max: 5000 }),
    })
    fc.assert(
      fc.property(options, ({ epsilon, ...rest }) => {
        const noiseMultiplier = noiseFor({ epsilon, ...rest })
        expect(epsilonOf({ noiseMultiplier, ...rest }).epsilon).toBeLessThanOrEqual(epsilon)
        // Found to a millionth; one less two of them is too little.
        expect(epsilonOf({ noiseMultiplier: noiseMultiplier * (1 - 2e-6), ...rest }).epsilon).toBeGreaterThan(epsilon)
      }),
      { ...runs, numRuns: runs.numRuns / 10 },
    )
  })

  it('is none where nothing is released', () => {
    expect(noiseFor({ epsilon: 1, delta: 1e-5, steps: 0 })).toBe(0)
    expect(noiseFor({ epsilon: 1, delta: 1e-5, sampleRate: 0 })).toBe(0)
  })
})

describe('what is refused', () => {
  const code = (action: () => unknown) => {
    try {
      action()
      return null
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  const good = { noiseMultiplier: 1, sampleRate: 0.1, steps: 10, delta: 1e-5 }

  it.each([
    ['noiseMultiplier', [-1, Number.NaN, Infinity]],
    ['sampleRate', [-0.1, 1.1, Number.NaN]],
    ['steps', [-1, 1.5, 2 ** 53]],
    ['delta', [0, 1, -1, 2, Number.NaN]],
  ])('%s out of range', (option, values) => {
    for (const value of values) expect(code(() => epsilonOf({ ...good, [option]: value }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => epsilonOf({ ...good, [option]: '1' as never }))).toBe('ERR_ARGUMENT_TYPE')
  })

  it('options and orders that are none', () => {
    expect(code(() => epsilonOf({ ...good, noise: 1 } as never))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => noiseFor({ epsilon: 0, delta: 1e-5 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => noiseFor({ epsilon: 1, delta: 1e-5, sampleRate: 2 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => new PrivacyAccountant().add({ noiseMultiplier: -1 }))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => new PrivacyAccountant().spent(0))).toBe('ERR_ARGUMENT_VALUE')
    expect(code(() => new PrivacyAccountant({ orders: [] }))).toBe('ERR_ARGUMENT_TYPE')
    expect(code(() => new PrivacyAccountant({ orders: [2, 1] }))).toBe('ERR_ARGUMENT_VALUE')
  })

  it('says what was expected', () => {
    expect(() => epsilonOf({ ...good, delta: 1 })).toThrow(
      'epsilonOf: "delta" expected a finite number above 0 below 1, got 1',
    )
    expect(() => epsilonOf({ ...good, steps: 1.5 })).toThrow('epsilonOf: "steps" expected an integer from 0, got 1.5')
  })
})
