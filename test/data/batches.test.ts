import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batches, shuffledIndices } from '../../src/data/batches.ts'

const counts = fc.nat(200)
const seeds = fc.nat(Number.MAX_SAFE_INTEGER)
const range = (n: number) => Array.from({ length: n }, (_, index) => index)

describe('shuffledIndices', () => {
  test('is a permutation, and the same for the same seed', () => {
    fc.assert(
      fc.property(counts, seeds, (n, seed) => {
        const shuffled = shuffledIndices(n, seed)
        expect([...shuffled].sort((a, b) => a - b)).toEqual(range(n))
        expect(shuffledIndices(n, seed)).toEqual(shuffled)
      }),
    )
  })

  test('gives each of the six orders of three as often as any other', () => {
    const seen = new Map<string, number>()
    const draws = 6_000
    for (let seed = 0; seed < draws; seed++) {
      const order = shuffledIndices(3, seed).join()
      seen.set(order, (seen.get(order) ?? 0) + 1)
    }
    expect(seen.size).toBe(6)
    // Chi squared, 5 degrees of freedom: above 20.5 once in a thousand; the seeds are fixed, so never here.
    const expected = draws / 6
    const chiSquared = [...seen.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    expect(chiSquared).toBeLessThan(20.5)
  })

  test('stays what it is: orders written down today', () => {
    expect([...shuffledIndices(8, 1)]).toEqual([2, 6, 3, 0, 7, 5, 1, 4])
  })
})

describe('batches', () => {
  const options = fc.record(
    { batchSize: fc.integer({ min: 1, max: 40 }), seed: seeds, dropLast: fc.boolean() },
    { requiredKeys: ['batchSize'] },
  )

  test('together hold every index once, all but the last full', () => {
    fc.assert(
      fc.property(counts, options, (n, options) => {
        const list = [...batches(n, options)]
        const all = list.flatMap((batch) => [...batch])
        const whole = options.dropLast ? n - (n % options.batchSize) : n
        expect(all).toHaveLength(whole)
        expect(new Set(all).size).toBe(whole)
        for (const batch of list.slice(0, -1)) expect(batch).toHaveLength(options.batchSize)
        if (options.seed === undefined) expect(all).toEqual(range(whole))
      }),
    )
  })

  test('may be gone through more than once, in the same order', () => {
    const twice = batches(10, { batchSize: 3, seed: 5 })
    expect([...twice]).toEqual([...twice])
  })

  test('a seed shuffles, unless told not to', () => {
    const inOrder = [...batches(50, { batchSize: 50 })]
    expect([...batches(50, { batchSize: 50, seed: 5 })]).not.toEqual(inOrder)
    expect([...batches(50, { batchSize: 50, seed: 5, shuffle: false })]).toEqual(inOrder)
  })

  test('refuses to shuffle without a seed', () => {
    expect(() => batches(10, { batchSize: 3, shuffle: true })).toThrow('give a "seed"')
  })

  test.each([
    [-1, { batchSize: 1 }],
    [1.5, { batchSize: 1 }],
    [2 ** 32, { batchSize: 1 }],
    [10, { batchSize: 0 }],
    [10, { batchSize: 2.5 }],
    [10, { batchSize: 2, seed: -1 }],
    [10, { batchSize: 2, seed: -1, shuffle: false }],
  ])('refuses %d examples with %j at the call, not at the first batch', (n, options) => {
    expect(() => batches(n, options)).toThrow(RangeError)
  })
})
