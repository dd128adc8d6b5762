/** Robust statistics of what clients send, against twins by hand and against clients that send what they like. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { coordinateMedian, trimmedMean } from '../../../src/federated/strategies/index.ts'

const runs = { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 1000 : 100 }
const code = (name: string) => expect.objectContaining({ code: name })
const f32 = (...values: number[]) => Float32Array.from(values)

const ones = (each: readonly unknown[]) => each.map(() => 1)
const median = (each: readonly Float32Array[], weights = ones(each)) => coordinateMedian().combine!(each, weights)
const trimmed = (trim: number, each: readonly Float32Array[], weights = ones(each)) =>
  trimmedMean({ trim }).combine!(each, weights)
/** Clients with one coordinate each. */
const single = (...values: number[]) => values.map((value) => f32(value))

const value = fc.float({ min: -100, max: 100, noNaN: true })
const wild = fc.float({ noNaN: true })
const clients = (of: fc.Arbitrary<number>, min = 1) =>
  fc.array(
    fc.tuple(of, of, of).map((vector) => Float32Array.from(vector)),
    { minLength: min, maxLength: 9 },
  )

/** Values as the definition has them: how many are below, how many above. */
function medianByCounting(values: readonly number[]): number {
  const half = values.length / 2
  const below = (x: number) => values.filter((other) => other < x).length
  const above = (x: number) => values.filter((other) => other > x).length
  const middle = [...new Set(values)].filter((x) => below(x) <= half && above(x) <= half)
  return (Math.min(...middle) + Math.max(...middle)) / 2
}

/** Takes the largest and the smallest away, as often as is asked. */
function trimmedByTaking(values: readonly number[], ends: number): number {
  const left = [...values]
  for (let i = 0; i < ends; i++) {
    left.splice(left.indexOf(Math.max(...left)), 1)
    left.splice(left.indexOf(Math.min(...left)), 1)
  }
  return left.reduce((sum, x) => sum + x, 0) / left.length
}

describe('the median of each coordinate', () => {
  it('by hand: of one, of two, of three', () => {
    expect(median([f32(1, -2)])).toEqual(Float64Array.of(1, -2))
    expect(median([f32(1, 10), f32(2, -10)])).toEqual(Float64Array.of(1.5, 0))
    expect(median([f32(5, 0), f32(1, 1), f32(3, -1)])).toEqual(Float64Array.of(3, 0))
    expect(median([f32(3e38), f32(3e38)])[0]).toBeCloseTo(3e38, -32)
    expect(median([f32(), f32()])).toHaveLength(0)
  })

  it('has as many below as above', () => {
    fc.assert(
      fc.property(clients(value), (each) => {
        const expected = [0, 1, 2].map((i) => medianByCounting(each.map((vector) => vector[i]!)))
        // Halves of sums of two float32 are exact in double; −0 and 0 are one.
        expect(Array.from(median(each), (x) => x + 0)).toEqual(expected.map((x) => x + 0))
      }),
      runs,
    )
  })

  it('is moved by fewer than half of the clients, whatever they send, no further than the others reach', () => {
    fc.assert(
      fc.property(
        clients(value).chain((honest) =>
          fc.tuple(fc.constant(honest), fc.array(wild, { maxLength: honest.length - 1 })),
        ),
        ([honest, others]) => {
          const combined = median([...others.map((x) => f32(x, -x, x)), ...honest])
          for (const [i, x] of combined.entries()) {
            const range = honest.map((vector) => vector[i]!)
            expect(x).toBeGreaterThanOrEqual(Math.min(...range))
            expect(x).toBeLessThanOrEqual(Math.max(...range))
          }
        },
      ),
      runs,
    )
    // A mean would be moved: the check can fail.
    expect(trimmed(0, single(1, 2, 3, 1e6))[0]).toBeGreaterThan(3)
  })
})

describe('the trimmed mean of each coordinate', () => {
  it('by hand', () => {
    expect(trimmed(0.2, single(1, 1000, 2, -1000, 6))).toEqual(Float64Array.of(3))
    expect(trimmed(0.25, [f32(0, 9), f32(1, 3), f32(3, 1), f32(9, 0)])).toEqual(Float64Array.of(2, 2))
    expect(trimmed(0, single(1, 2, 6))).toEqual(Float64Array.of(3))
    expect(trimmed(0.4, single(7))).toEqual(Float64Array.of(7))
  })

  it('leaves out as many at each end as the fraction is of the clients, exactly', () => {
    // In doubles, the products are not whole.
    expect([0.07 * 100 > 7, 0.14 * 50 > 7, 0.29 * 100 < 29]).toEqual([true, true, true])
    const count = (trim: number, n: number): number => {
      // Squares lie more and more apart: every pair of ends that goes changes the mean.
      const values = Array.from({ length: n }, (_, i) => i ** 2)
      const mean = trimmed(trim, single(...values))[0]
      return Array.from({ length: Math.ceil(n / 2) }, (_, ends) => ends).find(
        (ends) => Math.abs(trimmedByTaking(values, ends) - mean!) < 1e-9,
      )!
    }
    expect(count(0.07, 100)).toBe(7)
    expect(count(0.14, 50)).toBe(7)
    expect(count(0.29, 100)).toBe(29)
    expect(count(0.1, 10)).toBe(1)
    // Up where it is not whole: a small cohort has an end to cut off too.
    expect(count(0.1, 11)).toBe(2)
    expect(count(0.1, 3)).toBe(1)
    expect(count(0.01, 3)).toBe(1)
    // But not all: one or two stay.
    expect(count(0.49, 3)).toBe(1)
    expect(count(0.49, 4)).toBe(1)
    expect(count(0.01, 2)).toBe(0)
  })

  it('is the mean of what is left when the ends are taken away one by one', () => {
    fc.assert(
      fc.property(clients(value), fc.constantFrom(0, 0.1, 0.2, 0.25, 0.4), (each, trim) => {
        const n = each.length
        const ends = Math.min(Math.ceil(Math.round(trim * n * 100) / 100), Math.ceil(n / 2) - 1)
        for (const [i, x] of trimmed(trim, each).entries()) {
          // Up to nine numbers to 100, added in two orders of rounding.
          expect(
            Math.abs(
              x -
                trimmedByTaking(
                  each.map((vector) => vector[i]!),
                  ends,
                ),
            ),
          ).toBeLessThan(9 * 900 * 2 ** -52)
        }
      }),
      runs,
    )
  })

  it('drops clients that lie outside, as many as it trims, wherever they lie', () => {
    fc.assert(
      fc.property(clients(value, 5), wild, wild, (honest, a, b) => {
        const all = [...honest, f32(a, a, a), f32(b, b, b)]
        // Seven clients or more, of which 0.3 are three or more; five or more if both send infinities, and none is wild.
        for (const [i, x] of trimmed(0.3, all).entries()) {
          const range = honest.map((vector) => vector[i]!)
          // A mean of equal numbers may be off by its rounding.
          expect(x).toBeGreaterThanOrEqual(Math.min(...range) - 1e-12)
          expect(x).toBeLessThanOrEqual(Math.max(...range) + 1e-12)
        }
      }),
      runs,
    )
  })

  it('is the median where it trims all it can', () => {
    fc.assert(
      fc.property(clients(value), (each) => void expect(trimmed(0.499, each)).toEqual(median(each))),
      runs,
    )
  })
})

describe.each([
  ['median', median],
  ['trimmed mean', (each: readonly Float32Array[], weights?: number[]) => trimmed(0.2, each, weights)],
] as const)('the %s', (_, combine) => {
  it('does not depend on the order of clients, nor on what weights they claim', () => {
    fc.assert(
      fc.property(
        clients(value),
        fc.nat({ max: 8 }),
        fc.array(fc.nat(), { minLength: 9, maxLength: 9 }),
        (each, by, w) => {
          const combined = combine(each)
          const at = by % each.length
          expect(combine([...each.slice(at), ...each.slice(0, at)])).toEqual(combined)
          expect(combine(each.toReversed(), w.slice(0, each.length))).toEqual(combined)
        },
      ),
      runs,
    )
  })

  it('changes nothing that it is given', () => {
    const each = [f32(3, 1), f32(1, 2), f32(2, 3)]
    const copy = structuredClone(each)
    combine(each)
    expect(each).toEqual(copy)
  })

  it('leaves out a client that sends NaN or an infinity, in any coordinate', () => {
    const sound = [f32(1, 2), f32(3, 4), f32(5, 9)]
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      expect(combine([...sound, f32(0, bad)])).toEqual(combine(sound))
      expect(combine([f32(bad, 0), ...sound, f32(bad, bad)])).toEqual(combine(sound))
    }
  })

  it('refuses vectors of different lengths, and a round in which nobody sent numbers', () => {
    expect(() => combine([f32(1, 2), f32(1)])).toThrow(code('ERR_SHAPE'))
    expect(() => combine([])).toThrow(code('ERR_COHORT'))
    expect(() => combine([f32(Number.NaN)])).toThrow('none of 1 clients sent finite numbers')
  })
})
