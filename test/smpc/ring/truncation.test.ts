import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Inputs, implementations } from './inputs.ts'

/**
 * With x' = x + 2^62 and r' = r mod 2^63, both below 2^63, and b the carry of their sum into bit 63,
 *
 *   x' = c' + b·2^63 − r',  c' = c mod 2^63,
 *
 * so that x/d = c'/d − r'/d + (2b − 1)·2^62/d. The result is the same with each of the three terms made whole. The
 * first two are rounded down, so together they are off by less than 1, either way. The last is rounded to the nearest:
 * off by nothing where d is a power of two, and by at most 1/2 elsewhere.
 *
 * Where the error is less than 1, a whole number near x/d is its floor or the next: error 0 or +1 from the floor.
 * Where it is less than 3/2, it is −1, 0, +1 or +2.
 */
const errorsFromFloor = (divisor: bigint): readonly bigint[] =>
  (divisor & (divisor - 1n)) === 0n ? [0n, 1n] : [-1n, 0n, 1n, 2n]

const floorOf = (x: bigint, divisor: bigint): bigint => (x - (((x % divisor) + divisor) % divisor)) / divisor
const signed = (word: bigint): bigint => BigInt.asIntN(64, word)

const powers = [1n, 2n, 2n ** 13n, 2n ** 16n, 2n ** 32n, 2n ** 61n]
const others = [3n, 10n, 1000n, 10n ** 6n, 2n ** 16n - 1n, 2n ** 61n + 1n, 2n ** 62n - 1n]

describe.each(implementations)('truncation of shared values in %s', (_, kernels) => {
  const { add, sub, addScalar } = kernels
  const total = (shares: readonly BigUint64Array[]) => shares.reduce((sum, share) => add(sum, share))
  const share = (inputs: Inputs, secret: BigUint64Array, parties: number) => {
    // One share in four is at a boundary, so shares wrap in every way.
    const masks = Array.from({ length: parties - 1 }, () => inputs.words(secret.length))
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
    masked[0] = addScalar(masked[0]!, 2n ** 62n)
    const c = total(masked)
    return total(rs.map((_, party) => kernels.truncate(c, quotients[party]!, tops[party]!, divisor, party === 0)))
  }

  it.each([2, 3, 5, 10])('among %i parties is off by what rounding allows, never by more', (parties) => {
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom(...powers, ...others), (seed, divisor) => {
        const inputs = new Inputs(seed)
        const edges = [
          0n,
          1n,
          -1n,
          2n ** 60n,
          -(2n ** 60n),
          2n ** 62n - 1n,
          -(2n ** 62n),
          divisor,
          -divisor,
          divisor - 1n,
        ]
        const inside = edges.filter((x) => x >= -(2n ** 62n) && x < 2n ** 62n)
        const random = Array.from({ length: 30 }, () => BigInt.asIntN(61, inputs.word()))
        const x = BigUint64Array.from([...inside, ...random], (value) => BigInt.asUintN(64, value))
        const y = truncated(inputs, x, inputs.words(x.length), divisor, parties)
        const allowed = errorsFromFloor(divisor)
        for (const [i, value] of y.entries()) {
          const error = signed(value) - floorOf(signed(x[i]!), divisor)
          if (!allowed.includes(error)) expect.fail(`${signed(x[i]!)} / ${divisor} is off by ${error} units`)
        }
      }),
      { numRuns: 25 },
    )
  })

  it('wraps right with every mask at a boundary', () => {
    const masks = [0n, 1n, 2n ** 62n - 1n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 63n + 2n ** 62n, 2n ** 64n - 1n]
    const values = [-(2n ** 62n), -(2n ** 60n), -1n, 0n, 1n, 2n ** 60n, 2n ** 62n - 1n]
    const x = BigUint64Array.from(values.flatMap((value) => masks.map(() => BigInt.asUintN(64, value))))
    const r = BigUint64Array.from(values.flatMap(() => masks))
    for (const divisor of [...powers, ...others]) {
      const y = truncated(new Inputs(3), x, r, divisor, 3)
      const errors = [...y].map((value, i) => signed(value) - floorOf(signed(x[i]!), divisor))
      expect(errors.filter((error) => !errorsFromFloor(divisor).includes(error))).toEqual([])
    }
  })

  it.each([2n ** 16n, 1000n, 7n])('by %i is off by nothing on average', (divisor) => {
    const inputs = new Inputs(7)
    const n = 2 ** 14
    const values = Array.from({ length: n }, () => BigInt.asIntN(40, inputs.word()))
    const x = BigUint64Array.from(values, (value) => BigInt.asUintN(64, value))
    const r = BigUint64Array.from(values, () => inputs.word())
    const y = truncated(inputs, x, r, divisor, 2)
    // In units of 1/divisor, so that whole numbers do.
    const off = [...y].reduce((sum, value, i) => sum + signed(value) * divisor - values[i]!, 0n)
    // The difference of two roundings down has variance 1/6, and the rounding of the last term adds up to 1/4: the
    // mean of n is within five deviations, 5·√(5/12 / n) = 0.025 units. The seed is fixed.
    expect(Math.abs(Number(off) / Number(divisor) / n)).toBeLessThan(5 * Math.sqrt(5 / 12 / n))
  })
})
