import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'

const seeds = fc.nat(Number.MAX_SAFE_INTEGER)
const take = (count: number, next: () => number) => Array.from({ length: count }, next)

describe('SeededRandom', () => {
  test('is xoshiro128**: the outputs of the state 1, 2, 3, 4', () => {
    // From the authors' C code, xoshiro128starstar.c.
    const random = new SeededRandom([1, 2, 3, 4])
    expect(take(10, () => random.uint32())).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ])
  })

  test('gives equal streams for equal seeds, and others for others', () => {
    fc.assert(
      fc.property(seeds, seeds, (a, b) => {
        const [first, second] = [new SeededRandom(a), new SeededRandom(b)]
        const equal = take(4, () => first.uint32()).every((value) => value === second.uint32())
        expect(equal).toBe(a === b)
      }),
    )
    const [low, high] = [new SeededRandom(1), new SeededRandom(1 + 2 ** 32)]
    expect(low.uint32() === high.uint32() && low.uint32() === high.uint32() && low.uint32() === high.uint32()).toBe(
      false,
    )
  })

  test('int stays below its bound, float and between in their ranges', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 2 ** 32 }), (seed, bound) => {
        const random = new SeededRandom(seed)
        expect(random.int(bound)).toBeLessThan(bound)
        const float = random.float()
        expect(float >= 0 && float < 1).toBe(true)
        const between = random.between(-2, 3)
        expect(between >= -2 && between < 3).toBe(true)
      }),
    )
  })

  test('int favours no remainder', () => {
    const random = new SeededRandom(7)
    // Of 2^32 values, a plain remainder by 3·2^30 would fall below 2^30 half the time instead of a third.
    const low = take(6_000, () => random.int(3 * 2 ** 30)).filter((value) => value < 2 ** 30).length
    // Four standard deviations of a binomial: sqrt(6000 · 1/3 · 2/3) = 36.5.
    expect(Math.abs(low - 2_000)).toBeLessThan(4 * 36.5)
  })

  test('normal has mean 0 and variance 1', () => {
    const random = new SeededRandom(8)
    const values = take(20_000, () => random.normal())
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length
    // Four standard errors: 1/sqrt(n), and sqrt(2/n) for the variance.
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(values.length))
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / values.length))
  })

  test.each([-1, 0.5, Number.NaN, 2 ** 53])('refuses the seed %d', (seed) => {
    expect(() => new SeededRandom(seed)).toThrow(RangeError)
  })

  test('refuses a state of zeros, in which the generator would stay', () => {
    expect(() => new SeededRandom([0, 0, 0, 0])).toThrow(RangeError)
  })

  test.each([0, -1, 1.5, 2 ** 32 + 1])('refuses the bound %d', (bound) => {
    expect(() => new SeededRandom(1).int(bound)).toThrow(RangeError)
  })
})
