import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { combine, type Share, split } from '../../../src/federated/secagg/shamir.ts'
import { ByteCounts, between, byteBound, fromUniform } from '../../reference/chi-square.ts'

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const secretOf = (seed: number) => Uint8Array.from({ length: 32 }, (_, i) => (i * seed) ^ (seed >> 3))
const value = expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' })

/** The field, slow and obvious: products of polynomials over GF(2), and what a division leaves of them. */
function product(a: number, b: number): number {
  let result = 0n
  for (let bit = 0; bit < 16; bit++) if ((b >> bit) & 1) result ^= BigInt(a) << BigInt(bit)
  for (let bit = 31n; bit >= 16n; bit--) if ((result >> bit) & 1n) result ^= 0x1100bn << (bit - 16n)
  return Number(result)
}
const word = (bytes: Uint8Array, i: number) => bytes[2 * i]! | (bytes[2 * i + 1]! << 8)

describe('a secret that was split', () => {
  it('is put together by any t of the holders, and by more', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.uniqueArray(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 12 }),
        fc.nat(),
        fc.nat(),
        (secret, points, pick, more) => {
          const threshold = 1 + (pick % points.length)
          const shares = split(secret, threshold, points)
          const some = shares.sort(() => (pick % 7) - 3).slice(0, threshold + (more % (points.length - threshold + 1)))
          expect(combine(some)).toEqual(secret)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('is put together by every t of five', () => {
    const secret = secretOf(77)
    const shares = split(secret, 3, [1, 2, 3, 40_000, 65_535])
    for (const a of range(5)) {
      for (const b of range(a))
        for (const c of range(b)) expect(combine([shares[a]!, shares[b]!, shares[c]!])).toEqual(secret)
    }
  })

  it('lies on a polynomial over GF(2^16) modulo x^16 + x^12 + x^3 + x + 1', () => {
    // A line through two shares: what a third is follows from them.
    const secret = secretOf(91)
    const [one, , last] = split(secret, 2, [1, 2, 65_535])
    for (const i of range(16)) {
      const slope = word(one!.value, i) ^ word(secret, i)
      expect(word(last!.value, i)).toBe(word(secret, i) ^ product(slope, 65_535))
    }
  })

  it('is not put together by t − 1, nor with a wrong share', () => {
    const secret = secretOf(5)
    const shares = split(secret, 4, [1, 2, 3, 4, 5])
    expect(combine(shares.slice(0, 3))).not.toEqual(secret)
    const wrong = { point: 1, value: shares[0]!.value.map((byte) => byte ^ 1) }
    expect(combine([wrong, ...shares.slice(1, 4)])).not.toEqual(secret)
  })
})

describe('t − 1 shares', () => {
  /** Bytes of the shares of t − 1 holders, of one secret that is shared again and again. */
  function view(secret: Uint8Array, sharing = split, times = 120): ByteCounts {
    const counts = new ByteCounts()
    for (const _ of range(times)) {
      const shares: Share[] = sharing(secret, 3, [1, 2, 3, 4])
      for (const share of shares.slice(1, 3)) counts.add(share.value)
    }
    return counts
  }
  const [zeros, ones] = [new Uint8Array(32), new Uint8Array(32).fill(255)]

  it('are uniform, and the same of one secret as of another', () => {
    const [ofZeros, ofOnes] = [view(zeros), view(ones)]
    expect(fromUniform(ofZeros)).toBeLessThan(byteBound)
    expect(fromUniform(ofOnes)).toBeLessThan(byteBound)
    expect(between(ofZeros, ofOnes)).toBeLessThan(byteBound)
  })

  it('say nothing together either: their sum is uniform as well', () => {
    const counts = new ByteCounts()
    for (const _ of range(240)) {
      const [a, b] = split(ones, 3, [1, 2, 3])
      counts.add(a!.value.map((byte, i) => byte ^ b!.value[i]!))
    }
    expect(fromUniform(counts)).toBeLessThan(byteBound)
  })

  it('would be found out by this test if they were t', () => {
    // The value at 0 of the line through two shares of a threshold of two is the secret.
    const secrets = new ByteCounts()
    for (const _ of range(240)) secrets.add(combine(split(ones, 2, [1, 2, 3]).slice(0, 2)))
    expect(fromUniform(secrets)).toBeGreaterThan(byteBound)
  })
})

describe('sharing refuses', () => {
  it('secrets and shares of other lengths, points that are none or come twice, thresholds that cannot be met', () => {
    expect(() => split(new Uint8Array(31), 1, [1])).toThrow('"secret" expected Uint8Array of length 32, got length=31')
    for (const points of [
      [0, 1],
      [1, 65_536],
      [1, 1],
      [1, 1.5],
    ]) {
      expect(() => split(new Uint8Array(32), 2, points)).toThrow(value)
    }
    for (const threshold of [0, 3, 1.5]) expect(() => split(new Uint8Array(32), threshold, [1, 2])).toThrow(value)
    const share = { point: 1, value: new Uint8Array(32) }
    expect(() => combine([share, share])).toThrow('points expected all different')
    expect(() => combine([{ point: 1, value: new Uint8Array(33) }])).toThrow(value)
  })
})
