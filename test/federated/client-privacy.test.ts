/** Noise and account of rounds, against published figures of the subsampled Gaussian. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ClientPrivacy, type ClientPrivacyOptions, clipFactor } from '../../src/federated/client-privacy.ts'
import { epsilonOf } from '../../src/privacy/accountant.ts'
import { gaussianRdp } from '../../src/privacy/renyi.ts'
import { withGaussianNoise } from '../../src/tensor/gaussian-noise.ts'
import { exactGaussianEpsilon } from '../reference/renyi.ts'

const runs = { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 1000 : 100 }
const code = (name: string) => expect.objectContaining({ code: name })
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

const good: ClientPrivacyOptions = { clip: 2, noiseMultiplier: 1.5, delta: 1e-5, clients: 1000 }

/** As many rounds as are asked, each with the mean number of clients. */
function after(rounds: number, options: Omit<ClientPrivacyOptions, 'clip'> & { readonly perRound: number }) {
  const privacy = new ClientPrivacy({ clip: 1, ...options })
  for (let round = 0; round < rounds; round++) privacy.record(options.perRound)
  return privacy
}

describe('published figures', () => {
  // The tutorial of TensorFlow Federated on differential privacy: the fewest of 3,383 clients per round, with noise of a
  // hundredth of them, that are (2, 10^−5) after 100 rounds.
  it('TensorFlow Federated: 120 clients of 3,383 with σ = 1.2 are the fewest for ε = 2', () => {
    const spent = (perRound: number) =>
      after(100, { noiseMultiplier: perRound / 100, delta: 1e-5, clients: 3383, perRound }).spent().epsilon
    expect(spent(120)).toBeLessThanOrEqual(2)
    expect(spent(119)).toBeGreaterThan(2)
  })

  // McMahan et al., ICLR 2018: 763,430 users, 5,000 a round, z = 1, 5,000 rounds; by the conversion of its time (Mironov
  // '17, Proposition 3) at whole orders.
  it('McMahan et al.: 5,000 rounds of 5,000 among 763,430 users are (4.634, 10^−9)', () => {
    const privacy = after(5000, { noiseMultiplier: 1, delta: 1e-9, clients: 763_430, perRound: 5000 })
    expect(privacy.history).toEqual([{ noiseMultiplier: 1, sampleRate: 5000 / 763_430, steps: 5000 }])
    const [{ noiseMultiplier, sampleRate, steps }] = privacy.history as [(typeof privacy.history)[number]]
    const older = Math.min(
      ...range(32).map(
        (i) => steps * gaussianRdp(noiseMultiplier, sampleRate, i + 2) - Math.log(privacy.delta) / (i + 1),
      ),
    )
    expect(older).toBeCloseTo(4.634, 3)
    // The conversion of today promises more, at finer orders.
    expect(privacy.spent().epsilon).toBeLessThan(older)
  })

  // test_compute_dp_sgd_privacy of TensorFlow Privacy, with clients for examples: ε = 0.7242234026109595 at whole orders.
  it('TensorFlow Privacy: 6,000 rounds of 150 among 60,000 with σ = 1.3', () => {
    const { epsilon } = after(6000, { noiseMultiplier: 1.3, delta: 1e-5, clients: 60_000, perRound: 150 }).spent()
    expect(epsilon).toBeLessThanOrEqual(0.7242234026109595 * (1 + 1e-11))
    expect(epsilon).toBeGreaterThan(0.723)
  })
})

describe('the noise of a round', () => {
  it('is σ·clip in the sum, whoever adds it', () => {
    const { mean, each } = new ClientPrivacy(good).noise(16)
    expect([mean, each]).toEqual([3 / 16, 3 / 4])
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.double({ min: 0.1, max: 20, noNaN: true }), (m, clip) => {
        const noise = new ClientPrivacy({ ...good, clip }).noise(m)
        // Variances of independent draws add up. A few roundings of doubles.
        expect(Math.sqrt(m) * noise.each).toBeCloseTo(1.5 * clip, 11)
        expect(m * noise.mean).toBeCloseTo(1.5 * clip, 11)
      }),
      runs,
    )
  })

  it('is in the mean what it is said to be, when it is drawn', () => {
    const m = 25
    const n = 20_000
    const { mean, each } = new ClientPrivacy(good).noise(m)
    const sum = new Float64Array(n)
    for (let client = 0; client < m; client++) {
      const drawn = withGaussianNoise(new Float32Array(n), each, client)
      for (const [i, x] of drawn.entries()) sum[i]! += x
    }
    const byServer = withGaussianNoise(new Float32Array(n), mean, m)
    for (const drawn of [sum.map((x) => x / m), Float64Array.from(byServer)]) {
      const variance = drawn.reduce((total, x) => total + x ** 2, 0) / n
      // Its deviation is √(2/n) of it: 0.01. Seven of them.
      expect(Math.abs(variance / mean ** 2 - 1)).toBeLessThan(7 * Math.sqrt(2 / n))
    }
  })

  it('costs what its part in the sum is, when fewer or more clients take part than it was made for', () => {
    const spent = (participants: number, noisedFor?: number) => {
      const privacy = new ClientPrivacy(good)
      privacy.record(participants, noisedFor)
      return privacy.spent().epsilon
    }
    expect(spent(100)).toBe(spent(7))
    expect(spent(100, 100)).toBe(spent(100))
    expect(spent(64, 100)).toBe(epsilonOf({ noiseMultiplier: 1.5 * 0.8, delta: 1e-5 }).epsilon)
    expect(spent(64, 100)).toBeGreaterThan(spent(100))
    expect(spent(144, 100)).toBe(epsilonOf({ noiseMultiplier: 1.5 * 1.2, delta: 1e-5 }).epsilon)
  })
})

describe('what is spent', () => {
  it('is nothing before the first round, grows with each, and is without bound where there is no noise', () => {
    const privacy = new ClientPrivacy({ ...good, perRound: 10 })
    const spent = range(4).map((round) => {
      if (round > 0) privacy.record(10)
      return privacy.spent().epsilon
    })
    expect(spent[0]).toBe(0)
    for (const round of [1, 2, 3]) expect(spent[round]).toBeGreaterThan(spent[round - 1]!)
    const open = new ClientPrivacy({ ...good, noiseMultiplier: 0 })
    open.record(10)
    expect(open.spent()).toMatchObject({ epsilon: Infinity, delta: 1e-5 })
    expect(open.noise(10)).toEqual({ mean: 0, each: 0 })
  })

  it('gains from sampling only what is said of it', () => {
    const [sampled, all] = [{ perRound: 10 }, {}].map((options) => new ClientPrivacy({ ...good, ...options }))
    for (const privacy of [sampled!, all!]) for (let round = 0; round < 20; round++) privacy.record(10)
    expect(sampled!.sampleRate).toBe(0.01)
    expect(all!.sampleRate).toBe(1)
    expect(sampled!.spent().epsilon).toBeLessThan(all!.spent().epsilon / 10)
    // Twenty plain Gaussian mechanisms are one of σ/√20, whose ε is known exactly.
    expect(all!.spent().epsilon).toBeGreaterThanOrEqual(exactGaussianEpsilon(1e-5, Math.sqrt(20) / 1.5))
  })

  it('goes on from a history that was written down', () => {
    const options = { ...good, perRound: 50 }
    const unbroken = new ClientPrivacy(options)
    const first = new ClientPrivacy(options)
    for (const privacy of [unbroken, first]) for (const m of [50, 40, 60]) privacy.record(m, 50)
    const resumed = new ClientPrivacy({ ...options, history: JSON.parse(JSON.stringify(first.history)) })
    for (const privacy of [unbroken, resumed]) privacy.record(55)
    expect(resumed.spent()).toEqual(unbroken.spent())
    expect(resumed.history).toEqual(unbroken.history)
    expect(first.history).toHaveLength(3)
  })
})

describe('clipping', () => {
  it('brings long updates to the clip, and leaves short ones alone', () => {
    expect([clipFactor(0, 2), clipFactor(1, 2), clipFactor(2, 2), clipFactor(8, 2)]).toEqual([1, 1, 1, 0.25])
    const vector = fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(vector, fc.double({ min: 1e-3, max: 1e3, noNaN: true }), (update, clip) => {
        const norm = Math.hypot(...update)
        const factor = clipFactor(norm, clip)
        // A norm of twenty products, each with its rounding.
        expect(Math.hypot(...update.map((x) => factor * x))).toBeLessThanOrEqual(clip * (1 + 2 ** -45))
        expect(factor === 1).toBe(norm <= clip)
      }),
      runs,
    )
  })

  it('refuses norms that are none: of an update with NaN or an infinity', () => {
    for (const norm of [Number.NaN, Infinity, -1]) {
      expect(() => clipFactor(norm, 1)).toThrow(code('ERR_ARGUMENT_VALUE'))
    }
    expect(() => clipFactor(1, 0)).toThrow(code('ERR_ARGUMENT_VALUE'))
    expect(() => clipFactor('1' as never, 1)).toThrow(code('ERR_ARGUMENT_TYPE'))
  })
})

describe('refuses', () => {
  it.each([
    { clip: 0 },
    { clip: Infinity },
    { noiseMultiplier: -1 },
    { clients: 0 },
    { clients: 1.5 },
    { delta: 0 },
    { delta: 1e-3 },
    { perRound: 0 },
    { perRound: 1001 },
    { sigma: 1 },
    { history: [{ noiseMultiplier: -1, sampleRate: 1, steps: 1 }] },
  ])('options out of range: %o', (wrong) => {
    expect(() => new ClientPrivacy({ ...good, ...wrong })).toThrow(code('ERR_ARGUMENT_VALUE'))
  })

  it('options that are missing or of another kind, and a δ for which whole clients could be given away', () => {
    expect(() => new ClientPrivacy({ clip: 1 } as never)).toThrow(code('ERR_ARGUMENT_TYPE'))
    expect(() => new ClientPrivacy({ ...good, history: {} as never })).toThrow(code('ERR_ARGUMENT_TYPE'))
    expect(() => new ClientPrivacy({ ...good, delta: 0.01 })).toThrow(
      'ClientPrivacy: "delta" expected a finite number above 0 below 0.001, got 0.01',
    )
  })

  it('rounds of nobody, or of more clients than there are', () => {
    const privacy = new ClientPrivacy(good)
    for (const m of [0, -1, 1.5, 1001, Number.NaN]) {
      expect(() => privacy.noise(m)).toThrow(code('ERR_ARGUMENT_VALUE'))
      expect(() => privacy.record(m)).toThrow(code('ERR_ARGUMENT_VALUE'))
      expect(() => privacy.record(10, m)).toThrow(code('ERR_ARGUMENT_VALUE'))
    }
    expect(privacy.history).toEqual([])
  })
})
