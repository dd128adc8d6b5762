import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sourceOf } from '../../../src/smpc/prg.ts'
import { codeBytes } from '../../../src/smpc/ring/digits.ts'
import type { RingKernels, Source } from '../../../src/smpc/ring/kernels.ts'
import { carriedBits, fewBytes, packedBytes } from '../../../src/smpc/ring/packing.ts'
import { references } from '../../reference/ring.ts'
import { copyOf, elementsOf, expectSame, Inputs, implementations, lengths, longLengths, wordsOf } from './inputs.ts'

type Kernels = Omit<RingKernels, 'name'>
type Result = ArrayBufferView | Readonly<Record<string, ArrayBufferView>>
/** Operands of a length, and the kernel on them. */
type Case = (inputs: Inputs, n: number) => { operands: readonly unknown[]; run: (kernels: Kernels) => Result }

const row = <const T extends readonly unknown[]>(operands: T, run: (kernels: Kernels, ...operands: T) => Result) => ({
  operands,
  run: (kernels: Kernels) => run(kernels, ...operands),
})
const divisors = [1n, 2n, 3n, 10n, 1000n, 2n ** 16n, 2n ** 31n, 2n ** 32n, 2n ** 61n, 2n ** 62n - 1n] as const
const scales = [1, 2 ** 16, 1000, 2 ** -3, 2 ** 32, 2 ** 52] as const
/** Rows and columns of about n elements. */
const rowsOf = (inputs: Inputs, n: number): [number, number] => {
  const columns = inputs.below(12)
  return [columns === 0 ? inputs.below(4) : Math.ceil(n / columns), columns]
}
const indicesOf = (inputs: Inputs, n: number, length: number) =>
  Int32Array.from({ length: n }, () => inputs.below(length + 1) - 1)
const int32sOf = (inputs: Inputs, n: number) =>
  Int32Array.from(elementsOf(inputs.words(n), inputs.bits), (x) => Number(BigInt.asIntN(32, x)))
/** Doubles of every size that can be encoded, with ties among them. */
const valuesOf = (inputs: Inputs, n: number, scale: number) =>
  Float64Array.from({ length: n }, () => {
    const whole = (inputs.below(2 ** 32) - 2 ** 31) * 2 ** inputs.below(inputs.bits === 64 ? 18 : 32)
    return (whole + inputs.below(4) / 4) / scale
  })

/** What a division with a helper takes: elements, numbers of few bits as they are drawn, and as they travel. */
const drawnFor = (inputs: Inputs, n: number, divisor: bigint) => {
  const carried = carriedBits(inputs.bits, divisor)
  return [
    () => inputs.words(n),
    () => inputs.bytes(fewBytes(inputs.bits, carried) * n),
    () => inputs.bytes(packedBytes(carried, n)),
  ] as const
}
const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** One row per kernel that takes operands of any length. */
const cases = {
  add: (inputs, n) => row([inputs.words(n), inputs.words(n)], (kernels, a, b) => kernels.add(a, b)),
  sub: (inputs, n) => row([inputs.words(n), inputs.words(n)], (kernels, a, b) => kernels.sub(a, b)),
  lessTwice: (inputs, n) => row([inputs.words(n), inputs.words(n)], (kernels, a, b) => kernels.lessTwice(a, b)),
  mul: (inputs, n) => row([inputs.words(n), inputs.words(n)], (kernels, a, b) => kernels.mul(a, b)),
  neg: (inputs, n) => row([inputs.words(n)], (kernels, a) => kernels.neg(a)),
  addScalar: (inputs, n) => row([inputs.words(n), inputs.element()], (kernels, a, k) => kernels.addScalar(a, k)),
  'addScalar of a number below zero': (inputs, n) =>
    row([inputs.words(n), -inputs.element()], (kernels, a, k) => kernels.addScalar(a, k)),
  mulScalar: (inputs, n) => row([inputs.words(n), inputs.element()], (kernels, a, k) => kernels.mulScalar(a, k)),
  'mulScalar of a number past the ring': (inputs, n) =>
    row([inputs.words(n), -(inputs.element() ** 2n)], (kernels, a, k) => kernels.mulScalar(a, k)),
  beaver: (inputs, n) =>
    row(
      [inputs.words(n), inputs.words(n), inputs.words(n), inputs.words(n), inputs.words(n), inputs.below(2) === 0],
      (kernels, ...operands) => kernels.beaver(...operands),
    ),
  transpose: (inputs, n) => {
    const [rows, columns] = rowsOf(inputs, n)
    return row([inputs.words(rows * columns)], (kernels, a) => kernels.transpose(a, rows, columns))
  },
  sumRows: (inputs, n) => {
    const [rows, columns] = rowsOf(inputs, n)
    return row([inputs.words(rows * columns)], (kernels, a) => kernels.sumRows(a, rows, columns))
  },
  sumColumns: (inputs, n) => {
    const [rows, columns] = rowsOf(inputs, n)
    return row([inputs.words(rows * columns)], (kernels, a) => kernels.sumColumns(a, rows, columns))
  },
  cumulativeSum: (inputs, n) => {
    const [rows, columns] = rowsOf(inputs, n)
    const [exclusive, reverse] = [inputs.below(2) === 0, inputs.below(2) === 0]
    return row([inputs.words(rows * columns)], (kernels, a) =>
      kernels.cumulativeSum(a, rows, columns, exclusive, reverse),
    )
  },
  gather: (inputs, n) => {
    const length = inputs.below(20)
    return row([inputs.words(length), indicesOf(inputs, n, length)], (kernels, words, indices) =>
      kernels.gather(words, indices),
    )
  },
  scatterAdd: (inputs, n) => {
    const length = inputs.below(20)
    return row([inputs.words(n), indicesOf(inputs, n, length)], (kernels, words, indices) =>
      kernels.scatterAdd(words, indices, length),
    )
  },
  divide: (inputs, n) => {
    const divisor = [...divisors, 2n ** 62n, 2n ** 63n - 1n][inputs.below(divisors.length + 2)]!
    return row([inputs.words(n), divisor], (kernels, a, by) => kernels.divide(a, by))
  },
  'encode of float64': (inputs, n) => {
    const scale = scales[inputs.below(6)]!
    return row([valuesOf(inputs, n, scale)], (kernels, values) => kernels.encode(values, scale))
  },
  'encode of float32': (inputs, n) => {
    const scale = scales[inputs.below(scales.length)]!
    const values = Float32Array.from(valuesOf(inputs, n, scale))
    return row([values], (kernels, these) => kernels.encode(these, scale))
  },
  decode: (inputs, n) => {
    const scale = scales[inputs.below(scales.length)]!
    return row([inputs.words(n)], (kernels, a) => kernels.decode(a, scale))
  },
  fromInt32: (inputs, n) => row([int32sOf(inputs, n)], (kernels, values) => kernels.fromInt32(values)),
  toInt32: (inputs, n) =>
    row([references[inputs.bits].fromInt32(int32sOf(inputs, n))], (kernels, a) => kernels.toInt32(a)),
  sum2: (inputs, n) =>
    row([inputs.words(n), inputs.words(n), inputs.element()], (kernels, a, b, k) => kernels.sum2(a, b, k)),
  'sum2 of what is drawn': (inputs, n) =>
    row([inputs.words(n), inputs.words(n), inputs.element()], (kernels, a, b, k) =>
      kernels.sum2(a, sourceOf(bytesOf(b)), k),
    ),
  sum3: (inputs, n) =>
    row([inputs.words(n), inputs.words(n), inputs.words(n), inputs.element()], (kernels, a, b, c, k) =>
      kernels.sum3(a, b, c, k),
    ),
  'sum3 of what is drawn': (inputs, n) =>
    row([inputs.words(n), inputs.words(n), inputs.words(n), inputs.element()], (kernels, a, b, c, k) =>
      kernels.sum3(a, b, sourceOf(bytesOf(c)), k),
    ),
  dealDivision: (inputs, n) => {
    const divisor = divisors[inputs.below(divisors.length)]!
    const isOwn = inputs.below(2) === 0
    const [whole, drawn] = drawnFor(inputs, n, divisor)
    return row([whole(), whole(), whole(), whole(), whole(), drawn(), drawn(), drawn()], (kernels, ...operands) => {
      const [summand, mask, rA, rB, quotientA, topA, maskA, maskB] = operands
      const own = isOwn ? { summand, mask: sourceOf(bytesOf(mask)) } : null
      const sources = { rA, rB, quotientA, topA, maskA, maskB }
      const shared = Object.fromEntries(Object.entries(sources).map(([name, from]) => [name, sourceOf(bytesOf(from))]))
      const dealt = kernels.dealDivision({ n, divisor, own, ...(shared as Record<keyof typeof sources, Source>) })
      return { ...dealt, own: dealt.own ?? new Uint8Array(0) }
    })
  },
  carryDivision: (inputs, n) => {
    const divisor = divisors[inputs.below(divisors.length)]!
    const [isFused, isDrawn] = [inputs.below(2) === 0, inputs.below(2) === 0]
    const [whole, drawn, packed] = drawnFor(inputs, n, divisor)
    return row([whole(), whole(), whole(), whole(), isDrawn ? drawn() : packed(), drawn()], (kernels, ...operands) => {
      const [masked, theirs, helpers, quotient, top, mask] = operands
      return {
        ...kernels.carryDivision({
          divisor,
          masked,
          theirs,
          helpers: isFused ? helpers : null,
          quotient: sourceOf(bytesOf(quotient)),
          top: isDrawn ? sourceOf(bytesOf(top)) : bytesOf(top),
          mask: sourceOf(bytesOf(mask)),
        }),
      }
    })
  },
  closeDivision: (inputs, n) => {
    const divisor = divisors[inputs.below(divisors.length)]!
    const [whole, , packed] = drawnFor(inputs, n, divisor)
    return row([whole(), packed(), packed()], (kernels, c, mine, theirs) =>
      kernels.closeDivision(c, mine, theirs, divisor),
    )
  },
  truncationOf: (inputs, n) =>
    row([inputs.words(n), divisors[inputs.below(divisors.length)]!], (kernels, r, divisor) =>
      kernels.truncationOf(r, divisor),
    ),
  truncate: (inputs, n) =>
    row(
      [
        inputs.words(n),
        inputs.words(n),
        inputs.words(n),
        divisors[inputs.below(divisors.length)]!,
        inputs.below(2) === 0,
      ],
      (kernels, ...operands) => kernels.truncate(...operands),
    ),
  toPlanes: (inputs, n) => row([inputs.words(n)], (kernels, a) => kernels.toPlanes(a)),
  thermometers: (inputs, n) => {
    const digits = 1 + inputs.below(inputs.bits / 4)
    return row([inputs.words(n), digits], (kernels, ...operands) => kernels.thermometers(...operands))
  },
  compareDigits: (inputs, n) => {
    const digits = 1 + inputs.below(inputs.bits / 4)
    const [isSigned, addsPublic] = [inputs.below(2) === 0, inputs.below(2) === 0]
    const codes = inputs.bytes(codeBytes(digits, n))
    return row([codes, inputs.words(n), digits, isSigned, addsPublic], (kernels, ...operands) =>
      kernels.compareDigits(...operands),
    )
  },
  subtractDigits: (inputs, n) => {
    const digits = 1 + inputs.below(16)
    const codes = inputs.bytes(codeBytes(digits, n))
    return row([codes, inputs.words(n), digits, inputs.below(2) === 0], (kernels, ...operands) =>
      kernels.subtractDigits(...operands),
    )
  },
  fromPlane: (inputs, n) =>
    row([inputs.bytes(Math.ceil(n / 8)), n], (kernels, plane, length) => kernels.fromPlane(plane, length)),
  flip: (inputs, n) =>
    row([inputs.bytes(Math.ceil(n / 8)), inputs.words(n), inputs.words(n)], (kernels, ...operands) =>
      kernels.flip(...operands),
    ),
  'flip of one number': (inputs, n) =>
    row([inputs.bytes(Math.ceil(n / 8)), inputs.words(n), -inputs.element()], (kernels, ...operands) =>
      kernels.flip(...operands),
    ),
  pick: (inputs, n) =>
    row([inputs.bytes(Math.ceil(n / 8)), inputs.words(n), inputs.words(n)], (kernels, ...operands) =>
      kernels.pick(...operands),
    ),
  lowestBits: (inputs, n) => row([inputs.words(n)], (kernels, a) => kernels.lowestBits(a)),
  xor: (inputs, n) => row([inputs.bytes(n), inputs.bytes(n)], (kernels, a, b) => kernels.xor(a, b)),
  and: (inputs, n) => row([inputs.bytes(n), inputs.bytes(n)], (kernels, a, b) => kernels.and(a, b)),
  beaverAnd: (inputs, n) =>
    row(
      [inputs.bytes(n), inputs.bytes(n), inputs.bytes(n), inputs.bytes(n), inputs.bytes(n), inputs.below(2) === 0],
      (kernels, ...operands) => kernels.beaverAnd(...operands),
    ),
  chacha20: (inputs, n) =>
    row([inputs.bytes(32), inputs.bytes(12), inputs.below(2 ** 32 - 1000), n], (kernels, ...operands) =>
      kernels.chacha20(...operands),
    ),
} satisfies Record<string, Case>

describe.each(implementations)('the kernels of the ring in %s', (_, kernels) => {
  const { bits } = kernels
  const referenceKernels = references[bits]
  const limbs = bits / 64

  it.each(Object.entries(cases))('%s does as its slow twin does, and leaves its operands alone', (_, make) => {
    const agree = (seed: number, n: number) => {
      const { operands, run } = make(new Inputs(seed, bits), n)
      const before = copyOf(operands)
      expectSame(run(kernels), run(referenceKernels))
      expect(operands).toEqual(before)
    }
    fc.assert(fc.property(fc.nat(), lengths, agree), { numRuns: bits === 64 ? 40 : 25 })
  })

  it.each(Object.entries(cases))('%s does so on a whole block, and past it', (_, make) => {
    for (const n of longLengths[bits]) {
      const { run } = make(new Inputs(n, bits), n)
      expectSame(run(kernels), run(referenceKernels))
    }
  })

  it('matMul does as its slow twin does: empty, of one row or column, odd, whole, turned over', () => {
    const sizes = fc.oneof(fc.constantFrom(0, 1, 2, 8), fc.nat(19))
    fc.assert(
      fc.property(fc.nat(), sizes, sizes, sizes, fc.boolean(), fc.boolean(), (seed, m, k, n, ...transposed) => {
        const inputs = new Inputs(seed, bits)
        const [a, b] = [inputs.words(m * k), inputs.words(k * n)]
        const before = copyOf([a, b])
        expectSame(kernels.matMul(a, b, m, k, n, ...transposed), referenceKernels.matMul(a, b, m, k, n, ...transposed))
        expect([a, b]).toEqual(before)
      }),
      { numRuns: bits === 64 ? 150 : 75 },
    )
  })

  it('matMul does so where the rows are taken in several turns, the last one of a single row', () => {
    const inputs = new Inputs(1, bits)
    // 64 rows at a time: k + n is more than 2^20 / 8 / 64 = 2048. Of 128 bits, k takes several turns as well.
    const [m, k, n] = [65, 2051, 4]
    const [a, b] = [inputs.words(m * k), inputs.words(k * n)]
    for (const transposed of [false, true]) {
      expectSame(
        kernels.matMul(a, b, m, k, n, transposed, transposed),
        referenceKernels.matMul(a, b, m, k, n, transposed, transposed),
      )
    }
  })

  it('matMul does so where the left one is too large to be turned over where it is multiplied', () => {
    const inputs = new Inputs(2, bits)
    // 16 MB of 64 bits and more; a loop in JavaScript makes no difference.
    const m = kernels.name === 'wasm' ? 2 ** 20 + 5 : 37
    const [row, other, [x, y]] = [inputs.words(m), inputs.words(m), [inputs.element(), inputs.element()]]
    const left = new BigUint64Array(2 * row.length)
    left.set(row)
    left.set(other, row.length)
    const product = kernels.matMul(left, wordsOf([x, y], bits), m, 2, 1, true)
    expectSame(product, kernels.add(kernels.mulScalar(row, x), kernels.mulScalar(other, y)))
  })

  it('the bits of a value are the same through planes and back', () => {
    fc.assert(
      fc.property(fc.nat(), lengths, (seed, n) => {
        const a = new Inputs(seed, bits).words(n)
        const planes = kernels.toPlanes(a)
        const bytes = Math.ceil(n / 8)
        let back = new BigUint64Array(limbs * n)
        for (let bit = bits - 1; bit >= 0; bit--) {
          const plane = kernels.fromPlane(planes.subarray(bit * bytes, (bit + 1) * bytes), n)
          back = kernels.add(kernels.mulScalar(back, 2n), plane) as typeof back
        }
        expectSame(back, referenceKernels.addScalar(a, 0n))
        expectSame(kernels.lowestBits(a), planes.slice(0, bytes))
      }),
      { numRuns: 20 },
    )
  })

  it('a product of shared values comes from a triple, whatever the parties', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 2, max: 5 }), (seed, parties) => {
        const inputs = new Inputs(seed, bits)
        const n = 9
        const { add, sub, mul } = kernels
        const [x, y, a, b] = [inputs.words(n), inputs.words(n), inputs.words(n), inputs.words(n)]
        const share = (secret: BigUint64Array) => {
          const masks = Array.from({ length: parties - 1 }, () => inputs.words(n))
          return [...masks, masks.reduce<BigUint64Array>((rest, mask) => sub(rest, mask), secret)]
        }
        const [as, bs, cs] = [share(a), share(b), share(mul(a, b))]
        const [d, e] = [sub(x, a), sub(y, b)]
        const products = cs.map((c, party) => kernels.beaver(c, as[party]!, bs[party]!, d, e, party === 0))
        expect(products.reduce((sum, product) => add(sum, product))).toEqual(mul(x, y))
      }),
      { numRuns: 20 },
    )
  })

  it('gives what is written here', () => {
    const [top, all] = [2n ** BigInt(bits - 1), 2n ** BigInt(bits) - 1n]
    const [x, y] = [wordsOf([all, top, 3n], bits), wordsOf([all, 2n, top], bits)]
    expect(kernels.add(x, y)).toEqual(wordsOf([all - 1n, top + 2n, top + 3n], bits))
    expect(kernels.mul(x, y)).toEqual(wordsOf([1n, 0n, top], bits))
    expect(kernels.matMul(x, y, 1, 3, 1)).toEqual(wordsOf([1n + top], bits))
    expect(kernels.divide(x, 3n)).toEqual(wordsOf([0n, -(top / 3n), 1n], bits))
    expect(kernels.truncationOf(x, 4n)).toEqual({
      quotient: wordsOf([top / 4n - 1n, 0n, 0n], bits),
      top: wordsOf([1n, 1n, 0n], bits),
    })
    expect(kernels.encode(Float64Array.of(1.5, -0.25), 2 ** 16)).toEqual(wordsOf([98_304n, -16_384n], bits))
    expect(kernels.decode(wordsOf([98_304n, -16_384n, -top], bits), 2 ** 16)).toEqual(
      Float32Array.of(1.5, -0.25, -(2 ** (bits - 17))),
    )
  })

  describe('encode', () => {
    const limit = bits === 64 ? 2 ** 50 : 2 ** 64
    const largest = limit / 2 ** 16

    it.each([
      ['NaN', Number.NaN],
      ['Infinity', Number.POSITIVE_INFINITY],
      ['−Infinity', Number.NEGATIVE_INFINITY],
      ['the limit', largest],
      ['the limit below zero', -largest],
      ['the largest float32', 3.4028234663852886e38],
    ])('refuses %s wherever it stands, and names the limit', (_, value) => {
      for (const [n, at] of [
        [1, 0],
        [2, 1],
        [3, 2],
        [9001, 8999],
        [9001, 9000],
      ] as const) {
        for (const Values of [Float32Array, Float64Array]) {
          const values = new Values(n)
          values[at] = value
          expect(() => kernels.encode(values, 2 ** 16)).toThrow(
            expect.objectContaining({
              code: 'ERR_ARGUMENT_VALUE',
              message: `encode: values expected finite and below ${largest} in magnitude`,
              details: { limit: largest, scale: 2 ** 16 },
            }),
          )
        }
      }
      // What it refused leaves no trace.
      expect(kernels.encode(Float32Array.of(1), 2 ** 16)).toEqual(wordsOf([65536n], bits))
    })

    it('takes what is just below the limit', () => {
      // Of 2^50 a double has three bits after the point, and of 2^64 its last is worth 2^11.
      const [below, rounds] = bits === 64 ? [2 ** 50 - 0.25, 2n ** 50n] : [2 ** 64 - 2 ** 11, 2n ** 64n - 2n ** 11n]
      expect(kernels.encode(Float64Array.of(below, -below), 1)).toEqual(wordsOf([rounds, -rounds], bits))
    })

    it('rounds ties to even', () => {
      const values = Float32Array.of(0.5, 1.5, 2.5, -0.5, -1.5, -2.5)
      expect(kernels.encode(values, 1)).toEqual(wordsOf([0n, 2n, 2n, 0n, -2n, -2n], bits))
    })
  })

  it('toInt32 refuses what does not fit, wherever it stands', () => {
    const refused = [
      2n ** 31n,
      -(2n ** 31n) - 1n,
      2n ** 32n,
      2n ** 63n,
      ...(bits === 128 ? [2n ** 64n, 2n ** 96n] : []),
    ]
    for (const value of refused) {
      for (const at of [0, 1, 2]) {
        const a = wordsOf(
          [0, 1, 2].map((i) => (i === at ? value : 0n)),
          bits,
        )
        expect(() => kernels.toInt32(a)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
      }
    }
    const ends = wordsOf([2n ** 31n - 1n, -(2n ** 31n)], bits)
    expect(kernels.toInt32(ends)).toEqual(Int32Array.of(2 ** 31 - 1, -(2 ** 31)))
  })

  it('refuses operands of different lengths and shapes that are not theirs', () => {
    const [a, b] = [new BigUint64Array(2 * limbs), new BigUint64Array(3 * limbs)]
    const [p, q] = [new Uint8Array(2), new Uint8Array(3)]
    for (const call of [
      () => kernels.add(a, b),
      () => kernels.sub(b, a),
      () => kernels.mul(a, b),
      () => kernels.beaver(a, a, a, a, b, true),
      () => kernels.truncate(a, a, b, 2n, true),
      () => kernels.scatterAdd(a, new Int32Array(3), 5),
      () => kernels.xor(p, q),
      () => kernels.and(q, p),
      () => kernels.beaverAnd(p, p, p, p, q, false),
      () => kernels.fromPlane(p, 17),
      () => kernels.fromPlane(p, 8),
      () => kernels.flip(p, a, 1n),
      () => kernels.flip(new Uint8Array(1), a, b),
      () => kernels.pick(p, a, a),
      () => kernels.pick(new Uint8Array(1), a, b),
      () => kernels.thermometers(a, 0),
      () => kernels.thermometers(a, bits / 4 + 1),
      () => kernels.compareDigits(p, a, 1, true, true),
      () => kernels.subtractDigits(p, a, 1, true),
      () => kernels.subtractDigits(new Uint8Array(15 * 17), a, 17, true),
      () => kernels.matMul(a, b, 2, 1, 2),
      () => kernels.matMul(a, b, 1, 1, 3),
      () => kernels.matMul(a, a, -1, -2, -1),
      () => kernels.sumRows(b, 2, 2),
      () => kernels.sumColumns(b, 2, 2),
      () => kernels.cumulativeSum(b, 1.5, 2, false, false),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }))
    }
  })

  it('refuses divisors and indices out of range', () => {
    const a = new BigUint64Array(2 * limbs)
    for (const call of [
      () => kernels.divide(a, 0n),
      () => kernels.divide(a, -1n),
      () => kernels.divide(a, 2n ** 63n),
      () => kernels.truncationOf(a, 0n),
      () => kernels.truncationOf(a, 2n ** 62n),
      () => kernels.truncate(a, a, a, 2n ** 62n, true),
      () => kernels.gather(a, Int32Array.of(0, 2)),
      () => kernels.gather(a, Int32Array.of(-2)),
      () => kernels.scatterAdd(a, Int32Array.of(0, 4), 4),
      () => kernels.scatterAdd(a, Int32Array.of(-2, 0), 4),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
    }
  })
})
