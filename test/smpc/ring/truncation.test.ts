import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { elementsOf, Inputs, implementations, wordsOf } from './inputs.ts'

/**
 * Of l bits, with x' = x + 2^(l−2) and r' = r mod 2^(l−1), both below 2^(l−1), and b the carry of their sum into bit l − 1,
 *
 *   x' = c' + b·2^(l−1) − r',  c' = c mod 2^(l−1),
 *
 * so that x/d = c'/d − r'/d + (2b − 1)·2^(l−2)/d. The result is the same with each of the three terms made whole. The
 * first two are rounded down, so together they are off by less than 1, either way. The last is rounded to the nearest:
 * off by nothing where d is a power of two, and by at most 1/2 elsewhere.
 *
 * Where the error is less than 1, a whole number near x/d is its floor or the next: error 0 or +1 from the floor.
 * Where it is less than 3/2, it is −1, 0, +1 or +2.
 */
const errorsFromFloor = (divisor: bigint): readonly bigint[] =>
  (divisor & (divisor - 1n)) === 0n ? [0n, 1n] : [-1n, 0n, 1n, 2n]

const floorOf = (x: bigint, divisor: bigint): bigint => (x - (((x % divisor) + divisor) % divisor)) / divisor

const powers = [1n, 2n, 2n ** 13n, 2n ** 16n, 2n ** 32n, 2n ** 61n]
const others = [3n, 10n, 1000n, 10n ** 6n, 2n ** 16n - 1n, 2n ** 61n + 1n, 2n ** 62n - 1n]

describe.each(implementations)('truncation of shared values in %s', (_, kernels) => {
  const { add, sub, addScalar, bits } = kernels
  const half = 2n ** BigInt(bits - 2)
  const signed = (element: bigint): bigint => BigInt.asIntN(bits, element)
  const list = (words: BigUint64Array) => elementsOf(words, bits)
  const words = (elements: readonly bigint[]) => wordsOf(elements, bits)
  const total = (shares: readonly BigUint64Array[]) => shares.reduce((sum, share) => add(sum, share))
  const share = (inputs: Inputs, secret: BigUint64Array, parties: number) => {
    // One share in four is at a boundary, so shares wrap in every way.
    const masks = Array.from({ length: parties - 1 }, () => inputs.words(list(secret).length))
    return [...masks, masks.reduce<BigUint64Array>((rest, mask) => sub(rest, mask), secret)]
  }
  /** What parties and provider do, all in one place. */
  const truncated = (inputs: Inputs, x: BigUint64Array, r: BigUint64Array, divisor: bigint, parties: number) => {
    const dealt = kernels.truncationOf(r, divisor)
    const [rs, quotients, tops] = [r, dealt.quotient, dealt.top].map((secret) => share(inputs, secret, parties)) as [
      BigUint64Array[],
      BigUint64Array[],
      BigUint64Array[],
    ]
    const masked = share(inputs, x, parties).map((piece, party) => add(piece, rs[party]!))
    masked[0] = addScalar(masked[0]!, half)
    const c = total(masked)
    return total(rs.map((_, party) => kernels.truncate(c, quotients[party]!, tops[party]!, divisor, party === 0)))
  }

  it.each([2, 3, 5, 10])('among %i parties is off by what rounding allows, never by more', (parties) => {
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom(...powers, ...others), (seed, divisor) => {
        const inputs = new Inputs(seed, bits)
        const edges = [0n, 1n, -1n, half / 4n, -half / 4n, half - 1n, -half, divisor, -divisor, divisor - 1n]
        const inside = edges.filter((x) => x >= -half && x < half)
        const random = Array.from({ length: 30 }, () => BigInt.asIntN(bits - 3, inputs.element()))
        const values = [...inside, ...random]
        const y = list(truncated(inputs, words(values), inputs.words(values.length), divisor, parties))
        const allowed = errorsFromFloor(divisor)
        for (const [i, value] of y.entries()) {
          const error = signed(value) - floorOf(values[i]!, divisor)
          if (!allowed.includes(error)) expect.fail(`${values[i]} / ${divisor} is off by ${error} units`)
        }
      }),
      { numRuns: 25 },
    )
  })

  it('wraps right with every mask at a boundary', () => {
    const top = 2n * half
    const masks = [0n, 1n, half - 1n, half, top - 1n, top, top + half, 2n * top - 1n]
    const values = [-half, -half / 4n, -1n, 0n, 1n, half / 4n, half - 1n]
    const pairs = values.flatMap((value) => masks.map((mask) => [value, mask] as const))
    const [x, r] = [words(pairs.map(([value]) => value)), words(pairs.map(([, mask]) => mask))]
    for (const divisor of [...powers, ...others]) {
      const y = list(truncated(new Inputs(3, bits), x, r, divisor, 3))
      const errors = y.map((value, i) => signed(value) - floorOf(pairs[i]![0], divisor))
      expect(errors.filter((error) => !errorsFromFloor(divisor).includes(error))).toEqual([])
    }
  })

  it.each([2n ** 16n, 1000n, 7n])('by %i is off by nothing on average', (divisor) => {
    const inputs = new Inputs(7, bits)
    const n = 2 ** 14
    const values = Array.from({ length: n }, () => BigInt.asIntN(40, inputs.word()))
    const r = words(values.map(() => inputs.element()))
    const y = list(truncated(inputs, words(values), r, divisor, 2))
    // In units of 1/divisor, so that whole numbers do.
    const off = y.reduce((sum, value, i) => sum + signed(value) * divisor - values[i]!, 0n)
    // The difference of two roundings down has variance 1/6, and the rounding of the last term adds up to 1/4: the
    // mean of n is within five deviations, 5·√(5/12 / n) = 0.025 units. The seed is fixed.
    expect(Math.abs(Number(off) / Number(divisor) / n)).toBeLessThan(5 * Math.sqrt(5 / 12 / n))
  })
})
