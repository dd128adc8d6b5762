/**
 * Smooth functions, on two kinds of tensors: public ones, where divisions go toward zero; and ones that stand for
 * shares, where a division gives the floor or one more. The second kind also counts rounds, and sees to it that nothing
 * is divided that a protocol could not divide.
 */
import { tf } from 'sotto'
import { beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../src/data/random.ts'
import { type AnyEncoded, type Command, EncodedTensor } from '../../src/smpc/encoded-tensor.ts'
import { type Encoding, fixedEncoding, scaleOf } from '../../src/smpc/encoding.ts'
import { FixedPrecisionTensor, fixTensor, integersOf } from '../../src/smpc/fixed-precision.ts'
import * as functions from '../../src/smpc/functions.ts'
import { additive } from '../../src/smpc/protocols/additive.ts'
import type { RingBits } from '../../src/smpc/ring/kernels.ts'
import { numbersOf as numbersIn, type RingTensor, ringOf } from '../../src/smpc/ring/tensor.ts'
import { runClear } from '../../src/smpc/ring-ops.ts'
import { readyForTest } from '../backend.ts'

beforeAll(readyForTest)

const random = new SeededRandom(2024)
const bit = (): bigint => BigInt(random.uint32() & 1)
/** What a ring leaves room for. */
const LIMITS = {
  64: { room: 62, largest: 2 ** 50, precision: 28 },
  128: { room: 126, largest: 2 ** 64, precision: 40 },
} as const
const isWithin = (ring: RingBits, x: bigint): boolean => {
  const limit = 2n ** BigInt(LIMITS[ring].room)
  return -limit < x && x < limit
}

/** What a division adds to the floor: what shares may do, at its extremes and between. */
const carries = { floor: () => 0n, 'one more': () => 1n, 'one more at random': bit }

/** What stands for shares: values in clear, with the errors, limits and rounds of the additive protocol. */
class Rough extends EncodedTensor<Rough> {
  static carry: () => bigint = bit
  /** Whether values that no protocol could divide, or take bits of, are refused; else they give anything. */
  static isStrict = true

  readonly shape: readonly number[]
  readonly encoding: Encoding
  value: RingTensor
  /** How many rounds lie before this value. */
  readonly rounds: number

  constructor(value: RingTensor, encoding: Encoding, rounds = 0) {
    super()
    this.shape = value.shape
    this.encoding = encoding
    this.value = value
    this.rounds = rounds
  }

  protected issue({ op, operands, attrs, divisor, encodings }: Command<Rough>): Rough[] {
    const secrets = operands.filter((operand) => operand instanceof Rough)
    const given = operands.map((operand) => (operand instanceof Rough ? operand.value : operand.tensor))
    const results = op === 'lowBits' ? [this.#bits(given[0]!, attrs)] : runClear(op, given, attrs, null)
    const divided = divisor === null ? results : results.map((result) => this.#divided(result, divisor))
    const shapes = operands.map((operand) => ({
      shape: operand instanceof Rough ? operand.shape : operand.tensor.shape,
      isSecret: operand instanceof Rough,
    }))
    const own = additive.cost({
      ring: this.encoding.ring,
      op,
      operands: shapes,
      attrs,
      divisor: divisor === null ? null : Number(divisor),
    })
    const rounds = Math.max(...secrets.map((secret) => secret.rounds)) + own.rounds
    return divided.map((result, i) => new Rough(result, encodings[i]!, rounds))
  }

  #divided(x: RingTensor, divisor: bigint): RingTensor {
    expect(Number.isSafeInteger(Number(divisor))).toBe(true)
    const quotients = numbersIn(x).map((value) => {
      if (!isWithin(x.ring, value)) return this.#refused()
      const above = ((value % divisor) + divisor) % divisor
      return (value - above) / divisor + Rough.carry()
    })
    return ringOf(x.ring, x.shape, quotients)
  }

  #bits(x: RingTensor, attrs: readonly unknown[]): RingTensor {
    const [{ shape, ...bits }] = runClear('lowBits', [x], attrs, null) as [RingTensor]
    const list = numbersIn({ shape, ...bits })
    const count = attrs[0] as number
    numbersIn(x).forEach((value, i) => {
      if (value < 0n || !isWithin(x.ring, value)) list.fill(this.#refused() & 1n, i * count, (i + 1) * count)
    })
    return ringOf(x.ring, shape, list)
  }

  #refused(): bigint {
    if (Rough.isStrict) throw new RangeError('beyond what can be divided')
    return [1, 2, 3, 4].reduce((sum) => (sum << 32n) | BigInt(random.uint32()), 0n)
  }

  protected joins(_: string, other: AnyEncoded): boolean {
    return other instanceof Rough
  }
  alias(): Rough {
    return new Rough(this.value, this.encoding, this.rounds)
  }
  protected adopt(other: Rough): void {
    this.value = other.value
  }
  dispose(): void {}
  override get isPublic(): boolean {
    return false
  }
}

/** Lets values run over that are not used: whatever becomes of them is multiplied by 0. */
function relaxed(action: () => void): void {
  Rough.isStrict = false
  try {
    action()
  } finally {
    Rough.isStrict = true
  }
}

// Inputs.

type Kind = 'clear' | keyof typeof carries
const kinds = ['clear', 'floor', 'one more', 'one more at random'] as const

const encodings = [
  fixedEncoding('test', {}),
  fixedEncoding('test', { base: 10 }),
  fixedEncoding('test', { precisionFractional: 8 }),
  fixedEncoding('test', { precisionFractional: 24 }),
  fixedEncoding('test', { base: 10, precisionFractional: 6 }),
  fixedEncoding('test', { precisionFractional: 2 }),
  // Its scale is 0.6 · 2^17: far from every power of two.
  fixedEncoding('test', { base: 5, precisionFractional: 7 }),
]
const standard = encodings[0]!
const standard128 = fixedEncoding('test', { ring: 128 })
const others128 = [
  fixedEncoding('test', { ring: 128, precisionFractional: 36 }),
  fixedEncoding('test', { ring: 128, precisionFractional: 16 }),
  fixedEncoding('test', { ring: 128, base: 10, precisionFractional: 9 }),
  fixedEncoding('test', { ring: 128, precisionFractional: 2 }),
]
const show = ({ ring, base, precisionFractional }: Encoding): string =>
  `${ring} bits, base ${base}, ${precisionFractional} digits`
/** Every precision of 64 bits, and the usual one of 128, in every kind of tensor; others as shares are. */
const precisions = [
  ...[...encodings, standard128].flatMap((encoding) => kinds.map((kind) => ({ kind, encoding }))),
  ...others128.map((encoding) => ({ kind: 'one more at random' as const, encoding })),
].map((row) => ({ precision: show(row.encoding), ...row }))
/** What functions state to be relative to the result. */
const relative = ({ ring }: Encoding): number => 2 ** (7 - LIMITS[ring].precision)

/** Numbers in a kind of tensor, as doubles encode them: float32 would not hold those of scale 2^24. */
function tensorOf(kind: Kind, numbers: readonly number[], encoding: Encoding, shape = [numbers.length]): AnyEncoded {
  const scale = scaleOf(encoding)
  const units = numbers.map((x) => BigInt(Math.round(x * scale)))
  const value = ringOf(encoding.ring, shape, units)
  if (kind === 'clear') return new FixedPrecisionTensor(value, encoding)
  Rough.carry = carries[kind]
  return new Rough(value, encoding)
}
function numbersOf(x: AnyEncoded): number[] {
  const value = x instanceof Rough ? x.value : (x as FixedPrecisionTensor).publicValue.tensor
  return numbersIn(value).map((units) => Number(units) / x.scale)
}

const spread = (count: number, draw: () => number): number[] => Array.from({ length: count }, draw)
const sign = (): number => (random.float() < 0.5 ? -1 : 1)
/** Of every magnitude alike. */
const magnitude = (low: number, high: number): number => Math.exp(random.between(Math.log(low), Math.log(high)))
const bothSigns = (numbers: readonly number[]): number[] => [...numbers, ...numbers.map((x) => -x)]

// Errors.

interface Row {
  readonly f: (...operands: AnyEncoded[]) => AnyEncoded
  readonly exact: (...operands: number[]) => number
  /** Operands over the whole domain that the function states, its ends among them. */
  readonly domain: (encoding: Encoding) => number[][]
  /** Error that the function states beside 1.5 units and 2^−21 of the result; of 128 bits 2^−12 of it. */
  readonly more?: number
}

/** Values of one unit, and of 2^50 (2^64), the largest that can be encoded. */
const positive = (encoding: Encoding): number[][] => {
  const scale = scaleOf(encoding)
  const { largest } = LIMITS[encoding.ring]
  const ends = [1 / scale, 2 / scale, 3 / scale, 4 / scale, (largest * (1 - 2 ** -50)) / scale, 1, 2, 4]
  return [
    [...ends, ...spread(100, () => magnitude(1 / scale, largest / scale)), ...spread(50, () => random.between(0.1, 9))],
  ]
}
const bitsOf = (encoding: Encoding): number => Math.ceil(Math.log2(scaleOf(encoding)))
/** Half of the largest value that can be encoded. */
const far = (encoding: Encoding): number => LIMITS[encoding.ring].largest / 2 / scaleOf(encoding)

const table: Record<string, Row> = {
  exp: {
    f: (x) => functions.exp(x),
    exact: Math.exp,
    domain: (encoding) => {
      const scale = scaleOf(encoding)
      const bits = bitsOf(encoding)
      const { room, precision } = LIMITS[encoding.ring]
      const highest = Math.floor((room - 2 - Math.max(precision - 4, bits + 3) - bits) * Math.LN2 * scale) / scale
      const lowest = -(bits + 0.9) * Math.LN2
      return [[0, 1, -1, lowest, highest, ...spread(150, () => random.between(lowest, highest))]]
    },
  },
  reciprocal: {
    f: (x) => functions.reciprocal(x),
    exact: (x) => 1 / x,
    domain: (encoding) => {
      const scale = scaleOf(encoding)
      const least = (encoding.ring === 128 ? 1 : Math.max(1, 2 ** (2 * bitsOf(encoding) - 34))) / scale
      const some = [least, 1, 2, Math.min(4 * scale, far(encoding)), far(encoding)]
      return [
        bothSigns([
          ...some,
          ...spread(75, () => magnitude(least, 4 * scale)),
          ...spread(25, () => random.between(0.1, 9)),
        ]),
      ]
    },
  },
  div: {
    f: (a, b) => functions.div(a, b),
    exact: (a, b) => a / b,
    domain: (encoding) => {
      const scale = scaleOf(encoding)
      const { largest } = LIMITS[encoding.ring]
      const [most, widest] = encoding.ring === 64 ? [2 ** 33 / scale, 2 ** 18] : [2 ** 81 / scale, 2 ** 34]
      const [b, a] = [[] as number[], [] as number[]]
      while (b.length < 150) {
        const divisor = Math.round(sign() * magnitude(1, Math.min(widest * scale, largest))) / scale
        const dividend = Math.round(divisor * sign() * magnitude(1 / scale, most) * scale) / scale
        if (Math.abs(dividend) * scale >= largest || Math.abs(dividend / divisor) >= most) continue
        b.push(divisor)
        a.push(dividend)
      }
      return [
        [...a, 0, 1, 100, 1 / scale],
        [...b, 3, 1 / 2, 100, 1],
      ]
    },
  },
  sqrt: { f: (x) => functions.sqrt(x), exact: Math.sqrt, domain: positive },
  rsqrt: { f: (x) => functions.rsqrt(x), exact: (x) => 1 / Math.sqrt(x), domain: positive },
  log: { f: (x) => functions.log(x), exact: Math.log, domain: positive, more: 2 ** -23 },
  sigmoid: {
    f: (x) => functions.sigmoid(x),
    exact: (x) => 1 / (1 + Math.exp(-x)),
    domain: () => [bothSigns([0, 1, ...spread(150, () => random.between(0, 25))])],
  },
  tanh: {
    f: (x) => functions.tanh(x),
    exact: Math.tanh,
    domain: () => [bothSigns([0, 1, ...spread(150, () => random.between(0, 13))])],
  },
}

describe('what stands for shares', () => {
  it('refuses to divide what a protocol could not, and counts rounds', () => {
    // Its square is 2^62.4 units².
    const large = tensorOf('floor', [37_500, -1], standard)
    expect(() => large.mul(large)).toThrow(RangeError)
    const small = tensorOf('floor', [-0.5, 3], standard)
    const product = small.mul(small).mul(0.3) as Rough
    expect(product.rounds).toBe(3)
    expect(numbersOf(product)[0]).toBeCloseTo(0.075, 4)
  })
})

describe.each(Object.entries(table))('%s', (_, { f, exact, domain, more = 0 }) => {
  it.each(precisions)('stays within its stated error over its domain: $precision, $kind', ({ encoding, kind }) => {
    const scale = scaleOf(encoding)
    const operands = domain(encoding).map((numbers) => tensorOf(kind, numbers, encoding))
    const inputs = operands.map(numbersOf)
    const got = numbersOf(f(...operands))
    const wrong = got.flatMap((value, i) => {
      const at = inputs.map((numbers) => numbers[i]!)
      const wanted = exact(...at)
      // One unit for the last division, a quarter for pieces or for what is cut off, a quarter for all that is rounded
      // before: see the functions. 2^−21 is what 2^−24 and 2^−28 of polynomials grow to, where results are smallest; of 128
      // bits, 2^−33 of 2^−36 and 2^−40.
      const allowed = 1.5 / scale + relative(encoding) * (Math.abs(wanted) + more * 2 ** 21)
      return Math.abs(value - wanted) <= allowed ? [] : [{ at, value, wanted, units: (value - wanted) * scale }]
    })
    expect(wrong).toEqual([])
  })
})

const along = { softmax: functions.softmax, logSoftmax: functions.logSoftmax }

describe.each(['softmax', 'logSoftmax'] as const)('%s', (name) => {
  const exact = (row: readonly number[]): number[] => {
    const largest = Math.max(...row)
    const total = row.reduce((sum, x) => sum + Math.exp(x - largest), 0)
    return row.map((x) => (name === 'softmax' ? Math.exp(x - largest) / total : x - largest - Math.log(total)))
  }
  const check = (kind: Kind, encoding: Encoding, length: number, rows: readonly number[][]): void => {
    const scale = scaleOf(encoding)
    const x = tensorOf(kind, rows.flat(), encoding, [rows.length, length])
    const inputs = numbersOf(x)
    const got = numbersOf(along[name](x, -1))
    rows.forEach((_, i) => {
      const wanted = exact(inputs.slice(i * length, (i + 1) * length))
      wanted.forEach((value, j) => {
        // As above; and what is rounded in each element of the sum. Results of softmax are 1 at most.
        const allowed = 1.5 + (1 + length * 2 ** -6) * relative(encoding) * scale
        expect(Math.abs(got[i * length + j]! - value) * scale).toBeLessThanOrEqual(allowed)
      })
    })
  }
  it.each(precisions)('stays within its stated error: $precision, $kind', ({ encoding, kind }) => {
    for (const length of [1, 2, 4, 5, 17]) {
      check(kind, encoding, length, [spread(length, () => random.between(-4, 4)), spread(length, () => 1000)])
      relaxed(() =>
        check(kind, encoding, length, [
          spread(length, () => random.between(-20, 20)),
          spread(length, () => 500 * random.int(length)),
        ]),
      )
    }
  })

  it('goes along any axis', () => {
    const numbers = spread(24, () => random.between(-4, 4))
    const x = tensorOf('one more at random', numbers, standard, [2, 3, 4])
    const got = along[name](x, 1)
    expect(got.shape).toEqual([2, 3, 4])
    const wanted = tf.tidy(() => {
      const last = tf.transpose(tf.tensor(numbers, [2, 3, 4]), [0, 2, 1])
      return tf.transpose(name === 'softmax' ? tf.softmax(last) : tf.logSoftmax(last), [0, 2, 1]).dataSync()
    })
    numbersOf(got).forEach((value, i) => {
      expect(Math.abs(value - wanted[i]!)).toBeLessThan(3 / 2 ** 16)
    })
    expect(() => along[name](x, 3)).toThrowError(expect.objectContaining({ code: 'ERR_SHAPE' }))
  })
})

describe('pow', () => {
  it.each(kinds)('stays within a unit from each product: %s', (kind) => {
    for (const exponent of [0, 1, 2, 3, 5, 8, 13]) {
      const x = tensorOf(kind, [...spread(50, () => random.between(-2, 2)), 0, 1, -1], standard)
      const inputs = numbersOf(x)
      numbersOf(functions.pow(x, exponent)).forEach((value, i) => {
        const units = Math.max(0, (exponent - 1) * Math.max(1, Math.abs(inputs[i]!)) ** (exponent - 2))
        // An error of a factor, times an error of the other: below a hundredth of the whole.
        expect(Math.abs(value - inputs[i]! ** exponent) * 2 ** 16).toBeLessThanOrEqual(1.01 * units)
      })
    }
  })

  it('refuses exponents that are negative or no whole numbers', () => {
    const x = fixTensor([1, 2])
    for (const exponent of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => x.pow(exponent)).toThrowError(expect.objectContaining({ code: 'ERR_ARGUMENT_VALUE' }))
    }
  })
})

describe('beyond its domain', () => {
  it.each(kinds)('exp is 0 far below, and stays at its largest above: %s', (kind) =>
    relaxed(() => {
      const largest = Math.exp((60 - 24 - 16) * Math.LN2)
      const x = tensorOf(kind, [-11.8, -20, -1000, -(2 ** 33), 13.87, 20, 1000, 2 ** 33], standard)
      const got = numbersOf(functions.exp(x))
      for (const value of got.slice(0, 4)) expect(Math.abs(value)).toBeLessThanOrEqual(1.5 / 2 ** 16)
      for (const value of got.slice(4)) expect(Math.abs(value / largest - 1)).toBeLessThan(2 ** -15)
    }),
  )

  it.each(kinds)('sigmoid and tanh are level however far: %s', (kind) =>
    relaxed(() => {
      for (const encoding of [...encodings, standard128]) {
        const unit = 1 / scaleOf(encoding)
        const numbers = spread(50, () => magnitude(30, far(encoding)))
        const x = tensorOf(kind, bothSigns(numbers), encoding)
        for (const [f, low] of [
          [functions.sigmoid, 0],
          [functions.tanh, -1],
        ] as const) {
          numbersOf(f(x)).forEach((value, i) => {
            expect(Math.abs(Math.round((value - (i < 50 ? 1 : low)) / unit))).toBeLessThanOrEqual(1)
          })
        }
      }
    }),
  )

  it.each(kinds)('1 / 0, a / 0, √ and 1/√ of what is not positive are 0: %s', (kind) => {
    for (const encoding of [standard, standard128]) {
      const unit = 1 / scaleOf(encoding)
      const x = tensorOf(kind, [0, -unit, -1, -1e6], encoding)
      const zero = tensorOf(kind, [0, 0, 0, 0], encoding)
      const units = (result: AnyEncoded): number =>
        Math.max(...numbersOf(result).map((value) => Math.abs(value) / unit))
      expect(units(functions.sqrt(x))).toBeLessThanOrEqual(1)
      expect(units(functions.rsqrt(x))).toBeLessThanOrEqual(1)
      expect(units(functions.reciprocal(zero))).toBeLessThanOrEqual(1)
      // 2^33; of 128 bits 2^31, whose inverse is 2 units.
      const least = functions.reciprocal(tensorOf(kind, [far(encoding)], encoding))
      expect(units(least)).toBeLessThanOrEqual(encoding === standard ? 1 : 3)
      // The 1 that the first division leaves, times 8 (what the polynomial is at 0), is a unit of the second.
      expect(units(functions.div(x, zero))).toBeLessThanOrEqual(encoding === standard ? 2 : 1)
    }
  })

  it.each(kinds)('log of what is not positive is that of one unit: %s', (kind) => {
    for (const value of numbersOf(functions.log(tensorOf(kind, [0, -1, -1e6], standard)))) {
      expect(Math.abs(value + 16 * Math.LN2)).toBeLessThanOrEqual(1.5 / 2 ** 16)
    }
  })
})

describe('rounds', () => {
  const of = (f: (x: AnyEncoded) => AnyEncoded, shape: number[], encoding = standard): number => {
    const size = shape.reduce((a, b) => a * b)
    return (
      f(
        tensorOf(
          'floor',
          spread(size, () => 1.5),
          encoding,
          shape,
        ),
      ) as Rough
    ).rounds
  }
  it('are those that are stated', () => {
    const counted = Object.fromEntries(Object.entries(table).map(([name, { f }]) => [name, of((x) => f(x, x), [4])]))
    expect(counted).toEqual({
      exp: 10,
      reciprocal: 19,
      div: 19,
      sqrt: 19,
      rsqrt: 19,
      log: 17,
      sigmoid: 10,
      tanh: 10,
    })
    expect([1, 2, 3, 4, 5, 8].map((n) => of((x) => functions.pow(x, n), [2]))).toEqual([0, 2, 4, 4, 6, 6])
    // The largest of 4 takes 9 rounds, of 10 it takes 11.
    expect(of((x) => functions.softmax(x, -1), [2, 4])).toBe(9 + 21)
    expect(of((x) => functions.softmax(x, -1), [2, 10])).toBe(11 + 29)
    expect(of((x) => functions.logSoftmax(x, -1), [2, 4])).toBe(9 + 19)
    expect(of((x) => functions.logSoftmax(x, -1), [2, 10])).toBe(11 + 27)
  })

  it('are those that are stated, of 128 bits', () => {
    const in128 = (f: (x: AnyEncoded) => AnyEncoded, shape: number[]) => of(f, shape, standard128)
    const counted = Object.entries(table).map(([name, { f }]) => [name, in128((x) => f(x, x), [4])])
    expect(Object.fromEntries(counted)).toEqual({
      exp: 13,
      reciprocal: 22,
      div: 22,
      sqrt: 22,
      rsqrt: 22,
      log: 20,
      sigmoid: 33,
      tanh: 33,
    })
    expect(in128((x) => functions.softmax(x, -1), [2, 4])).toBe(10 + 26)
    expect(in128((x) => functions.softmax(x, -1), [2, 10])).toBe(12 + 35)
    expect(in128((x) => functions.logSoftmax(x, -1), [2, 4])).toBe(10 + 24)
    expect(in128((x) => functions.logSoftmax(x, -1), [2, 10])).toBe(12 + 33)
  })
})

describe('gradients', () => {
  type Unary = readonly [(x: AnyEncoded) => AnyEncoded, (x: tf.Tensor) => tf.Tensor, low: number, high: number]
  const unary: Record<string, Unary> = {
    exp: [(x) => x.exp(), (x) => tf.exp(x), -3, 1],
    reciprocal: [(x) => x.reciprocal(), (x) => tf.reciprocal(x), 0.5, 4],
    'reciprocal below 0': [(x) => x.reciprocal(), (x) => tf.reciprocal(x), -4, -0.5],
    sqrt: [(x) => x.sqrt(), (x) => tf.sqrt(x), 0.25, 9],
    rsqrt: [(x) => x.rsqrt(), (x) => tf.rsqrt(x), 0.4, 9],
    log: [(x) => x.log(), (x) => tf.log(x), 0.25, 9],
    sigmoid: [(x) => x.sigmoid(), (x) => tf.sigmoid(x), -6, 6],
    tanh: [(x) => x.tanh(), (x) => tf.tanh(x), -4, 4],
    softmax: [(x) => x.softmax(), (x) => tf.softmax(x), -3, 3],
    logSoftmax: [(x) => x.logSoftmax(), (x) => tf.logSoftmax(x), -3, 3],
    'pow 0': [(x) => x.pow(0), (x) => tf.onesLike(x).mul(1).add(x.mul(0)), -1, 1],
    'pow 1': [(x) => x.pow(1), (x) => x.mul(1), -1, 1],
    'pow 3': [(x) => x.pow(3), (x) => tf.pow(x, 3), 0.1, 1.2],
  }
  // Rules are chains of up to four products of factors up to 4 (r² and g·r of 1/√x, at 0.4): each leaves a unit, and a
  // function up to 1.75; the first of them are multiplied by what follows. Sums over a row of 5 add five of them.
  const TOLERANCE = 32 / 2 ** 16

  it.each(
    Object.entries(unary).flatMap(([name, row]) =>
      (['clear', 'one more at random'] as const).map((kind) => ({ name, kind, row })),
    ),
  )('of $name are those of tfjs: $kind', ({ row: [f, wanted, low, high], kind }) => {
    const numbers = spread(20, () => random.between(low, high))
    const weights = spread(20, () => random.between(-2, 2))
    const x = tensorOf(kind, numbers, standard, [4, 5]).requireGrad()
    f(x).backward(tensorOf(kind, weights, standard, [4, 5]))
    const exact = tf.tidy(() =>
      tf
        .grad(wanted)(tf.tensor(numbers, [4, 5]), tf.tensor(weights, [4, 5]))
        .dataSync(),
    )
    const got = numbersOf(x.grad!)
    expect(x.grad!.shape).toEqual([4, 5])
    got.forEach((value, i) => {
      expect(Math.abs(value - exact[i]!)).toBeLessThan(TOLERANCE)
    })
  })

  it.each([
    [[2, 3], [3]],
    [[3], [2, 3]],
    [
      [2, 1],
      [1, 3],
    ],
    [[2, 3], []],
    [
      [2, 3],
      [2, 3],
    ],
  ])('of a quotient %j / %j come in the shapes of the operands', (first, second) => {
    const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
    for (const kind of ['clear', 'one more at random'] as const) {
      const [a, b] = [first, second].map((shape) => spread(size(shape), () => sign() * random.between(0.5, 3)))
      const x = tensorOf(kind, a!, standard, first).requireGrad()
      const y = tensorOf(kind, b!, standard, second).requireGrad()
      const quotient = functions.div(x, y)
      const weights = spread(quotient.size, () => random.between(-2, 2))
      quotient.backward(tensorOf(kind, weights, standard, [...quotient.shape]))
      const exact = tf.tidy(() => {
        const dy = tf.tensor(weights, [...quotient.shape])
        const gradients = tf.grads((u, v) => tf.div(u!, v!))([tf.tensor(a!, first), tf.tensor(b!, second)], dy)
        return gradients.map((gradient) => gradient.dataSync())
      })
      for (const [leaf, wanted] of [[x, exact[0]!] as const, [y, exact[1]!] as const]) {
        numbersOf(leaf.grad!).forEach((value, i) => {
          expect(Math.abs(value - wanted[i]!)).toBeLessThan(TOLERANCE)
        })
      }
      expect(x.grad!.shape).toEqual(first)
      expect(y.grad!.shape).toEqual(second)
    }
  })

  it('reach an operand alone, and pass through two functions', () => {
    const x = tensorOf('one more at random', [1.5, 2], standard).requireGrad()
    const y = tensorOf('one more at random', [0.5, -2], standard)
    x.div(y).sigmoid().sum().backward()
    const exact = tf.tidy(() =>
      tf
        .grad((u) => tf.sum(tf.sigmoid(tf.div(u, [0.5, -2]))))(tf.tensor([1.5, 2]))
        .dataSync(),
    )
    numbersOf(x.grad!).forEach((value, i) => {
      expect(Math.abs(value - exact[i]!)).toBeLessThan(TOLERANCE)
    })
    expect(y.requiresGrad).toBe(false)
  })
})

describe('every function', () => {
  const all: Record<string, (x: AnyEncoded) => AnyEncoded> = {
    ...Object.fromEntries(Object.entries(table).map(([name, { f }]) => [name, (x) => f(x, x)])),
    pow: (x) => functions.pow(x, 3),
    softmax: (x) => functions.softmax(x, -1),
    logSoftmax: (x) => functions.logSoftmax(x, -1),
  }

  it.each(Object.entries(all))('%s refuses integers and truths, and says what to do', (_, f) => {
    const integers = integersOf('test', tf.tensor([1, 2], [2], 'int32'), 64)
    for (const x of [integers, integers.less(2)]) {
      expect(() => f(x)).toThrowError(
        expect.objectContaining({ code: 'ERR_PRECISION', message: expect.stringContaining('fixPrecision()') }),
      )
    }
  })

  it.each([{ precisionFractional: 25 }, { ring: 128, precisionFractional: 37 }] as const)(
    'refuses scales above 2^24, of 128 bits 2^36: %j',
    (precision) => {
      const x = fixTensor([0.5], precision)
      for (const [name, f] of Object.entries(all)) {
        if (name === 'pow') continue
        expect(() => f(x), name).toThrowError(expect.objectContaining({ code: 'ERR_PRECISION' }))
      }
    },
  )

  it('keeps shapes and encodings, of scalars and of nothing too', () => {
    for (const [name, f] of Object.entries(all)) {
      for (const shape of [[2, 1, 3], [0, 2], ...(name.endsWith('oftmax') ? [] : [[]])]) {
        const size = shape.reduce((a, b) => a * b, 1)
        const x = tensorOf(
          'floor',
          spread(size, () => 1.25),
          encodings[1]!,
          shape,
        )
        const result = f(x)
        expect([name, result.shape]).toEqual([name, shape])
        expect(result.encoding).toEqual(x.encoding)
      }
    }
  })

  it('leaves its operand as it was', () => {
    for (const f of Object.values(all)) {
      const x = tensorOf('clear', [1.5, 2], standard)
      f(x)
      expect(numbersOf(x)).toEqual([1.5, 2])
    }
  })
})

describe('a quotient', () => {
  it('refuses operands of two encodings, and of two places', () => {
    const x = tensorOf('floor', [1], standard)
    expect(() => functions.div(x, tensorOf('floor', [1], encodings[1]!))).toThrowError(
      expect.objectContaining({ code: 'ERR_PRECISION' }),
    )
    expect(() => functions.div(fixTensor([1]), x as never)).toThrowError(
      expect.objectContaining({ code: 'ERR_LOCAL_OPERAND' }),
    )
  })

  it('keeps its digits where the divisor is large', () => {
    const a = tensorOf('one more at random', [100_000, 123_456, -50_000], standard)
    const b = tensorOf('one more at random', [99_999, -200_000, 7], standard)
    const exact = [100_000 / 99_999, -123_456 / 200_000, -50_000 / 7]
    numbersOf(functions.div(a, b)).forEach((value, i) => {
      expect(Math.abs(value / exact[i]! - 1)).toBeLessThan(2 ** -14)
    })
  })
})
