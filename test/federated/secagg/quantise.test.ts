import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Quantiser } from '../../../src/federated/secagg/quantise.ts'
import { addTo, type Vector, zeros } from '../../../src/federated/secagg/vectors.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const signed = (vector: Vector): bigint[] =>
  [...vector].map((word) => (typeof word === 'bigint' ? BigInt.asIntN(64, word) : BigInt(word | 0)))
const sumOf = (vectors: readonly Vector[], bits: 32 | 64): Vector => {
  const sum = zeros(bits, vectors[0]!.length)
  for (const vector of vectors) addTo(sum, vector)
  return sum
}
const value = expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' })

describe.each([32, 64] as const)('values quantised into words of %i bits', (modulus) => {
  it('are less than a step off, and clipped where they are beyond', () => {
    const quantiser = new Quantiser({ clip: 2, bits: 12, modulus, clients: 10 })
    const values = Float64Array.from([0, 2, -2, 7, -7, 0.3, -0.3, 1e-9, -1e-9, 1.999])
    const integers = signed(quantiser.encode(values))
    expect(integers.slice(0, 5)).toEqual([0n, 2047n, -2047n, 2047n, -2047n])
    for (const [i, x] of values.entries()) {
      const clipped = Math.max(-2, Math.min(2, x))
      expect(Math.abs(Number(integers[i]) - (clipped / 2) * 2047)).toBeLessThan(1)
    }
    expect(integers.at(-1)).toBe(1n)
  })

  it('are what they were on average', () => {
    const quantiser = new Quantiser({ clip: 1, bits: 4, modulus, clients: 1 })
    // Of a step: a third, above 0 and below. Of n draws, the mean is off by 7 deviations once in 10^11 runs.
    const n = 20_000
    for (const part of [1 / 3, -1 / 3, 6 + 1 / 3]) {
      const integers = signed(quantiser.encode(new Float64Array(n).fill(part / 7))).slice(0, n)
      const mean = integers.reduce((sum, q) => sum + Number(q), 0) / n
      expect(Math.abs(mean - part)).toBeLessThan(7 * Math.sqrt((1 / 3) * (2 / 3)) * n ** -0.5)
    }
  })

  it('add up to the weighted mean, each off by less than a step', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            weight: fc.integer({ min: 1, max: 500 }),
            values: fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 4, maxLength: 4 }),
          }),
          { minLength: 1, maxLength: 8 },
        ),
        (clients) => {
          const quantiser = new Quantiser({ clip: 2.5, bits: 18, modulus, clients: 8, maxWeight: 500 })
          const encoded = clients.map(({ values, weight }) => quantiser.encode(Float64Array.from(values), weight))
          const { mean, weight } = quantiser.decode(sumOf(encoded, modulus))
          const total = clients.reduce((sum, client) => sum + client.weight, 0)
          expect(weight).toBe(total)
          for (const i of range(4)) {
            const exact = encoded.reduce((sum, vector) => sum + signed(vector)[i]!, 0n)
            // Four roundings of doubles, of values below 2.5 · 500.
            const expected = (((Number(exact) * 500) / total) * 2.5) / 131_071
            expect(Math.abs(mean[i]! - expected)).toBeLessThan(1e-12)
            const plain = clients.reduce((sum, c) => sum + c.weight * Math.max(-2.5, Math.min(2.5, c.values[i]!)), 0)
            const steps = (clients.length * 500) / total
            expect(Math.abs(mean[i]! - plain / total)).toBeLessThan((steps * 2.5) / 131_071 + 1e-12)
          }
        },
      ),
      { numRuns: 30 },
    )
  })

  it('are weighted before they are rounded, so that a sum cannot be read like digits', () => {
    const quantiser = new Quantiser({ clip: 1, bits: 20, modulus, clients: 2, maxWeight: 1000 })
    // A thousandth of a thousand steps: nothing of it is beyond the point but what chance adds.
    const x = 1000 / quantiser.largest
    const integers = range(50).map(() => Number(signed(quantiser.encode(Float64Array.of(x, x / 1000), 1))[0]))
    expect(Math.max(...integers)).toBeLessThanOrEqual(2)
    expect(signed(quantiser.encode(Float64Array.of(1), 500))[0]).toBeLessThanOrEqual(262_144n)
  })

  it('may be as large as the check says, and the sum does not wrap around', () => {
    const bits = modulus === 32 ? 20 : 32
    const clients = modulus === 32 ? 4096 : 2 ** 15
    const quantiser = new Quantiser({ clip: 1, bits, modulus, clients, maxWeight: 2 ** (bits - 1) - 1 })
    const one = quantiser.encode(Float32Array.of(-1, 1), quantiser.maxWeight)
    const sum = zeros(modulus, 3)
    for (const _ of range(clients)) addTo(sum, one)
    const most = BigInt(clients) * BigInt(quantiser.largest)
    expect(signed(sum)).toEqual([-most, most, most])
    expect([...quantiser.decode(sum).mean]).toEqual([-1, 1])
    expect(() => new Quantiser({ clip: 1, bits, modulus: 32, clients: 2 * clients })).toThrow('does not fit into')
  })
})

describe('a quantiser refuses', () => {
  it('options that would overflow, and says what fits', () => {
    expect(() => new Quantiser({ clip: 1, bits: 20, clients: 5000 })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE', message: expect.stringContaining('take fewer bits') }),
    )
    expect(new Quantiser({ clip: 1, bits: 19, clients: 5000 }).bits).toBe(19)
    const heavy = { clip: 1, bits: 20, clients: 1000, maxWeight: 2 ** 30 }
    expect(() => new Quantiser(heavy)).toThrow('or a modulus of 64 bits')
    expect(new Quantiser({ ...heavy, modulus: 64 }).modulus).toBe(64)
  })

  it('options out of range', () => {
    for (const wrong of [
      { clip: 0 },
      { clip: Number.NaN },
      { bits: 1 },
      { bits: 33 },
      { clients: 0 },
      { maxWeight: 0 },
    ]) {
      expect(() => new Quantiser({ clip: 1, clients: 2, ...wrong })).toThrow(value)
    }
    expect(() => new Quantiser({ clip: 1, clients: 2, modulus: 16 as never })).toThrow('32 or 64')
  })

  it('values that are not finite, weights that are none, and sums that are none', () => {
    const quantiser = new Quantiser({ clip: 1, clients: 2, maxWeight: 3 })
    for (const x of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => quantiser.encode(Float32Array.of(0, x))).toThrow(value)
    for (const weight of [0, 4, 1.5]) expect(() => quantiser.encode(Float32Array.of(0), weight)).toThrow(value)
    expect(() => quantiser.decode(Uint32Array.of(5, 0))).toThrow(value)
    expect(() => quantiser.decode(Uint32Array.of(5, 7))).toThrow(value)
    expect(() => quantiser.decode(new Uint32Array(0))).toThrow(value)
    expect(() => quantiser.decode(new BigUint64Array(2))).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT_TYPE' }),
    )
  })
})
