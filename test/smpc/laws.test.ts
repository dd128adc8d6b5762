/**
 * The laws of sharing, additive and replicated: what shares add up to and what they show, how products are brought back to scale, what
 * correlations hold, and what the circuits of comparisons compute.
 *
 * Secrets are chosen by seed; masks come from the system, unless a test says otherwise.
 */

import fc from 'fast-check'
import { FixedPrecisionTensor, fixPrecision, type SharedTensor, send, share, tf } from 'sotto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { type Circuit, type CircuitName, circuitOf, strideOf } from '../../src/smpc/circuits.ts'
import { type Correlation, correctionBytes, deal, plane } from '../../src/smpc/correlations.ts'
import { fixedEncoding } from '../../src/smpc/encoding.ts'
import { tellSecret } from '../../src/smpc/group.ts'
import { lookupOf } from '../../src/smpc/lookups.ts'
import { Prg, PrgStream, sourceOf } from '../../src/smpc/prg.ts'
import { protocols } from '../../src/smpc/protocols/index.ts'
import { replicated } from '../../src/smpc/protocols/replicated.ts'
import { ring } from '../../src/smpc/ring/choose.ts'
import type { Planes, Source, Words } from '../../src/smpc/ring/kernels.ts'
import { bytesOf, ringTensor } from '../../src/smpc/ring/tensor.ts'
import { ringRow } from '../../src/smpc/ring-ops.ts'
import { SharedTensor as Shared } from '../../src/smpc/shared-tensor.ts'
import { newId } from '../../src/tensor/location.ts'
import { type Shape, sizeOf } from '../../src/tensor/shape.ts'
import { readyForTest } from '../backend.ts'
import { ByteCounts, byteBound, criticalValue, fromUniform } from '../reference/chi-square.ts'
import {
  dealt,
  edges,
  randomWords,
  seedFrom,
  signed,
  sumOf,
  type TogetherOptions,
  together,
  wordsFrom,
  wrappingShares,
} from './lockstep.ts'
import { StoredShares, World } from './world.ts'

const isLong = process.env['SOTTO_LONG'] !== undefined
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const sum = (list: Iterable<number>): number => [...list].reduce((a, b) => a + b, 0)

/** Ten parties: groups are the first two of them, the first three, and so on. */
let world: World
beforeAll(async () => {
  await readyForTest()
  world = new World(10)
})
afterAll(() => world.close())
afterEach(() => {
  vi.restoreAllMocks()
})
const among = (count: number) => [world.parties.slice(0, count), world.options] as const

/** The ring elements of a tensor in fixed precision that is here. */
const unitsOf = (tensor: FixedPrecisionTensor): Words => tensor.publicValue.tensor.data
const fixed = fixedEncoding('test')
/** Ring elements as they are, whatever they stand for. */
const raw = (data: Words, shape: Shape = [data.length]) => new FixedPrecisionTensor(ringTensor(64, shape, data), fixed)
/** A secret of shares that the test chose. */
function placed(shape: Shape, shares: readonly Words[]): SharedTensor {
  const [parties, options] = among(shares.length)
  const { group } = share(raw(new BigUint64Array(1)), parties, options)
  const out = newId()
  parties.forEach((party, index) => {
    const wire = { shape, data: bytesOf(shares[index]!) }
    tellSecret(party, 'secretPut', { group: group.id, out, share: wire, privacy: null })
  })
  return Shared.stored(group, out, shape, fixed)
}

describe('the test of Pearson', () => {
  it('has the critical values of tables', () => {
    expect(criticalValue(0.05, 10)).toBeCloseTo(18.307038, 6)
    expect(criticalValue(0.001, 100)).toBeCloseTo(149.449253, 6)
    expect(criticalValue(1e-6, 255)).toBeCloseTo(377.078115, 6)
    expect(byteBound).toBeCloseTo(414.54504, 5)
    // Two degrees: the upper tail is e^(−x/2).
    expect(criticalValue(1e-9, 2)).toBeCloseTo(-2 * Math.log(1e-9), 6)
  })

  it('accepts uniform bytes at about the rate that it says, and no bytes that lean by a tenth', () => {
    const random = new SeededRandom(5)
    const loose = criticalValue(0.1, 255)
    const statistics = range(200).map(() =>
      fromUniform(new ByteCounts().add(Uint8Array.from({ length: 6000 }, () => random.int(256)))),
    )
    // A tenth of 200, within five deviations of a binomial: 20 ± 5·√18.
    const rejected = statistics.filter((statistic) => statistic > loose).length
    expect(Math.abs(rejected - 20)).toBeLessThan(5 * Math.sqrt(18))
    expect(Math.max(...statistics)).toBeLessThan(byteBound)
    // A tenth of the bytes below 128: 0.1² of 200,000 is a distance of 2,000.
    const leaning = Uint8Array.from({ length: 200_000 }, () => random.int(random.int(10) === 0 ? 128 : 256))
    expect(fromUniform(new ByteCounts().add(leaning))).toBeGreaterThan(byteBound)
  })
})

describe('shares of a secret', () => {
  const sources = ['here', 'at a party', 'elsewhere'] as const
  type Source = (typeof sources)[number]

  /** Shares a tensor from where it is; floats in fixed precision. */
  function shareFrom(source: Source, value: tf.Tensor, count: number): SharedTensor {
    const [parties, options] = among(count)
    const isFloat = value.dtype === 'float32'
    if (source === 'here') return share(isFloat ? fixPrecision(value) : value, parties, options)
    const owner = source === 'elsewhere' ? world.stranger : parties[count - 1]!
    const pointer = send(value, owner)
    return share(isFloat ? fixPrecision(pointer) : pointer, parties, options)
  }

  const values = fc.oneof(
    // Multiples of 2^−16 that float32 holds.
    fc.record({
      dtype: fc.constant('float32' as const),
      list: fc.array(
        fc.integer({ min: -(2 ** 24), max: 2 ** 24 }).map((units) => units / 2 ** 16),
        { maxLength: 12 },
      ),
    }),
    fc.record({
      dtype: fc.constant('int32' as const),
      list: fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { maxLength: 12 }),
    }),
    fc.record({ dtype: fc.constant('bool' as const), list: fc.array(fc.nat(1), { maxLength: 12 }) }),
  )

  it('add up to it, for 2 to 10 parties, wherever it came from', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 10 }),
        fc.constantFrom(...sources),
        values,
        async (count, source, { dtype, list }) => {
          const value = tf.tensor1d(list, dtype)
          const secret = shareFrom(source, value, count)
          const opened = await secret.reveal()
          expect(opened.dtype).toBe(dtype)
          expect(opened.arraySync()).toEqual(list)
          secret.dispose()
        },
      ),
      { numRuns: 60 },
    )
  })

  it('add up to any element of the ring, in any shape', async () => {
    const word = fc.oneof(fc.constantFrom(...edges), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 10 }),
        fc.array(fc.nat(3), { maxLength: 4 }),
        fc.infiniteStream(word),
        async (count, shape, stream) => {
          const data = wordsFrom(stream.take(sizeOf(shape)))
          const secret = share(raw(data, shape), ...among(count))
          const opened = await secret.get()
          expect(opened.shape).toEqual(shape)
          expect(unitsOf(opened)).toEqual(data)
        },
      ),
      { numRuns: 50 },
    )
  })

  /**
   * How far the bytes that each party comes to hold are from uniform ones, over many sharings of a constant; and the same
   * for the differences of the shares of each two parties.
   */
  async function statistics(source: Source, count: number): Promise<{ alone: number[]; differences: number[] }> {
    const stored = new StoredShares()
    const secret = tf.fill([32], 1.5)
    for (let i = 0; i < SHARINGS; i++) shareFrom(source, secret, count).dispose()
    await world.stranger.flush()
    for (const party of world.parties.slice(0, count)) await party.flush()
    const held = await Promise.all(range(count).map((index) => stored.ofParty(index)))
    expect(held.map(({ length }) => length)).toEqual(range(count).map(() => SHARINGS))
    const distance = (lists: readonly Words[]) => {
      const counts = new ByteCounts()
      for (const words of lists) counts.addWords(words)
      return fromUniform(counts)
    }
    const pairs = range(count).flatMap((i) => range(i).map((j) => [held[i]!, held[j]!] as const))
    return {
      alone: held.map(distance),
      differences: pairs.map(([a, b]) => distance(a.map((words, k) => ring().sub(words, b[k]!)))),
    }
  }
  /** 50 sharings of 32 words are 12,800 bytes: 50 of each value. */
  const SHARINGS = isLong ? 1000 : 50

  it.each(sources)('are uniform, each alone, the last one too, of a secret that is %s', async (source) => {
    for (const count of [2, 3, 5]) {
      const { alone, differences } = await statistics(source, count)
      for (const statistic of alone) expect(statistic).toBeLessThan(byteBound)
      // Of three or more, any two have nothing to do with each other. Of two, one follows from the other.
      if (count > 2) for (const statistic of differences) expect(statistic).toBeLessThan(byteBound)
    }
  })

  const broken: readonly (readonly [string, (random: SeededRandom) => bigint])[] = [
    // 53 bits, as of `Math.random()`, times 2^64.
    ['floats', (random) => BigInt(random.uint32() * 2 ** 21 + random.int(2 ** 21)) << 11n],
    ['numbers below 2^62', (random) => (BigInt(random.uint32()) << 30n) | BigInt(random.int(2 ** 30))],
    ['32 bits', (random) => BigInt(random.uint32())],
    ['zeros', () => 0n],
  ]
  it.each(broken)('are seen to be no shares when a generator draws %s', async (_, draw) => {
    const random = new SeededRandom(3)
    vi.spyOn(PrgStream.prototype, 'bytes').mockImplementation((n) =>
      bytesOf(BigUint64Array.from({ length: Math.ceil(n / 8) }, () => draw(random))).subarray(0, n),
    )
    for (const source of sources) {
      const { alone } = await statistics(source, 3)
      for (const statistic of alone) expect(statistic).toBeGreaterThan(byteBound)
    }
  })

  it('are seen to depend on each other when a seed is used twice', async () => {
    const random = new SeededRandom(4)
    let seed: Uint8Array = new Uint8Array(32)
    let calls = 0
    vi.spyOn(globalThis.crypto, 'getRandomValues').mockImplementation((into) => {
      if (calls++ % 2 === 0) seed = seedFrom(random)
      ;(into as unknown as Uint8Array).set(seed)
      return into
    })
    const { alone, differences } = await statistics('here', 3)
    // The first two are sound, each alone; together they are not.
    expect(Math.max(alone[0]!, alone[1]!)).toBeLessThan(byteBound)
    expect(Math.max(...differences)).toBeGreaterThan(byteBound)
  })

  it('are others after refresh, of the same value', async () => {
    const stored = new StoredShares()
    const data = randomWords(new SeededRandom(8), 1000)
    for (const count of [2, 3, 5]) {
      const secret = share(raw(data), ...among(count))
      const others = secret.refresh()
      expect(unitsOf(await others.get())).toEqual(data)
      const [before, after] = [await stored.of(secret.id), await stored.of(others.id)]
      expect(sumOf(after)).toEqual(data)
      for (const [i, words] of after.entries()) {
        // Two words are the same by chance once in 2^64.
        expect(words.some((word, k) => word === before[i]![k])).toBe(false)
        // Nor does the change tell anything: it is uniform.
        expect(fromUniform(new ByteCounts().addWords(ring().sub(words, before[i]!)))).toBeLessThan(byteBound)
      }
      expect(others.cost).toEqual({ rounds: 0, bytes: 0, provider: 0 })
    }
  })

  describe('of a product with a public zero', () => {
    const image = (units: bigint) => raw(new BigUint64Array(1024).fill(units), [1, 32, 32, 1])
    const products: readonly (readonly [string, (x: SharedTensor) => SharedTensor])[] = [
      ['mul by 0', (x) => x.mul(0)],
      ['mul by a mask', (x) => x.mul(tf.zeros([1, 32, 32, 1], 'int32'))],
      ['matMul', (x) => x.reshape([32, 32]).matMul(tf.zeros([32, 32], 'int32'))],
      ['conv2d', (x) => x.conv2d(tf.zeros([1, 1, 1, 1], 'int32'))],
      ['mul by a fraction that rounds to zero', (x) => x.mul(2 ** -40)],
    ]
    it.each(products)('are uniform all the same: %s', async (_, product) => {
      const stored = new StoredShares()
      for (const count of [2, 3, 5]) {
        const secret = product(share(image(3n << 16n), ...among(count)))
        expect(unitsOf(await secret.get()).every((word) => word === 0n)).toBe(true)
        for (const words of await stored.of(secret.id)) {
          expect(fromUniform(new ByteCounts().addWords(words))).toBeLessThan(byteBound)
        }
      }
    })

    it('would be zero, and are seen to be, were nothing added to them', async () => {
      const stored = new StoredShares()
      const secret = share(image(3n << 16n), ...among(3))
      vi.spyOn(PrgStream.prototype, 'bytes').mockImplementation((n) => new Uint8Array(n))
      const product = secret.mul(0)
      await product.get()
      for (const words of await stored.of(product.id)) {
        expect(words.every((word) => word === 0n)).toBe(true)
        expect(fromUniform(new ByteCounts().addWords(words))).toBeGreaterThan(byteBound)
      }
    })
  })
})

/**
 * With x' = x + 2^62, r' = r mod 2^63 uniform, and b the carry of their sum into bit 63, the result is
 *
 *   y = x/d + u(r') − u(c') + (1 − 2b)·δ/d,   u(v) = (v mod d)/d,   2^62 = d·z + δ with z the nearest whole number.
 *
 * Given b, which is 1 with probability x'/2^63, r' mod d is uniform; c' mod d is r' mod d moved by t = (x' − b·2^63) mod d.
 * So u(r') − u(c') is −t/d with probability 1 − t/d, and 1 − t/d with probability t/d: nothing on average, of variance
 * t/d·(1 − t/d). Where d is a power of two, δ is 0 and t = x mod d: the result is the floor, or 1 more with the probability
 * of the part cut off.
 */
function expectedError(x: bigint, d: bigint): { mean: number; variance: number } {
  const shifted = x + 2n ** 62n
  const carry = Number(shifted) / 2 ** 63
  const nearest = (2n ** 62n + d / 2n) / d
  const delta = Number(2n ** 62n - d * nearest) / Number(d)
  const part = (b: bigint) => Number((((shifted - b * 2n ** 63n) % d) + d) % d) / Number(d)
  const [t0, t1] = [part(0n), part(1n)]
  return {
    mean: (1 - 2 * carry) * delta,
    variance: (1 - carry) * t0 * (1 - t0) + carry * t1 * (1 - t1) + 4 * carry * (1 - carry) * delta ** 2,
  }
}

describe('truncation', () => {
  const isPower = (d: bigint) => (d & (d - 1n)) === 0n
  /** Whether y is less than 1 unit off x / d, and so its floor or 1 more, for powers of two; less than 3/2 for others. */
  const isRight = (x: bigint, y: bigint, d: bigint): boolean => {
    const halves = 2n * (y * d - x)
    const bound = isPower(d) ? 2n * d : 3n * d
    return -bound < halves && halves < bound
  }

  /** Numbers up to ±2^60, of which half are as small as they may be: uniform in their logarithm. */
  const numbers = (random: SeededRandom, length: number): Words =>
    wordsFrom(randomWords(random, length)).map((word, i) =>
      BigInt.asUintN(64, BigInt.asIntN(61, word) >> (i % 2 === 0 ? 0n : BigInt(random.int(61)))),
    )

  class Errors {
    readonly #divisor: bigint
    count = 0
    large = 0
    off = 0
    mean = 0
    variance = 0
    constructor(divisor: bigint) {
      this.#divisor = divisor
    }
    add(xs: Words, ys: Words): void {
      const d = this.#divisor
      for (let i = 0; i < xs.length; i++) {
        const [x, y] = [signed(xs[i]!), signed(ys[i]!)]
        this.count++
        if (!isRight(x, y, d)) this.large++
        this.off += Number(y * d - x) / Number(d)
        const { mean, variance } = expectedError(x, d)
        this.mean += mean
        this.variance += variance
      }
    }
    toString(): string {
      const [off, mean] = [this.off / this.count, this.mean / this.count]
      return `${this.count} values, ${this.large} large errors, ${off} units off on average, ${mean} expected, ${this.deviations} deviations`
    }
    /** How many deviations the sum of errors is from its expectation. */
    get deviations(): number {
      return Math.abs(this.off - this.mean) / Math.sqrt(this.variance)
    }
  }

  const VALUES = isLong ? 1_000_000 : 50_000
  const CHUNK = 25_000

  it.each([...[2, 3, 5, 10].map((parties) => ['additive', parties] as const), ['replicated', 3] as const])(
    'of %s shares among %i parties makes no large error, and on average none',
    async (name, parties) => {
      const random = new SeededRandom(parties)
      for (const [divisor, values] of [
        [2n ** 16n, VALUES],
        [1000n, VALUES / 4],
        [3n, VALUES / 4],
        [2n ** 31n, VALUES / 4],
      ] as const) {
        const errors = new Errors(divisor)
        while (errors.count < values) {
          const x = numbers(random, Math.min(CHUNK, values - errors.count))
          const shares = wrappingShares(random, x, parties)
          const options = { divisor: Number(divisor), protocol: protocols[name] }
          const [y] = await together('clone', [{ shape: [x.length], shares }], random, options)
          errors.add(x, y!)
        }
        if (isLong) console.log(`${parties} parties, by ${divisor}: ${errors}`)
        expect(errors.count).toBe(values)
        expect(errors.large).toBe(0)
        // Seeds are fixed, so this holds or it does not.
        expect(errors.deviations).toBeLessThan(5)
      }
    },
    600_000,
  )

  it('by a divisor that is no power of two leans by δ/d · x/2^62, toward zero or away from it', async () => {
    const random = new SeededRandom(13)
    const x = new BigUint64Array(CHUNK).fill(2n ** 61n)
    const [y] = await together('clone', [{ shape: [CHUNK], shares: wrappingShares(random, x, 3) }], random, {
      divisor: 3,
    })
    const errors = new Errors(3n)
    errors.add(x, y!)
    // 2^62 is 1 more than a multiple of 3: a sixth of a unit at half of the range. A number of 2^40 leans by 2^−24.
    expect(errors.mean / errors.count).toBeCloseTo(-1 / 6, 12)
    expect(errors.deviations).toBeLessThan(5)
    expect(Math.abs(errors.off) / Math.sqrt(errors.variance)).toBeGreaterThan(5)
  })

  it('would be a quarter of all times wrong among three parties that cut their shares off', () => {
    const random = new SeededRandom(1)
    const x = wordsFrom(range(40_000).map(() => BigInt(random.int(2 ** 32))))
    const parts = range(2).map(() => randomWords(random, x.length))
    const shares = [...parts, ring().sub(x, sumOf(parts))]
    const y = sumOf(shares.map((words) => wordsFrom(Array.from(words, (word) => signed(word) >> 16n))))
    const wrong = y.filter((word, i) => ![0n, 1n].includes(signed(word) - (signed(x[i]!) >> 16n)))
    const large = wrong.filter((word) => signed(word) > 2n ** 40n || signed(word) < -(2n ** 40n))
    // |a + b| > 1/2 for two uniform numbers within ±1/2 has probability 1/4; five deviations of a binomial are 433.
    expect(Math.abs(large.length - 10_000)).toBeLessThan(433)
  })

  it('wraps right with every mask at a boundary, and on both sides of where the sum carries', async () => {
    const limit = 2n ** 62n
    const values = [
      -limit,
      -limit + 1n,
      -(2n ** 60n),
      -65537n,
      -65536n,
      -1n,
      0n,
      1n,
      65535n,
      65536n,
      2n ** 60n,
      limit - 1n,
    ]
    const random = new SeededRandom(2)
    for (const divisor of [2n, 2n ** 16n, 2n ** 31n, 3n, 1000n]) {
      const cases = values.flatMap((x) =>
        // The opened number is around 0, 2^62, 2^63 and the top of the ring, and so is the mask.
        [0n, limit, 2n ** 63n, 2n ** 63n + limit].flatMap((edge) =>
          range(5).flatMap((near) => [
            [x, edge + BigInt(near) - 2n] as const,
            [x, edge - x - limit + BigInt(near) - 2n] as const,
          ]),
        ),
      )
      const x = wordsFrom(cases.map(([value]) => value))
      const r = wordsFrom(cases.map(([, mask]) => mask))
      const divided = async (parties: number, options: TogetherOptions): Promise<void> => {
        const secret = { shape: [x.length], shares: wrappingShares(random, x, parties) }
        const [y] = await together('clone', [secret], random, { divisor: Number(divisor), ...options })
        const wrong = cases.filter(([value], i) => !isRight(value, signed(y![i]!), divisor))
        expect(wrong).toEqual([])
      }
      for (const parties of [2, 3, 5, 10]) {
        const { quotient, top } = ring().truncationOf(r, divisor)
        const fields = [r, quotient, top].map((words) => wrappingShares(random, words, parties))
        await divided(parties, { deal: () => range(parties).map((party) => fields.map((shares) => shares[party]!)) })
      }
      for (const helper of range(3)) {
        const [first, second] = wrappingShares(random, r, 2) as [Words, Words]
        // The helper draws one summand of the mask with each of the others, before all else.
        const streams = drawing(random, (pair) => {
          if (!pair.includes(helper)) return null
          return pair.includes((helper + 1) % 3) ? first : second
        })
        await divided(3, { protocol: replicated, seq: helper, streams })
      }
    }
  })

  type Streams = NonNullable<TogetherOptions['streams']>
  /** Streams from which both of a pair draw the same words, the first of them as they are given. */
  function drawing(random: SeededRandom, firstOf: (pair: Parameters<Streams>[0]) => Words | null): Streams {
    const draws = new Map<string, Words[]>()
    return (pair) => {
      const drawn = draws.get(`${pair}`) ?? []
      draws.set(`${pair}`, drawn)
      let at = 0
      const words = (n: number): Words => {
        if (drawn[at] === undefined) {
          const made = randomWords(random, n)
          const first = at === 0 ? firstOf(pair) : null
          if (first !== null) made.set(first)
          drawn.push(made)
        }
        return drawn[at++]!
      }
      const sources = (...lengths: readonly number[]): Source[] =>
        lengths.map((length) => sourceOf(bytesOf(words(Math.ceil(length / 8))).subarray(0, length)))
      return { words, sources } as PrgStream
    }
  }

  it.each([2, 3, 5, 10])('is the same between %i workers, of shares that wrap', async (parties) => {
    const random = new SeededRandom(100 + parties)
    for (const divisor of [2n ** 16n, 1000n]) {
      const errors = new Errors(divisor)
      const x = numbers(random, isLong ? 100_000 : 2000)
      const secret = placed([x.length], wrappingShares(random, x, parties))
      const [result] = secret.run('clone', [], { divisor })
      errors.add(x, unitsOf(await result!.get()))
      expect(errors.large).toBe(0)
      // These masks are the system's: one run in two million is more than five deviations off, in 10^9 more than 6.1.
      expect(errors.deviations).toBeLessThan(6.1)
    }
  })
})

describe('products of fixed-precision values', () => {
  const REPEATS = 10_000

  it.each([
    ['base 2', {}, 65_536n],
    ['base 10', { base: 10 }, 1000n],
  ] as const)('of ones by ones are ones, 10,000 times among three, in %s', async (_, options, one) => {
    let seen = 0
    let furthest = 0n
    for (const repeats of [...range(8).map(() => 1245), ...range(40).map(() => 1)]) {
      const ones = () => share(fixPrecision(tf.ones([4 * repeats, 1]), options), ...among(3))
      const product = ones().mul(ones())
      for (const units of unitsOf(await product.get())) {
        const off = signed(units) - one
        if (off > furthest || -off > furthest) furthest = off < 0n ? -off : off
        seen++
      }
      product.dispose()
    }
    expect(seen).toBe(4 * REPEATS)
    expect(furthest).toBeLessThanOrEqual(2n)
    // In base 2 nothing is cut off from 2^32 / 2^16, so that there is no error at all.
    if (one === 65_536n) expect(furthest).toBe(0n)
  })
})

describe('correlations', () => {
  const random = new SeededRandom(6)
  const conv = [1, 'same', 'NHWC', 1]
  const pads = { strides: [1, 1], pad: 'same', dilations: [1, 1] }
  const list: readonly Correlation[] = [
    { kind: 'product', op: 'mul', shapes: [[37], [37]], attrs: [] },
    { kind: 'product', op: 'mul', shapes: [[5, 1], [7]], attrs: [] },
    {
      kind: 'product',
      op: 'matMul',
      shapes: [
        [3, 4],
        [4, 5],
      ],
      attrs: [false, false],
    },
    {
      kind: 'product',
      op: 'matMul',
      shapes: [
        [2, 4, 3],
        [5, 4],
      ],
      attrs: [true, true],
    },
    {
      kind: 'product',
      op: 'conv2d',
      shapes: [
        [1, 5, 5, 2],
        [3, 3, 2, 4],
      ],
      attrs: conv,
    },
    {
      kind: 'product',
      op: 'conv2dFilter',
      shapes: [
        [1, 5, 5, 2],
        [1, 5, 5, 4],
      ],
      attrs: [[3, 3, 2, 4], pads],
    },
    {
      kind: 'product',
      op: 'conv2dInput',
      shapes: [
        [1, 5, 5, 4],
        [3, 3, 2, 4],
      ],
      attrs: [[1, 5, 5, 2], pads],
    },
    { kind: 'square', size: 41 },
    ...[2, 65_536, 2 ** 31, 3, 1000].map((divisor): Correlation => ({ kind: 'truncation', size: 33, divisor })),
    ...[1, 2, 16].map((digits): Correlation => ({ kind: 'coded', size: 21, digits })),
    ...(['lessThan', 'allOnes', 'difference'] as const).flatMap((name) =>
      [6, 13, 64].map((bits): Correlation => ({ kind: 'circuit', size: 19, name, bits })),
    ),
    ...[
      [1, 0],
      [1, 2],
      [5, 0],
      [3, 2],
    ].map(([planes, factors]): Correlation => ({ kind: 'bit', size: 21, planes: planes!, factors: factors! })),
  ]

  const isSet = (all: Planes, index: number): boolean => ((all[index >> 3]! >> (index & 7)) & 1) === 1
  const totals = (shares: readonly (readonly (Words | Planes)[])[]): (Words | Planes)[] =>
    shares[0]!.map((first, i) =>
      first instanceof Uint8Array
        ? shares.map((fields) => fields[i] as Planes).reduce((a, b) => ring().xor(a, b))
        : sumOf(shares.map((fields) => fields[i] as Words)),
    )

  /** What the fields of a correlation must be to each other, in whole numbers. */
  function check(of: Correlation, fields: readonly (Words | Planes)[]): void {
    const words = (i: number) => fields[i] as Words
    const planes = (i: number) => fields[i] as Planes
    switch (of.kind) {
      case 'product': {
        const [a, b] = of.shapes.map((shape, i) => ringTensor(64, shape, words(i)))
        expect(words(2)).toEqual(ringRow(of.op).clear([a!, b!], of.attrs)[0]!.data)
        if (of.op === 'mul' && sizeOf(of.shapes[0]) === sizeOf(of.shapes[1])) {
          expect(words(2)).toEqual(wordsFrom(Array.from(words(0), (x, i) => x * words(1)[i]!)))
        }
        return
      }
      case 'square':
        return expect(words(1)).toEqual(wordsFrom(Array.from(words(0), (x) => x * x)))
      case 'truncation': {
        const low = 2n ** 63n
        expect(words(1)).toEqual(wordsFrom(Array.from(words(0), (r) => (r % low) / BigInt(of.divisor))))
        return expect(words(2)).toEqual(wordsFrom(Array.from(words(0), (r) => r / low)))
      }
      case 'coded':
        return words(0).forEach((r, i) => {
          for (let digit = 0; digit < of.digits; digit++) {
            const value = Number((r >> BigInt(4 * digit)) & 15n)
            for (let t = 1; t < 16; t++) {
              const at = plane(planes(1), 15 * digit + t - 1, strideOf(of.size))
              if (isSet(at, i) !== value >= t) expect.fail(`whether digit ${digit} of value ${i} is at least ${t}`)
            }
          }
        })
      case 'circuit': {
        const stride = strideOf(of.size)
        let [wire, gate] = [0, 0]
        for (const layer of circuitOf(of.name, of.bits).layers) {
          for (const { left, right } of layer.gates) {
            const and = ring().and(plane(planes(0), wire + left, stride), plane(planes(0), wire + right, stride))
            expect(plane(planes(1), gate++, stride)).toEqual(and)
          }
          wire += layer.wires.length
        }
        expect([planes(0).length, planes(1).length]).toEqual([wire * stride, gate * stride])
        return
      }
      case 'bit': {
        const [bits, truths] = [planes(0), words(1 + of.factors)]
        for (let j = 0; j < of.planes; j++) {
          for (let i = 0; i < of.size; i++) {
            const at = j * of.size + i
            expect(truths[at]).toBe(isSet(plane(bits, j, strideOf(of.size)), i) ? 1n : 0n)
            for (let k = 0; k < of.factors; k++) {
              expect(words(2 + of.factors + k)[at]).toBe(words(1 + k)[at]! * truths[at]!)
            }
          }
        }
      }
    }
  }

  it.each([2, 3, 5])('among %i parties add up to what their rows say', (parties) => {
    for (const of of list) check(of, totals(dealt(of, random, parties)))
  })

  it('are seen not to when one bit of the correction is wrong', () => {
    for (const of of list) {
      const shares = dealt(of, random, 3)
      const last = shares[2]!.at(-1)!
      if (last instanceof Uint8Array) last[0]! ^= 1
      else last[0]! ^= 1n
      expect(() => check(of, totals(shares))).toThrow()
    }
  })

  it('have corrections of the length that is told, all of them uniform', () => {
    const corrections = new ByteCounts()
    for (const of of list) {
      for (let i = 0; i < 10; i++) {
        const data = deal(
          of,
          range(3).map(() => new Prg(seedFrom(random)).stream(0)),
          64,
        )
        expect(data.length).toBe(correctionBytes(of, 64))
        corrections.add(data)
      }
    }
    expect(fromUniform(corrections)).toBeLessThan(byteBound)
    const bytes = (of: Correlation) => correctionBytes(of, 64) / 64
    expect(bytes({ kind: 'product', op: 'mul', shapes: [[64], [64]], attrs: [] })).toBe(8)
    expect(bytes({ kind: 'square', size: 64 })).toBe(8)
    expect(bytes({ kind: 'truncation', size: 64, divisor: 65_536 })).toBe(16)
    // A matrix triple is as long as the product, not as the factors.
    expect(
      correctionBytes(
        {
          kind: 'product',
          op: 'matMul',
          shapes: [
            [8, 100],
            [100, 8],
          ],
          attrs: [],
        },
        64,
      ),
    ).toBe(8 * 64)
  })
})

describe('circuits', () => {
  /** One bit of each of many values, side by side. */
  type Register = bigint

  /** A circuit in clear. Wires are read before anything of their layer is written. */
  function evaluate({ layers }: Pick<Circuit, 'layers'>, registers: readonly Register[]): Register[] {
    const result = [...registers]
    for (const { wires, gates } of layers) {
      const read = wires.map((register) => result[register]!)
      for (const { left, right, into, adds } of gates) {
        const and = read[left]! & read[right]!
        result[into] = adds ? result[into]! ^ and : and
      }
    }
    return result
  }

  const below = (bits: number) => (1n << BigInt(bits)) - 1n
  /** Pairs of numbers of so many bits: at boundaries, next to each other, alike but for one bit, and any. */
  function pairs(random: SeededRandom, bits: number): readonly (readonly [bigint, bigint])[] {
    const any = () => ((BigInt(random.uint32()) << 32n) | BigInt(random.uint32())) & below(bits)
    const top = below(bits)
    const ends = [0n, 1n & top, top >> 1n, (top >> 1n) + 1n, top - 1n, top].map((value) => value & top)
    return [
      ...ends.flatMap((c) => ends.map((r) => [c, r] as const)),
      ...range(bits).flatMap((bit) => {
        const c = any()
        return [[c, c ^ (1n << BigInt(bit))] as const, [c ^ (1n << BigInt(bit)), c] as const]
      }),
      ...range(40).map(() => [any(), any()] as const),
      ...range(10)
        .map(() => any())
        .map((c) => [c, c] as const),
    ]
  }
  const bitOf = (value: bigint, bit: number): bigint => (value >> BigInt(bit)) & 1n
  const column = <T>(list: readonly T[], bit: (value: T) => bigint): Register => BigInt(`0b${list.map(bit).join('')}`)

  const sizes = range(64).map((i) => i + 1)

  it('tell which of two numbers is smaller, of 1 to 64 bits', () => {
    const random = new SeededRandom(9)
    for (const bits of sizes) {
      const list = pairs(random, bits)
      const registers = [
        ...range(bits).map((bit) => column(list, ([c, r]) => (1n - bitOf(c, bit)) * bitOf(r, bit))),
        ...range(bits).map((bit) => column(list, ([c, r]) => (bitOf(c, bit) === bitOf(r, bit) ? 1n : 0n))),
      ]
      const expected = column(list, ([c, r]) => (c < r ? 1n : 0n))
      expect(evaluate(circuitOf('lessThan', bits), registers)[bits - 1]).toBe(expected)
    }
  })

  it('put the lowest 1 to 62 bits of a difference together, from those of its digits', () => {
    const random = new SeededRandom(10)
    const digitOf = (value: bigint, digit: number): number => Number((value >> BigInt(4 * digit)) & 15n)
    for (const bits of range(62).map((i) => i + 1)) {
      const list = pairs(random, 64)
      const digits = range(Math.ceil(bits / 4))
      const lower = digits.slice(0, -1)
      const ofDigits = (digit: number, holds: (c: number, r: number) => boolean): Register =>
        column(list, ([c, r]) => (holds(digitOf(c, digit), digitOf(r, digit)) ? 1n : 0n))
      const isSet = (x: number, bit: number) => ((x >> bit) & 1) === 1
      const registers = [
        ...lower.map((digit) => ofDigits(digit, (c, r) => c < r)),
        ...lower.map((digit) => ofDigits(digit, (c, r) => c === r)),
        ...range(bits).map((i) => ofDigits(Math.floor(i / 4), (c, r) => isSet(c - r, i % 4))),
        ...lower.flatMap((digit) =>
          [1, 2, 3].map((i) => ofDigits(digit + 1, (c, r) => isSet(c - r, i) !== isSet(c - r - 1, i))),
        ),
      ]
      const after = evaluate(circuitOf('difference', bits), registers)
      const results = lookupOf('lowBits', 64, [bits]).outcome(after, (a, b) => a ^ b)
      expect(results).toEqual(range(bits).map((bit) => column(list, ([c, r]) => bitOf(c - r, bit))))
    }
  })

  it('tell the sign, a zero and the lowest bits of a difference, from what shares of codes are looked up for', () => {
    const random = new SeededRandom(13)
    for (const bits of [64, 128] as const) {
      const kernels = ring(bits)
      const low = pairs(random, 64)
      // High halves at boundaries as well, and alike in some.
      const list =
        bits === 64
          ? low
          : low.flatMap(
              ([c, r], i) =>
                [
                  [c, r],
                  [(low[(7 * i) % low.length]![0] << 64n) | c, (low[(7 * i) % low.length]![i % 2]! << 64n) | r],
                ] as const,
            )
      const wordsOf = (which: 0 | 1): Words =>
        wordsFrom(
          list.flatMap((pair) => range(bits / 64).map((i) => BigInt.asUintN(64, pair[which] >> BigInt(64 * i)))),
        )
      const [c, r] = [wordsOf(0), wordsOf(1)]
      const stride = strideOf(list.length)
      const difference = ([x, y]: readonly [bigint, bigint]): bigint => BigInt.asUintN(bits, x - y)
      const expected = {
        negative: [(pair: readonly [bigint, bigint]) => bitOf(difference(pair), bits - 1)],
        zero: [(pair: readonly [bigint, bigint]) => (difference(pair) === 0n ? 1n : 0n)],
        lowBits: range(62).map((bit) => (pair: readonly [bigint, bigint]) => bitOf(difference(pair), bit)),
      }
      for (const [op, attrs] of [
        ['negative', []],
        ['zero', []],
        ...[1, 2, 4, 5, 6, 9, 16, 62].map((count) => ['lowBits', [count]] as const),
      ] as const) {
        const lookup = lookupOf(op, bits, attrs)
        const codes = kernels.thermometers(r, lookup.digits)
        const mask = new Prg(seedFrom(random)).stream(0).bytes(codes.length)
        const shares = [mask, kernels.xor(codes, mask)].map((share, i) => lookup.find(kernels, share, c, i === 0))
        const found = kernels.xor(shares[0]!, shares[1]!)
        const planes = range(lookup.planes).map((i) =>
          column(
            list.map((_, j) => j),
            (j) => bitOf(BigInt(plane(found, i, stride)[j >> 3]!), j & 7),
          ),
        )
        const { name, bits: width } = lookup.circuit
        const outcome = lookup.outcome(evaluate(circuitOf(name, width), lookup.registers(planes)), (a, b) => a ^ b)
        const wanted = expected[op].slice(0, lookup.results).map((bit) => column(list, bit))
        expect({ op, attrs, bits, outcome }).toEqual({ op, attrs, bits, outcome: wanted })
      }
    }
  })

  it('tell whether all of 1 to 64 bits are set', () => {
    const random = new SeededRandom(11)
    for (const bits of sizes) {
      const top = below(bits)
      const list = [...pairs(random, bits).map(([c]) => c), ...range(bits).map((bit) => top ^ (1n << BigInt(bit))), top]
      const registers = range(bits).map((bit) => column(list, (value) => bitOf(value, bit)))
      const expected = column(list, (value) => (value === top ? 1n : 0n))
      expect(evaluate(circuitOf('allOnes', bits), registers)[bits - 1]).toBe(expected)
    }
  })

  it('are seen to be wrong when a gate is left out', () => {
    const { layers } = circuitOf('allOnes', 8)
    const shortened = { layers: layers.map(({ wires, gates }) => ({ wires, gates: gates.slice(1) })) }
    const registers = range(8).map((bit) => (bit === 0 ? 0n : 1n))
    expect(evaluate({ layers }, registers)[7]).toBe(0n)
    expect(evaluate(shortened, registers)[7]).toBe(1n)
  })

  it('have as many layers, wires and gates as are claimed', () => {
    for (const bits of sizes) {
      const depth = Math.ceil(Math.log2(bits))
      const parts = range(depth).map((level) => Math.ceil(bits / 2 ** level))
      // Where the number of parts is even, the lowest is combined too: nobody asks whether it is equal.
      const lowest = parts.filter((count) => count % 2 === 0).length
      // Borrows of all digits but the highest, and a layer for the bits that change with them.
      const digits = Math.ceil(bits / 4) - 1
      const levels = digits > 1 ? Math.ceil(Math.log2(digits)) : 0
      const prefixes = range(levels).map((level) => range(digits).filter((i) => (i >> level) % 2 === 1))
      const changed = range(bits).filter((bit) => bit > 4 && bit % 4 > 0)
      const claims: Record<CircuitName, { layers: number; wires: number; gates: number }> = {
        // A merge reads lt and eq of one half, lt and (but for the lowest) eq of the other, and makes lt and eq.
        lessThan: { layers: depth, wires: 3 * (bits - 1) - lowest, gates: 2 * (bits - 1) - lowest },
        allOnes: { layers: depth, wires: 2 * (bits - 1), gates: bits - 1 },
        difference: {
          layers: levels + (changed.length > 0 ? 1 : 0),
          wires:
            sum(
              prefixes.map((highs, level) => {
                const lows = new Set(highs.map((i) => ((i >> level) << level) - 1))
                const inner = [...lows].filter((low) => low >= 2 ** level)
                return highs.length + lows.size + inner.length
              }),
            ) +
            changed.length +
            new Set(changed.map((bit) => bit >> 2)).size,
          gates:
            sum(prefixes.map((highs, level) => highs.length + highs.filter((i) => i >= 2 * 2 ** level).length)) +
            changed.length,
        },
      }
      for (const [name, claim] of Object.entries(claims)) {
        const { layers, wires, gates } = circuitOf(name as CircuitName, bits)
        expect([name, bits, { layers: layers.length, wires, gates }]).toEqual([name, bits, claim])
        expect(wires).toBe(sum(layers.map((layer) => layer.wires.length)))
        expect(gates).toBe(sum(layers.map((layer) => layer.gates.length)))
        // A register is opened once a layer: masked alike twice, it would show nothing more, and cost more.
        for (const layer of layers) expect(new Set(layer.wires).size).toBe(layer.wires.length)
      }
    }
    // An eighth of a byte for each wire and value.
    expect(circuitOf('lessThan', 63)).toMatchObject({ wires: 181, layers: { length: 6 } })
    expect(circuitOf('allOnes', 64)).toMatchObject({ wires: 126, layers: { length: 6 } })
  })

  it.each([
    ...[2, 3, 5].map((parties) => ['additive', parties, 1] as const),
    ...[0, 1, 2].map((seq) => ['replicated', 3, seq] as const),
  ])('compare the same on %s shares that wrap, among %i, in turn %i', async (name, parties, seq) => {
    const random = new SeededRandom(12)
    const values = wordsFrom([
      ...[0n, 1n, -1n, 2n, -2n, 2n ** 62n, -(2n ** 62n), 2n ** 63n - 1n, -(2n ** 63n), 65_536n, -65_536n],
      ...randomWords(random, 60),
      ...range(60).map(() => BigInt(random.int(200)) - 100n),
    ])
    const shape = [values.length]
    const secret = (words: Words) => ({ shape, shares: wrappingShares(random, words, parties) })
    const factors = [randomWords(random, values.length), randomWords(random, values.length)]
    const options = { protocol: protocols[name], seq }

    const isNegative = Array.from(values, (word) => (signed(word) < 0n ? 1n : 0n))
    const [bit, ...products] = await together('negative', [values, ...factors].map(secret), random, options)
    expect(bit).toEqual(wordsFrom(isNegative))
    expect(products).toEqual(factors.map((words) => wordsFrom(Array.from(words, (word, i) => word * isNegative[i]!))))

    const [isZero] = await together('zero', [secret(values)], random, options)
    expect(isZero).toEqual(wordsFrom(Array.from(values, (word) => (word === 0n ? 1n : 0n))))

    for (const count of [1, 2, 3, 17, 62]) {
      const [bits] = await together('lowBits', [secret(values)], random, { ...options, attrs: [count] })
      expect(bits).toEqual(wordsFrom(Array.from(values).flatMap((word) => range(count).map((j) => bitOf(word, j)))))
    }
  })
})
