/**
 * One row per method of an encoded tensor: calls to make, what plain tfjs gives for them, and how far the two may be
 * apart, in units of the fixed point (one unit is 1 / scale).
 *
 * Calls and plain twins are those of the op table (`../tensor/op-samples.ts`), where a method is an op of that name. The
 * errors are worked out here from what the methods say of themselves, by the few rules of `Bounds`: each row's `error`
 * is its method written in those rules, and its `gradient` the rule of its gradient. A method without a row does not
 * compile, and fails a test.
 */
import fc from 'fast-check'
import { type SharedTensor, tf } from 'sotto'
import {
  type Call,
  type OperandSample,
  type OpSample,
  samples,
  sizeOf,
  type TensorSample,
} from '../tensor/op-samples.ts'

type Shape = readonly number[]

/** What is known of a tensor: how large it is, and how far from what plain tfjs has in its place. */
export interface Quantity {
  /** No element is larger in magnitude. */
  readonly size: number
  /** No element is smaller in magnitude. */
  readonly least: number
  /** In units. */
  readonly error: number
  /** Whether it is of fixed precision: the product of two such is divided by the scale. */
  readonly isFixed: boolean
  /** Multiples of 1/4, so that neither an encoding nor a sum in float32 rounds them. */
  readonly isExact: boolean
}

/** How errors come about, and what becomes of them. */
export class Bounds {
  readonly scale: number
  readonly isSecret: boolean
  /** Bits that public fractions are rounded to as factors, and what smooth functions are off by of their results. */
  readonly #factorBits: number
  readonly #relative: number

  constructor(scale: number, isSecret: boolean, ring: 64 | 128 = 64) {
    this.scale = scale
    this.isSecret = isSecret
    const [factorBits, relative] = ring === 64 ? [17, 2 ** -22] : [40, 2 ** -34]
    this.#factorBits = factorBits
    this.#relative = relative
  }

  /** tfjs rounds what it computes to 24 bits. */
  #rounded(size: number): number {
    return 2 ** -24 * size * this.scale
  }

  /**
   * A division in clear goes toward zero, and is off by less than a unit. Of shares it gives the floor or one more by a
   * power of two; by others from one less than the floor to two more, which is off by less than two.
   */
  #division(divisor: number): number {
    return this.isSecret && !Number.isInteger(Math.log2(divisor)) ? 2 : 1
  }

  /** Encoding rounds to the nearest, half a unit at most; integers and truths stand for themselves. */
  given(operand: OperandSample, isExact = false): Quantity {
    if (typeof operand !== 'object') return this.number(Number(operand))
    const { dtype, values } = operand ?? { dtype: 'bool', values: [] }
    const sizes = Array.from(values, Math.abs)
    const isFixed = dtype === 'float32'
    const [size, least] = [Math.max(0, ...sizes), sizes.length === 0 ? 0 : Math.min(...sizes)]
    return { size, least, error: isFixed && !isExact ? 0.5 : 0, isFixed, isExact: isExact || !isFixed }
  }
  /** Whole numbers stand for themselves; fractions are encoded, or as factors rounded to 17 bits (of 128 bits 40). */
  number(value: number): Quantity {
    const size = Math.abs(value)
    const isFixed = !Number.isInteger(value)
    const error = isFixed ? Math.max(0.5, 2 ** (-1 - this.#factorBits) * size * this.scale) : 0
    return { size, least: size, error, isFixed, isExact: !isFixed }
  }
  /** Where results are 0 or 1, or an index. */
  whole(size: number): Quantity {
    return { size, least: 0, error: 0, isFixed: false, isExact: true }
  }

  plus(x: Quantity, y: Quantity): Quantity {
    const [size, isExact] = [x.size + y.size, x.isExact && y.isExact]
    const error = x.error + y.error + (isExact ? 0 : this.#rounded(size))
    return { size, least: 0, error, isFixed: x.isFixed || y.isFixed, isExact }
  }
  /** n of them. */
  sum(x: Quantity, n: number): Quantity {
    if (n === 1) return x
    const size = n * x.size
    return { ...x, size, least: 0, error: n * (x.error + (x.isExact ? 0 : this.#rounded(size))) }
  }
  /**
   * The sum of n products: (a + δ)(b + ε) − ab = aε + bδ + δε for each; one division for the sum, if both are of fixed
   * precision.
   */
  products(x: Quantity, y: Quantity, n = 1): Quantity {
    const each = x.size * y.error + y.size * x.error + (x.error * y.error) / this.scale
    const size = n * x.size * y.size
    const divided = x.isFixed && y.isFixed ? this.#division(this.scale) : 0
    // A product in tfjs rounds once, and so does each sum.
    const error = n * (each + 2 * this.#rounded(size)) + divided
    return { size, least: 0, error, isFixed: x.isFixed || y.isFixed, isExact: false }
  }
  /** By a public whole number. */
  over(x: Quantity, n: number): Quantity {
    if (n <= 1) return x
    const size = x.size / n
    return { ...x, size, least: 0, error: x.error / n + this.#division(n) + this.#rounded(size), isExact: false }
  }
  /** By public fractions, encoded or not: a product with their inverses, which float32 rounds before they are encoded. */
  timesInverse(x: Quantity, y: Quantity): Quantity {
    const size = 1 / this.low(y)
    const error = y.error * size ** 2 + 0.5 + this.#rounded(size)
    return this.products(x, { size, least: 0, error, isFixed: true, isExact: false })
  }
  /** What is chosen among these. */
  either(...list: readonly Quantity[]): Quantity {
    const most = (of: (x: Quantity) => number) => Math.max(...list.map(of))
    return {
      size: most((x) => x.size),
      least: 0,
      error: most((x) => x.error),
      isFixed: list.some((x) => x.isFixed),
      isExact: list.every((x) => x.isExact),
    }
  }
  /**
   * A smooth function as in `functions.ts`: 1.5 units and 2^−22 (of 128 bits 2^−34) of the result. An error of the argument grows with the
   * slope. tfjs's own functions are good to eight roundings.
   */
  through(x: Quantity, size: number, slope: number, least = 0): Quantity {
    const error = slope * x.error + 1.5 + this.#relative * size * this.scale + 8 * this.#rounded(size)
    return { size, least, error, isFixed: true, isExact: false }
  }
  /** The least that an argument can be, after it was encoded. */
  low(x: Quantity): number {
    return x.least - x.error / this.scale
  }
}

/** What an error depends on, beside the operands. */
export interface Case {
  readonly operands: readonly Quantity[]
  readonly shapes: readonly Shape[]
  readonly args: readonly unknown[]
  /** Shape of the (first) result. */
  readonly result: Shape
}

export type Origin = 'own' | 'any' | 'public'

export interface Operation {
  /** Calls of the row's samples; of those, what the method takes. */
  readonly calls: fc.Arbitrary<Call>
  /** Of the same operands, in tfjs. */
  readonly plain: OpSample['tfjs']
  /** How large the result is, and how far from the plain one; of several results, each. */
  readonly error: (b: Bounds, c: Case) => Quantity
  /** Calls away from every kink and pole; null for what has no gradient. */
  readonly smooth: fc.Arbitrary<Call> | null
  /** The same as `plain`, of ops whose gradients tfjs has, and has right. */
  readonly plainToDiffer: OpSample['tfjs']
  /** From the gradient of the results those of the operands. */
  readonly gradient: (b: Bounds, g: Quantity, c: Case) => readonly Quantity[]
  /** Where operands come from but the first: of the same kind unless said; or public too, or public only. */
  readonly others: readonly Origin[]
  /** How the method is called, unless as first.method(...others, ...args). */
  readonly invoke: ((operands: readonly unknown[], args: readonly unknown[]) => unknown) | null
  /** Values are rounded to multiples of 1/4: the result jumps where they meet. */
  readonly isOnGrid: boolean
  /** Whether of truths it gives truths, where plain tfjs counts. */
  readonly keepsTruths: boolean
}

type Row = Pick<Operation, 'calls' | 'plain' | 'error'> & Partial<Operation>

const row = ({ calls, plain, error, ...rest }: Row): Operation => ({
  calls,
  plain,
  error,
  smooth: null,
  plainToDiffer: plain,
  gradient: () => [],
  others: [],
  invoke: null,
  isOnGrid: false,
  keepsTruths: false,
  ...rest,
})

interface Settings extends Partial<Omit<Operation, 'calls' | 'plain' | 'error' | 'smooth'>> {
  /** Calls that the method takes, of those of the op. */
  readonly takes?: (call: Call) => boolean
  /** Of those, the ones that tfjs has a gradient for. */
  readonly differs?: (call: Call) => boolean
}

/** The row of an op of the op table. */
function like(
  name: keyof typeof samples,
  error: Operation['error'],
  { takes = () => true, differs = () => true, ...settings }: Settings = {},
): Operation {
  const { calls, tfjs, smooth } = samples[name] as OpSample
  return row({
    calls: calls.filter((call) => takes(call) && isMeant(call)),
    plain: tfjs,
    error,
    smooth: settings.gradient ? (smooth?.filter((call) => takes(call) && differs(call)) ?? null) : null,
    ...settings,
  })
}

// What calls have in common.

export const isTensor = (operand: OperandSample): operand is TensorSample =>
  typeof operand === 'object' && operand !== null
/** Of fixed precision, or a fraction. */
export const isFloat = (operand: OperandSample): boolean =>
  isTensor(operand) ? operand.dtype === 'float32' : typeof operand === 'number' && !Number.isInteger(operand)

/** A number that is a fraction meets no integers. */
const isMeant = ({ operands: [x, ...others] }: Call): boolean =>
  isFloat(x!) || others.every((other) => isTensor(other) || !isFloat(other))

const size = (shape: Shape): number => sizeOf(shape)
/** How many elements of one shape meet in one of another. */
const per = (many: Shape, few: Shape): number => (size(few) === 0 ? 0 : size(many) / size(few))

const first: Operation['error'] = (_, { operands: [x] }) => x!
const widest: Operation['error'] = (b, { operands }) => b.either(...operands)
const truth: Operation['error'] = (b) => b.whole(1)
const place: Operation['error'] = (b, { shapes: [x] }) => b.whole(size(x!))

/** Calls of floats, and the same of integers, where the samples of an op are floats alone. */
function ofIntegersToo(operation: Operation, suits: (call: Call) => boolean = () => true): Operation {
  const whole = (x: OperandSample): OperandSample =>
    isTensor(x) ? { ...x, dtype: 'int32', values: Int32Array.from(x.values, (value) => Math.round(4 * value)) } : x
  const integers = operation.calls.filter(suits).map(({ operands, args }) => ({ operands: operands.map(whole), args }))
  return {
    ...operation,
    calls: fc.oneof({ weight: 3, arbitrary: operation.calls }, { weight: 1, arbitrary: integers }),
    plain: (operands, ...args) =>
      operation.plain(
        operands.map((x) => tf.cast(x, 'float32')),
        ...args,
      ),
  }
}

/** A gradient that comes back as it went, added up where an element was used more than once. */
const passed: Operation['gradient'] = (b, g, { operands, shapes, result }) =>
  operands.map((_, i) => b.sum(g, Math.max(1, per(result, shapes[i]!))))
/** As {@link passed}, where only the first operand has a gradient. */
const passedToFirst: Operation['gradient'] = (b, g, c) => passed(b, g, c).slice(0, 1)

const isFixedCall = ({ operands }: Call): boolean => isFloat(operands[0]!)
const wholeArgs = ({ operands, args }: Call): boolean => isFloat(operands[0]!) || args.every((x) => Number.isInteger(x))

/** A move: elements stay what they are. */
const move = (name: keyof typeof samples, settings: Settings = {}): Operation =>
  like(name, first, { gradient: passed, ...settings })
const listed = (name: 'concat' | 'stack'): Operation =>
  like(name, widest, {
    gradient: (_, g, { operands }) => operands.map(() => g),
    invoke: ([x, ...others], args) => methodOf(x, name)(others, ...args),
  })
const comparison = (name: keyof typeof samples): Operation => like(name, truth, { others: ['any'], isOnGrid: true })
const bilinear = (
  name: keyof typeof samples,
  error: Operation['error'],
  gradient: Operation['gradient'],
  settings: Settings = {},
): Operation => like(name, error, { others: ['any'], gradient, ...settings })

export const methodOf = (target: unknown, name: string): ((...args: readonly unknown[]) => unknown) =>
  (target as Record<string, (...args: readonly unknown[]) => unknown>)[name]!.bind(target)

const inner = (c: Case): number => c.shapes[0]!.at(c.args[0] === true ? -2 : -1)!
const batches = (shape: Shape): number => size(shape.slice(0, -2))

const product: Operation['error'] = (b, { operands: [x, y] }) => b.products(x!, y!)
const productGradient: Operation['gradient'] = (b, g, { operands: [x, y], shapes, result }) =>
  [y!, x!].map((other, i) => b.sum(b.products(g, other), Math.max(1, per(result, shapes[i]!))))

const averaged = (b: Bounds, x: Quantity, n: number): Quantity => b.over(b.sum(x, n), n)
/** x − mean: of both, and twice as large. */
const deviation = (b: Bounds, x: Quantity, n: number): Quantity => b.plus(x, averaged(b, x, n))

/** Of shares, values of one sum are pooled by one division; where windows hang over the edge, by a factor each. */
const pooled = (b: Bounds, x: Quantity, taps: number): Quantity =>
  x.isFixed
    ? b.either(averaged(b, x, taps), b.timesInverse(b.sum(x, taps), { ...b.whole(taps), least: 1 }))
    : averaged(b, x, taps)
const tapsOf = ({ args: [filter] }: Case): number =>
  Array.isArray(filter) ? (filter[0] as number) * (filter[1] as number) : (filter as number) ** 2

const lengthOf = ({ shapes: [x], args: [axis = -1] }: Case): number => x!.at(axis as number)!

/** A function of one operand. */
const smoothly = (
  name: keyof typeof samples,
  error: (b: Bounds, x: Quantity, c: Case) => Quantity,
  gradient: (b: Bounds, g: Quantity, y: Quantity, x: Quantity, c: Case) => Quantity,
): Operation =>
  like(name, (b, c) => error(b, c.operands[0]!, c), {
    takes: isFixedCall,
    gradient: (b, g, c) => [gradient(b, g, error(b, c.operands[0]!, c), c.operands[0]!, c)],
  })
const rootInverse = (b: Bounds, x: Quantity): Quantity => b.through(x, b.low(x) ** -0.5, b.low(x) ** -1.5 / 2)

/**
 * x^n: "below n · max(1, |x|)^(n − 1) units" of rounding, each division being one unit of a power of two and two of
 * other scales; and n · |x|^(n − 1) times the error of x.
 */
function power(b: Bounds, x: Quantity, n: number): Quantity {
  if (n === 0) return { ...b.whole(1), isFixed: true }
  const slope = n * Math.max(1, x.size + x.error / b.scale) ** (n - 1)
  // The square as an upper bound of one division, and of tfjs's rounding.
  const one = b.products({ ...x, error: 0 }, { ...x, error: 0 }).error
  const size = x.size ** n
  const rounding = n === 1 ? 0 : slope * one + 8 * 2 ** -24 * size * b.scale
  return { ...x, size, least: 0, error: slope * x.error + rounding, isExact: false }
}
const powers = (calls: fc.Arbitrary<Call>): fc.Arbitrary<Call> =>
  fc
    .tuple(calls, fc.constantFrom(0, 1, 2, 3, 4, 5))
    .map(([{ operands }, exponent]) => ({ operands: operands.slice(0, 1), args: [exponent] }))

/** Of a secret, remainders are by public numbers: of integers, by integers. */
const remainders = (calls: fc.Arbitrary<Call>): fc.Arbitrary<Call> =>
  fc.tuple(calls, fc.constantFrom(1, 3, 0.75, 2.5)).map(([{ operands }, divisor]) => {
    const [x] = operands
    return { operands: [x!, isFloat(x!) ? divisor : Math.ceil(divisor)], args: [] }
  })

/** a / b: by a public whole number a division; by public fractions a product with inverses; by a secret 1.5 units. */
function quotient(b: Bounds, x: Quantity, y: Quantity): Quantity {
  if (!y.isFixed) return b.over(x, y.size)
  const low = b.low(y)
  const error = x.error / low + (y.error * x.size) / low ** 2
  return b.either(b.timesInverse(x, y), b.through({ ...x, error }, x.size / low, 1))
}
/** Along the axis of a call, one way and the other. */
const sortings = (calls: fc.Arbitrary<Call>): fc.Arbitrary<Call> =>
  fc.tuple(calls, fc.boolean()).map(
    ([
      {
        operands,
        args: [axis = -1],
      },
      descending,
    ]) => ({
      operands,
      args: [axis, descending],
    }),
  )
const sortedAlong: OpSample['tfjs'] = ([x], axis, descending) => {
  const at = ((axis as number) + x!.rank) % x!.rank
  const parts = tf.unstack(tf.cast(x!, 'float32'), at).map((part) => part.flatten())
  // tf.topk sorts along the last axis, largest first.
  const rows = tf.transpose(tf.stack(parts))
  const { values } = tf.topk(rows, parts.length, true)
  const sorted = descending ? values : tf.reverse(values, 1)
  const back = tf.unstack(tf.transpose(sorted)).map((part) => part.reshape(x!.shape.filter((_, i) => i !== at)))
  return tf.stack(back, at)
}

/** Of integers: by whole numbers only. */
const divides = ({ operands: [x, y] }: Call): boolean =>
  isFloat(x!) ? isFloat(y!) || !isTensor(y!) : typeof y === 'number' && Number.isInteger(y)

/** batchNorm: what it is composed of, in order. */
function normalised(b: Bounds, { operands: [x, mean, variance, offset, scale] }: Case) {
  const centred = b.plus(x!, mean!)
  const spread = rootInverse(b, { ...b.plus(variance!, b.number(0.001)), least: variance!.least })
  const scaled = b.products(centred, spread)
  const whole = scale ? b.products(scaled, scale) : scaled
  return { centred, spread, scaled, result: offset ? b.plus(whole, offset) : whole }
}

// Ops of tfjs whose gradients are not there, or not right, composed of others.

/** Of one shape: tfjs's gradients of maximum and minimum do not add up what was repeated. */
function alike([x, y]: readonly tf.Tensor[]): [tf.Tensor, tf.Tensor] {
  const shape = tf.broadcast_util.assertAndGetBroadcastShape(x!.shape, y!.shape)
  return [tf.add(x!, tf.zeros(shape)), tf.add(y!, tf.zeros(shape))]
}

/** The part of an axis that begins somewhere. tf.split and tf.unstack have no gradient where there is one part. */
function partOf(x: tf.Tensor, at: number, from: number, length: number): tf.Tensor {
  const begin = x.shape.map((_, i) => (i === at ? from : 0))
  return tf.slice(
    x,
    begin,
    x.shape.map((d, i) => (i === at ? length : d)),
  )
}
const fromFront = (axis: unknown, { rank }: tf.Tensor): number => (((axis ?? 0) as number) + rank) % rank

const unstacked: OpSample['tfjs'] = ([x], axis) => {
  const at = fromFront(axis, x!)
  return Array.from({ length: x!.shape[at]! }, (_, i) => tf.squeeze(partOf(x!, at, i, 1), [at]))
}
const splitInto: OpSample['tfjs'] = ([x], parts, axis) => {
  const at = fromFront(axis, x!)
  let from = 0
  return (samples.split.tfjs([x!], parts as number, axis as number) as tf.Tensor[]).map(({ shape }) => {
    from += shape[at]!
    return partOf(x!, at, from - shape[at]!, shape[at]!)
  })
}

/** Running sums: the gradient of tf.cumsum has its axes in another order, unless the axis is the last. */
const summedAlong: OpSample['tfjs'] = ([x], axis, exclusive = false, reverse = false) => {
  const at = fromFront(axis, x!)
  const length = x!.shape[at]!
  const sums = Array.from({ length }, (_, i) => {
    const own = exclusive ? 0 : 1
    const part = reverse ? partOf(x!, at, i + 1 - own, length - i - 1 + own) : partOf(x!, at, 0, i + own)
    return tf.sum(part, at, true)
  })
  return tf.concat(sums, at)
}

/** The gradient of tf.avgPool divides by the pixels of a window, though some of them hang over the edge. */
const averageOf: OpSample['tfjs'] = ([x], filterSize, strides = filterSize, pad = 'valid') => {
  const [height, width] = [filterSize].flat().length === 1 ? [filterSize, filterSize] : (filterSize as number[])
  const p = pad as number
  const around =
    typeof pad === 'number'
      ? ([
          [0, 0],
          [p, p],
          [p, p],
          [0, 0],
        ] as tf.backend_util.ExplicitPadding)
      : pad
  const sums = (t: tf.Tensor): tf.Tensor =>
    tf.depthwiseConv2d(
      t as tf.Tensor4D,
      tf.ones([height as number, width as number, x!.shape[3]!, 1]),
      strides as number,
      around as 'valid',
    )
  return tf.div(sums(x!), sums(tf.onesLike(x!)))
}

/** tf.batchNorm has no gradient without an offset and a scale. */
const normalise: OpSample['tfjs'] = ([x, mean, variance, offset, scale], epsilon = 0.001) => {
  const spread = tf.rsqrt(tf.add(variance!, epsilon as number))
  const scaled = tf.mul(tf.mul(tf.sub(x!, mean!), spread), scale ?? 1)
  return tf.add(scaled, offset ?? 0)
}

/** Members that no row is for, and the part of the suite that checks them instead. */
export const elsewhere = {
  shape: 'every row',
  encoding: 'every row',
  dtype: 'every row',
  rank: 'what a tensor says of itself',
  size: 'what a tensor says of itself',
  scale: 'what a tensor says of itself',
  toString: 'what a tensor says of itself',
  publicValue: 'what a tensor says of itself',
  isPublic: 'what a tensor says of itself',
  parties: 'what a tensor says of itself',
  provider: 'what a tensor says of itself',
  location: 'what a tensor says of itself',
  id: 'what a tensor says of itself',
  isDisposed: 'handles',
  alias: 'handles',
  dispose: 'handles',
  assign: 'handles',
  requiresGrad: 'a graph',
  requireGrad: 'a graph',
  grad: 'a graph',
  zeroGrad: 'a graph',
  detach: 'a graph',
  backward: 'a graph',
  share: 'every row',
  get: 'a value',
  fetch: 'a value',
  floatPrecision: 'a value',
  dataSync: 'a value',
  arraySync: 'a value',
  reveal: 'a value',
  revealTo: 'a value',
  cost: 'what a secret costs',
  traffic: 'what a secret costs',
} as const

/** Members for the library itself. */
export const internal = [
  'constructor',
  'issue',
  'joins',
  'adopt',
  'totalWith',
  'run',
  'operand',
  'recorded',
  'composed',
  'productWith',
  'raised',
  'factor',
  'dividedBy',
  'moved',
  'negativeAnd',
  'group',
  'surrender',
  'use',
] as const

export type Method = Exclude<keyof SharedTensor & string, keyof typeof elsewhere | (typeof internal)[number]>

export const operations = {
  // Arithmetic.
  add: bilinear('add', (b, { operands: [x, y] }) => b.plus(x!, y!), passed),
  sub: bilinear('sub', (b, { operands: [x, y] }) => b.plus(x!, y!), passed),
  neg: like('neg', first, { gradient: passed }),
  mul: bilinear('mul', product, productGradient, { keepsTruths: true }),
  outer: bilinear('outer', product, productGradient, { keepsTruths: true }),
  square: like('square', (b, { operands: [x] }) => b.products(x!, x!), {
    keepsTruths: true,
    gradient: (b, g, { operands: [x] }) => [b.products(b.products(g, x!), b.number(2))],
  }),
  matMul: bilinear(
    'matMul',
    (b, c) => b.products(c.operands[0]!, c.operands[1]!, inner(c)),
    // A product of matrices, and the sum over the batches that an operand was repeated for.
    (b, g, { operands: [x, y], shapes: [s, t], result }) => [
      b.sum(b.products(g, y!, result.at(-1)!), batches(result) / batches(s!)),
      b.sum(b.products(g, x!, result.at(-2)!), batches(result) / batches(t!)),
    ],
  ),
  dot: bilinear(
    'dot',
    (b, c) => b.products(c.operands[0]!, c.operands[1]!, c.shapes[1]![0]!),
    (b, g, { operands, shapes, result }) =>
      [1, 0].map((other, i) => b.products(g, operands[other]!, (size(result) * shapes[1]![0]!) / size(shapes[i]!))),
  ),
  conv2d: ofIntegersToo(
    bilinear(
      'conv2d',
      (b, { operands: [x, f], shapes: [, filter] }) => b.products(x!, f!, size(filter!.slice(0, 3))),
      (b, g, { operands: [x, f], shapes: [, filter], result }) => [
        b.products(g, f!, filter![0]! * filter![1]! * filter![3]!),
        b.products(g, x!, size(result.slice(0, 3))),
      ],
      // With dilations tfjs has no gradient.
      { differs: ({ args: [, , , dilations] }) => [dilations].flat().every((step) => step === 1) },
    ),
  ),
  div: like('div', (b, { operands: [x, y] }) => quotient(b, x!, y!), {
    takes: divides,
    others: ['any'],
    gradient: (b, g, { operands: [x, y], shapes, result }) => {
      const q = quotient(b, x!, y!)
      // Of y it is −g · q / y, in either order.
      const ofY = b.either(b.products(quotient(b, g, y!), q), quotient(b, b.products(g, q), y!))
      return [quotient(b, g, y!), ofY].map((each, i) => b.sum(each, Math.max(1, per(result, shapes[i]!))))
    },
  }),
  /** Of multiples of 1/4 by a multiple of 1/4, which both encodings hold: nothing is rounded. */
  mod: row({
    calls: remainders(samples.mod.calls),
    plain: ([x, y]) => tf.mod(x!, y!),
    error: (b, { operands: [, y] }) => ({ ...b.whole(y!.size), isFixed: true }),
    smooth: remainders(samples.mod.smooth!),
    gradient: passed,
    isOnGrid: true,
    keepsTruths: true,
  }),
  pow: row({
    calls: powers(samples.square.calls.filter(isFixedCall)),
    plain: ([x], exponent) => tf.pow(x!, exponent as number),
    error: (b, { operands: [x], args: [n] }) => power(b, x!, n as number),
    smooth: powers(samples.square.smooth!),
    gradient: (b, g, { operands: [x], args: [exponent] }) => {
      const n = exponent as number
      return [n === 0 ? b.whole(0) : b.products(b.products(g, power(b, x!, n - 1)), b.number(n))]
    },
  }),

  // Reductions.
  sum: like('sum', (b, { operands: [x], shapes: [s], result }) => b.sum(x!, per(s!, result)), {
    gradient: (_, g) => [g],
  }),
  mean: like('mean', (b, { operands: [x], shapes: [s], result }) => averaged(b, x!, per(s!, result)), {
    gradient: (b, g, { shapes: [s], result }) => [b.over(g, per(s!, result))],
  }),
  variance: like(
    'variance',
    (b, { operands: [x], shapes: [s], result }) => {
      const n = per(s!, result)
      const d = deviation(b, x!, n)
      return averaged(b, b.products(d, d), n)
    },
    {
      gradient: (b, g, { operands: [x], shapes: [s], result }) => {
        const n = per(s!, result)
        const part = b.products(b.products(b.over(g, n), deviation(b, x!, n)), b.number(2))
        // Of x itself, and by way of the mean.
        return [b.plus(part, averaged(b, part, n))]
      },
    },
  ),
  cumsum: like('cumsum', (b, c) => b.sum(c.operands[0]!, Math.max(1, c.shapes[0]!.at((c.args[0] as number) ?? 0)!)), {
    gradient: passed,
    plainToDiffer: summedAlong,
  }),

  // Shape.
  transpose: move('transpose'),
  reshape: move('reshape'),
  flatten: move('flatten'),
  expandDims: move('expandDims'),
  squeeze: move('squeeze'),
  slice: move('slice'),
  unstack: move('unstack', { plainToDiffer: unstacked }),
  split: move('split', { plainToDiffer: splitInto }),
  // Of rank 5 tfjs has no gradient.
  tile: move('tile', { differs: ({ operands: [x] }) => (x as TensorSample).shape.length < 5 }),
  reverse: move('reverse'),
  broadcastTo: move('broadcastTo', { plainToDiffer: ([x], shape) => tf.mul(x!, tf.ones(shape as number[])) }),
  clone: move('clone'),
  pad: like('pad', (b, { operands: [x], args: [, constant] }) => b.either(x!, b.number(constant as number)), {
    // A truth is no place for a 3.
    takes: ({ operands: [x], args: [, constant] }) => constant === 0 || (x as TensorSample).dtype !== 'bool',
    gradient: passedToFirst,
  }),
  gather: like('gather', first, { others: ['public'], gradient: passedToFirst }),
  concat: listed('concat'),
  stack: listed('stack'),
  refresh: { ...move('clone') },

  // Comparison.
  less: comparison('less'),
  lessEqual: comparison('lessEqual'),
  greater: comparison('greater'),
  greaterEqual: comparison('greaterEqual'),
  equal: comparison('equal'),
  notEqual: comparison('notEqual'),
  logicalNot: like('logicalNot', truth),
  logicalAnd: like('logicalAnd', truth),
  logicalOr: like('logicalOr', truth),
  /** c · (a − b) + b: nothing is divided. */
  where: like('where', (b, { operands: [x, , y] }) => b.either(x!, y!), {
    others: ['own', 'any'],
    keepsTruths: true,
    invoke: ([x, condition, y]) => methodOf(condition, 'where')(x, y),
    gradient: (b, g, c) => {
      const [x, , y] = passed(b, g, c)
      return [x!, b.whole(0), y!]
    },
    plainToDiffer: ([x, condition, y]) => {
      const holds = tf.cast(condition!, 'float32')
      return tf.add(tf.mul(holds, x!), tf.mul(tf.sub(1, holds), y!))
    },
  }),

  // Piecewise linear.
  maximum: like('maximum', widest, {
    others: ['any'],
    keepsTruths: true,
    gradient: passed,
    plainToDiffer: (operands) => tf.maximum(...alike(operands)),
  }),
  minimum: like('minimum', widest, {
    others: ['any'],
    keepsTruths: true,
    gradient: passed,
    plainToDiffer: (operands) => tf.minimum(...alike(operands)),
  }),
  relu: like('relu', first, { gradient: passed, keepsTruths: true }),
  /** Of x and alpha · x, one is 0. */
  leakyRelu: like(
    'leakyRelu',
    (b, { operands: [x], args: [alpha = 0.2] }) => b.either(x!, b.products(x!, b.number(alpha as number))),
    {
      takes: ({ operands, args }) => isFloat(operands[0]!) || Number.isInteger(args[0]),
      gradient: (b, g, { args: [alpha = 0.2] }) => [b.either(g, b.products(g, b.number(alpha as number)))],
    },
  ),
  abs: like('abs', first, { gradient: passed, keepsTruths: true }),
  sign: like('sign', truth, { isOnGrid: true }),
  clipByValue: like(
    'clipByValue',
    (b, { operands: [x], args: [low, high] }) => b.either(x!, b.number(low as number), b.number(high as number)),
    { takes: wholeArgs, gradient: passed },
  ),

  // Largest and smallest.
  max: like('max', first, { gradient: (_, g) => [g], keepsTruths: true }),
  min: like('min', first, { gradient: (_, g) => [g], keepsTruths: true }),
  argMax: like('argMax', place, { isOnGrid: true }),
  argMin: like('argMin', place, { isOnGrid: true }),
  sort: row({ calls: sortings((samples.argMax as OpSample).calls), plain: sortedAlong, error: first }),
  maxPool: ofIntegersToo(like('maxPool', first, { gradient: (b, g, c) => [b.sum(g, tapsOf(c))] })),
  // Of integers where no window hangs over the edge: a factor of its own is a fraction.
  avgPool: ofIntegersToo(
    like('avgPool', (b, c) => pooled(b, c.operands[0]!, tapsOf(c)), {
      gradient: (b, g, c) => [b.sum(b.either(b.over(g, tapsOf(c)), b.timesInverse(g, { ...g, least: 1 })), tapsOf(c))],
      plainToDiffer: averageOf,
    }),
    ({ args: [, , pad = 'valid'] }) => pad === 'valid',
  ),
  batchNorm: like('batchNorm', (b, c) => normalised(b, c).result, {
    plainToDiffer: normalise,
    others: ['any', 'any', 'any', 'any'],
    gradient: (b, g, c) => {
      const [, , , offset, scale] = c.operands
      const { centred, spread, scaled } = normalised(b, c)
      const summed = (x: Quantity) => b.sum(x, per(c.shapes[0]!, c.shapes[1]!))
      const ofScaled = scale ? b.products(g, scale) : g
      const ofCentred = b.products(ofScaled, spread)
      const ofSpread = b.sum(b.products(ofScaled, centred), size(c.shapes[0]!))
      const ofVariance = b.over(b.products(b.products(ofSpread, spread), b.products(spread, spread)), 2)
      const each = (shape: Shape | undefined, x: Quantity) => b.sum(x, shape ? per(c.shapes[0]!, shape) : 1)
      return [
        ofCentred,
        summed(ofCentred),
        ofVariance,
        offset ? each(c.shapes[3], g) : b.whole(0),
        scale ? each(c.shapes[4], b.products(g, scaled)) : b.whole(0),
      ]
    },
  }),

  // Smooth functions.
  exp: smoothly(
    'exp',
    (b, x) => b.through(x, Math.exp(x.size), Math.exp(x.size + 1 / b.scale)),
    (b, g, y) => b.products(g, y),
  ),
  log: smoothly(
    'log',
    (b, x) => b.through(x, Math.max(Math.abs(Math.log(b.low(x))), Math.log(x.size)), 1 / b.low(x)),
    (b, g, _, x) => quotient(b, g, x),
  ),
  sqrt: smoothly(
    'sqrt',
    (b, x) => b.through(x, Math.sqrt(x.size), b.low(x) ** -0.5 / 2),
    (b, g, _, x) => b.over(b.products(g, rootInverse(b, x)), 2),
  ),
  rsqrt: smoothly('rsqrt', rootInverse, (b, g, y) => b.over(b.products(b.products(g, y), b.products(y, y)), 2)),
  reciprocal: smoothly(
    'reciprocal',
    (b, x) => b.through(x, 1 / b.low(x), b.low(x) ** -2),
    (b, g, y) => b.products(b.products(g, y), y),
  ),
  sigmoid: smoothly(
    'sigmoid',
    (b, x) => b.through(x, 1, 1 / 4),
    (b, g, y) => b.plus(b.products(g, y), b.products(b.products(g, y), y)),
  ),
  tanh: smoothly(
    'tanh',
    (b, x) => b.through(x, 1, 1),
    (b, g, y) => b.plus(g, b.products(b.products(g, y), y)),
  ),
  /** Errors of a row of x move a result by Σ |∂s_i/∂x_j| = 2 s_i (1 − s_i) ≤ 1/2 of the largest. */
  softmax: smoothly(
    'softmax',
    (b, x) => b.through(x, 1, 1 / 2),
    (b, g, y, _, c) => b.products(y, b.plus(g, b.sum(b.products(g, y), lengthOf(c)))),
  ),
  /** Here by 2 (1 − s_i) ≤ 2. The results go down to −2 · |x| − ln of their number. */
  logSoftmax: smoothly(
    'logSoftmax',
    (b, x, c) => b.through(x, 2 * x.size + Math.log(lengthOf(c)), 2),
    (b, g, y, _, c) => b.plus(g, b.products(b.through(y, 1, 1), b.sum(g, lengthOf(c)))),
  ),
} as const satisfies Record<Method, Operation>
