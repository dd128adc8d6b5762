/**
 * One row per op of the table: calls to make, what plain tfjs gives for them, and calls where the op is smooth.
 *
 * The tfjs expressions are written from tfjs's documentation, not from the rows of `ops.ts`. An op without a row here
 * does not compile.
 */
import fc from 'fast-check'
import { type DType, type OpName, tf } from 'sotto'
import { noisyByDefinition } from '../reference/gaussian-noise.ts'

/** A tensor by its values. */
export interface TensorSample {
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly values: Float32Array | Int32Array | Uint8Array
}
/** What a caller writes as an operand; null for one left out. */
export type OperandSample = TensorSample | number | boolean | null

export interface Call {
  /** In the order of the row's inputs; the first is a tensor. */
  readonly operands: readonly OperandSample[]
  readonly args: readonly unknown[]
}

export interface OpSample {
  /** Calls that the rule must accept. */
  readonly calls: fc.Arbitrary<Call>
  /** The same in tfjs. Numbers and booleans come as the caller wrote them. */
  tfjs(operands: readonly tf.Tensor[], ...args: readonly unknown[]): tf.Tensor | readonly tf.Tensor[]
  /** Calls away from every kink and pole; null for ops without a gradient. */
  readonly smooth: fc.Arbitrary<Call> | null
  /**
   * Units of float32 rounding (2^-24), relative to the largest element, by which the result may differ from tfjs's where
   * the two add up the same terms in another order; 0 is bit for bit.
   */
  readonly units: number
}

interface SampleOf<Args extends unknown[]> {
  readonly calls: fc.Arbitrary<{ operands: readonly OperandSample[]; args: Readonly<Args> }>
  readonly tfjs: (operands: readonly tf.Tensor[], ...args: Args) => tf.Tensor | readonly tf.Tensor[]
  readonly smooth?: fc.Arbitrary<{ operands: readonly OperandSample[]; args: Readonly<Args> }>
  readonly units?: number
}

const sample = <Args extends unknown[]>({ smooth, units = 0, ...rest }: SampleOf<Args>): OpSample =>
  ({ ...rest, smooth: smooth ?? null, units }) as unknown as OpSample

/** Uniform numbers from a seed (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** How values are drawn. */
interface Draw {
  readonly low?: number
  readonly high?: number
  /** Nothing closer than an eighth to these. */
  readonly avoid?: readonly number[]
  /** Multiples of a step, moved by an offset: no two of them closer than the step. */
  readonly grid?: { readonly step: number; readonly offset: number }
  /** No value twice: each element has a place of its own in the range. */
  readonly distinct?: boolean
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, d) => size * d, 1)
export const makers = { float32: Float32Array, int32: Int32Array, bool: Uint8Array }

function draw(shape: readonly number[], dtype: DType, seed: number, how: Draw): TensorSample {
  const next = generator(seed)
  const { low = -2, high = 2, avoid = [], grid, distinct } = how
  const size = sizeOf(shape)
  const places = Array.from({ length: size }, (_, i) => i)
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1))
    ;[places[i], places[j]] = [places[j]!, places[i]!]
  }
  const one = (i: number): number => {
    if (distinct) return low + ((high - low) * (places[i]! + 0.5)) / size
    if (grid) return Math.round((low + (high - low) * next()) / grid.step) * grid.step + grid.offset
    const value = low + (high - low) * next()
    if (dtype === 'int32') return avoid.includes(Math.round(value)) ? one(i) : Math.round(value)
    return avoid.some((point) => Math.abs(value - point) < 1 / 8) ? one(i) : value
  }
  const values = makers[dtype].from(places.map((i) => (dtype === 'bool' ? Number(next() < 0.5) : one(i))))
  return { shape, dtype, values }
}

const seeds = fc.integer()
const dimension = (zero: boolean) => (zero ? fc.constantFrom(1, 2, 3, 2, 3, 0) : fc.constantFrom(1, 2, 3, 4))
const axisSizes = (minRank: number, maxRank: number, zero: boolean) =>
  fc.array(dimension(zero), { minLength: minRank, maxLength: maxRank, size: 'max' })
/** Mostly of rank 0 to 4, now and then up to 6, now and then with an axis of length 0. */
const anyShape = (minRank = 0, zero = true): fc.Arbitrary<readonly number[]> =>
  fc.oneof(
    { weight: 8, arbitrary: axisSizes(minRank, 4, false) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom(1, 2), { minLength: 5, maxLength: 6 }) },
    { weight: zero ? 2 : 0, arbitrary: axisSizes(minRank, 3, true) },
  )
/** At most 24 elements: a gradient is checked element by element. */
const smallShape = (minRank = 0): fc.Arbitrary<readonly number[]> =>
  fc.oneof(
    fc.array(fc.constantFrom(1, 2, 3), { minLength: minRank, maxLength: 3 }).filter((shape) => sizeOf(shape) <= 12),
    fc.constantFrom([2, 1, 2, 1, 2], [1, 2, 1, 2, 1, 2]),
  )
const dtype: fc.Arbitrary<DType> = fc.constantFrom('float32', 'float32', 'int32', 'bool')
export const anyTensor = (how: Draw = {}): fc.Arbitrary<TensorSample> => of(anyShape(), how)

const of = (shape: fc.Arbitrary<readonly number[]>, how: Draw = {}, dtypes: fc.Arbitrary<DType> = dtype) =>
  fc.tuple(shape, dtypes, seeds).map(([s, d, seed]) => draw(s, d, seed, how))
const floats = (shape: fc.Arbitrary<readonly number[]>, how: Draw = {}) => of(shape, how, fc.constant('float32'))
const ints = (shape: fc.Arbitrary<readonly number[]>, how: Draw = { low: -9, high: 9 }) =>
  of(shape, how, fc.constant('int32'))
const bools = (shape: fc.Arbitrary<readonly number[]>) => of(shape, {}, fc.constant('bool'))

const call = <Args extends readonly unknown[]>(operands: readonly OperandSample[], args: Args) => ({ operands, args })
const noArgs = (operands: readonly OperandSample[]) => call(operands, [] as const)

/** A shape that broadcasts with the one given: axes cut off in front or made 1. */
const shrunk = (shape: readonly number[]): fc.Arbitrary<readonly number[]> =>
  fc
    .tuple(fc.integer({ min: 0, max: shape.length }), fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }))
    .map(([cut, ones]) => shape.slice(cut).map((d, i) => (ones[i] ? 1 : d)))

/** Two shapes that broadcast together. */
const broadcastPair = (shapes: fc.Arbitrary<readonly number[]>) =>
  shapes.chain((shape) =>
    fc
      .tuple(shrunk(shape), fc.oneof(fc.constant(shape), shrunk(shape)), fc.boolean())
      .map(([a, b, swap]) => (swap ? [b, a] : [a, b])),
  ) as fc.Arbitrary<[readonly number[], readonly number[]]>

const pairOf = (
  shapes: fc.Arbitrary<readonly number[]>,
  dtypes: fc.Arbitrary<DType>,
  a: Draw,
  b: Draw,
): fc.Arbitrary<[TensorSample, TensorSample]> =>
  fc
    .tuple(broadcastPair(shapes), dtypes, dtypes, seeds, seeds)
    .map(([[s, t], d, e, x, y]) => [draw(s, d, x, a), draw(t, e, y, b)])

/** tfjs has arithmetic of bools here and there only; here they count. */
const counted = (x: tf.Tensor): tf.Tensor => {
  if (typeof x === 'boolean') return tf.scalar(Number(x), 'int32')
  return x.dtype === 'bool' ? tf.cast(x, 'int32') : x
}
/** Not every wasm kernel that moves elements knows that a bool takes one byte. */
const viaIntegers = (x: tf.Tensor, f: One): tf.Tensor => (x.dtype === 'bool' ? tf.notEqual(f(counted(x)), 0) : f(x))
const asFloat = (x: tf.Tensor): tf.Tensor => (typeof x === 'number' ? tf.scalar(x) : tf.cast(x, 'float32'))

type Two = (a: tf.Tensor, b: tf.Tensor) => tf.Tensor
type One = (x: tf.Tensor) => tf.Tensor

const binary = (
  f: Two,
  a: Draw,
  b: Draw,
  smooth: [Draw, Draw] | null,
  numbers: fc.Arbitrary<number> = fc.constantFrom(2, -1.5, 0.5),
) =>
  sample({
    calls: fc.oneof(
      { weight: 4, arbitrary: pairOf(anyShape(), dtype, a, b).map(noArgs) },
      { weight: 1, arbitrary: fc.tuple(anyTensor(a), fc.oneof(numbers, fc.constant(true))).map(noArgs) },
    ),
    tfjs: ([x, y]) => f(counted(x!), counted(y!)),
    ...(smooth ? { smooth: pairOf(smallShape(), fc.constant('float32'), ...smooth).map(noArgs) } : {}),
  })
const whole = { low: -9, high: 9 }
const notZero = { low: -9, high: 9, avoid: [0] }
const comparison = (f: Two) =>
  binary(
    f,
    { low: -2, high: 2, grid: { step: 1, offset: 0 } },
    { low: -2, high: 2, grid: { step: 1, offset: 0 } },
    null,
  )
const logical = (f: Two) =>
  sample({ calls: pairOf(anyShape(), fc.constant('bool'), {}, {}).map(noArgs), tfjs: ([a, b]) => f(a!, b!) })

/** x ↦ f(x) in float32. */
const real = (f: One, how: Draw, smooth: Draw | null = how) =>
  sample({
    calls: anyTensor(how).map((x) => noArgs([x])),
    tfjs: ([x]) => f(asFloat(x!)),
    ...(smooth ? { smooth: floats(smallShape(), smooth).map((x) => noArgs([x])) } : {}),
  })
/** x ↦ f(x), int32 staying int32. */
const counting = (f: One, smooth: Draw | null, onInt: One = (x) => tf.cast(f(tf.cast(x, 'float32')), 'int32')) =>
  sample({
    calls: anyTensor({ low: -9, high: 9 }).map((x) => noArgs([x])),
    tfjs: ([x]) => (x!.dtype === 'float32' ? f(x!) : onInt(counted(x!))),
    ...(smooth ? { smooth: floats(smallShape(), smooth).map((x) => noArgs([x])) } : {}),
  })

const signed = (axis: number, rank: number) => fc.constantFrom(axis, axis - rank)
const oneAxis = (rank: number) => fc.integer({ min: 0, max: rank - 1 }).chain((axis) => signed(axis, rank))
/** No axes, one, or several, counted from the front or from the back; and keepDims. */
const someAxes = (
  rank: number,
): fc.Arbitrary<readonly [axis?: number | readonly number[] | undefined, keepDims?: boolean]> => {
  const several = fc
    .subarray(Array.from({ length: rank }, (_, i) => i))
    .chain((axes) => fc.tuple(...axes.map((axis) => signed(axis, rank))))
  const axis = rank === 0 ? fc.constant(undefined) : fc.oneof(fc.constant(undefined), oneAxis(rank), several)
  return fc.oneof(
    fc.constant([] as const),
    axis.map((a) => [a] as const),
    fc.tuple(axis, fc.boolean()),
  )
}

type ReduceArgs = [axis?: number | readonly number[] | undefined, keepDims?: boolean]
const reduction = (
  f: (x: tf.Tensor, axis?: number[], keepDims?: boolean) => tf.Tensor,
  {
    input = anyTensor(whole),
    smooth = { distinct: true },
    units = 0,
  }: { input?: fc.Arbitrary<TensorSample>; smooth?: Draw | null; units?: number } = {},
) => {
  const calls = (xs: fc.Arbitrary<TensorSample>) =>
    xs.chain((x) => someAxes(x.shape.length).map((args) => call([x], args as ReduceArgs)))
  return sample<ReduceArgs>({
    calls: calls(input),
    tfjs: ([x], axis, keepDims) => f(x!, axis as number[], keepDims),
    ...(smooth ? { smooth: calls(floats(smallShape(), smooth)) } : {}),
    units,
  })
}
const full = (how: Draw = whole, minRank = 0) => of(anyShape(minRank, false), how)

const structural = <Args extends unknown[]>(
  args: (shape: readonly number[]) => fc.Arbitrary<Readonly<Args>>,
  f: (x: tf.Tensor, ...args: Args) => tf.Tensor,
  { minRank = 0, maxRank = 6, zero = true } = {},
) => {
  const calls = (xs: fc.Arbitrary<TensorSample>) =>
    xs.filter(({ shape }) => shape.length <= maxRank).chain((x) => args(x.shape).map((a) => call([x], a)))
  return sample<Args>({
    calls: calls(of(anyShape(minRank, zero), whole)),
    tfjs: ([x], ...a) => viaIntegers(x!, (t) => f(t, ...a)),
    smooth: calls(floats(smallShape(minRank))),
  })
}

/** Numbers whose product is the size given. */
const factors = (size: number): fc.Arbitrary<number[]> =>
  size === 0
    ? fc.constantFrom([0], [2, 0], [0, 3, 1])
    : fc.array(fc.constantFrom(1, 2, 3, 4), { maxLength: 3 }).map((parts) => {
        const taken: number[] = []
        let rest = size
        for (const part of parts) {
          if (rest % part !== 0) continue
          taken.push(part)
          rest /= part
        }
        return [...taken, rest]
      })

const alongAxis = (f: (x: tf.Tensor) => tf.Tensor) => {
  const calls = (xs: fc.Arbitrary<TensorSample>) =>
    xs.chain((x) =>
      fc
        .oneof(fc.constant([] as const), fc.tuple(oneAxis(x.shape.length)))
        .map((args) => call([x], args as readonly [axis?: number | undefined])),
    )
  return sample<[axis?: number]>({
    calls: calls(full({ low: -5, high: 5 }, 1)),
    tfjs: ([x], axis = -1) => {
      const order = x!.shape.map((_, i) => i)
      const [moved] = order.splice(axis, 1) as [number]
      order.push(moved)
      const back = order.map((_, i) => order.indexOf(i))
      return tf.transpose(f(tf.transpose(asFloat(x!), order)), back)
    },
    smooth: calls(floats(smallShape(1))),
  })
}

const indices = (below: number, shape: fc.Arbitrary<readonly number[]>) => ints(shape, { low: 0, high: below - 1 })

/** The padding of a plain number written out: tfjs 4.22 takes a number right only if filter and strides are square. */
const allAround = (pad: 'same' | 'valid' | number): 'same' | 'valid' | tf.backend_util.ExplicitPadding =>
  typeof pad === 'number'
    ? [
        [0, 0],
        [pad, pad],
        [pad, pad],
        [0, 0],
      ]
    : pad

type ConvArgs = [
  strides: number | [number, number],
  pad: 'same' | 'valid' | number,
  format: 'NHWC',
  dilations: number | [number, number],
]
const convolution = (name: 'conv2d' | 'depthwiseConv2d') => {
  const calls = (most: number) =>
    fc
      .record({
        seed: seeds,
        other: seeds,
        batch: fc.integer({ min: 1, max: most > 3 ? 2 : 1 }),
        image: fc.tuple(fc.integer({ min: 1, max: most }), fc.integer({ min: 1, max: most })),
        filter: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 2 })),
        channels: fc.integer({ min: 1, max: 2 }),
        outputs: fc.integer({ min: 1, max: 2 }),
        pad: fc.constantFrom('same' as const, 'valid' as const, 1),
        step: fc.oneof(
          fc.constantFrom([1, 1] as const, [2, 1] as const, [3, 1] as const),
          fc.tuple(
            fc.constant([1, 1] as [number, number]),
            fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })) as fc.Arbitrary<[number, number]>,
          ),
        ),
      })
      .filter(({ image, filter, pad, step }) => {
        const spread = typeof step[1] === 'number' ? [1, 1] : step[1]
        const margin = pad === 1 ? 2 : 0
        return pad === 'same' || image.every((d, i) => d + margin >= (filter[i]! - 1) * spread[i]! + 1)
      })
      .map(({ seed, other, batch, image, filter, channels, outputs, pad, step }) =>
        call(
          [
            draw([batch, ...image, channels], 'float32', seed, {}),
            draw([...filter, channels, outputs], 'float32', other, {}),
          ],
          [step[0], pad, 'NHWC', step[1]] as unknown as ConvArgs,
        ),
      )
  return sample<ConvArgs>({
    calls: calls(6),
    tfjs: ([x, filter], strides, pad, format, dilations) =>
      tf[name](x as tf.Tensor4D, filter as tf.Tensor4D, strides, allAround(pad), format, dilations),
    smooth: calls(3),
    // A sum of at most 3·2·2 products.
    units: 12,
  })
}

type PoolArgs = [
  filterSize: number | [number, number],
  strides?: number | [number, number],
  pad?: 'same' | 'valid' | number,
]
const pool = (name: 'maxPool' | 'avgPool') => {
  const calls = (most: number) =>
    fc
      .record({
        seed: seeds,
        shape: fc.tuple(
          fc.constant(1),
          fc.integer({ min: 2, max: most }),
          fc.integer({ min: 2, max: most }),
          fc.integer({ min: 1, max: 2 }),
        ),
        args: fc.oneof(
          fc.constantFrom([2], [[1, 2]], [2, 1], [2, [1, 2], 'same'], [[2, 1], 3, 'same']),
          fc.constantFrom([2, 1, 1], [[2, 3], [1, 2], 1]),
        ),
      })
      .map(({ seed, shape, args }) =>
        call([draw(shape, 'float32', seed, { distinct: true })], args as unknown as PoolArgs),
      )
  return sample<PoolArgs>({
    calls: calls(5),
    tfjs: ([x], filterSize, strides = filterSize, pad = 'valid') =>
      tf[name](x as tf.Tensor4D, filterSize, strides, allAround(pad)),
    smooth: calls(3),
    units: 12,
  })
}

const reductions = ['mean', 'sum', 'none'] as const
type Reduction = (typeof reductions)[number]
const inTfjs: Record<Reduction, tf.Reduction> = {
  mean: tf.Reduction.MEAN,
  sum: tf.Reduction.SUM,
  none: tf.Reduction.NONE,
}
type LossArgs = [reduction?: Reduction]
const lossArgs: fc.Arbitrary<Readonly<LossArgs>> = fc.oneof(
  fc.constant([] as const),
  fc.tuple(fc.constantFrom(...reductions)),
)

const elementLoss = (
  f: (labels: tf.Tensor, predictions: tf.Tensor, weights: undefined, reduction: tf.Reduction) => tf.Tensor,
  smooth: [Draw, Draw],
) => {
  const calls = (shapes: fc.Arbitrary<readonly number[]>, dtypes: fc.Arbitrary<DType>, a: Draw, b: Draw) =>
    fc
      .tuple(shapes, dtypes, dtypes, seeds, seeds, lossArgs)
      .map(([shape, d, e, x, y, args]) => call([draw(shape, d, x, a), draw(shape, e, y, b)], args))
  return sample<LossArgs>({
    calls: calls(anyShape(0, false), dtype, whole, whole),
    tfjs: ([p, y], reduction = 'mean') => f(asFloat(y!), asFloat(p!), undefined, inTfjs[reduction]),
    smooth: calls(smallShape(), fc.constant('float32'), ...smooth),
    // A sum of at most 4⁴ terms.
    units: 256,
  })
}

const classLoss = (logProbabilities: One) => {
  const calls = (most: number, scores: Draw, oneHotLabels: fc.Arbitrary<Draw>) =>
    fc
      .tuple(
        fc.integer({ min: 1, max: most }),
        fc.integer({ min: 1, max: 4 }),
        seeds,
        seeds,
        lossArgs,
        fc.boolean(),
        oneHotLabels,
      )
      .map(([n, classes, x, y, args, numbers, labels]) =>
        call(
          [
            draw([n, classes], 'float32', x, scores),
            numbers ? draw([n], 'int32', y, { low: -1, high: classes }) : draw([n, classes], 'float32', y, labels),
          ],
          args,
        ),
      )
  return sample<LossArgs>({
    calls: calls(5, {}, fc.constant({ low: 0, high: 1 })),
    tfjs: ([scores, labels], reduction = 'mean') => {
      const [n, classes] = scores!.shape as [number, number]
      // Row by row: the place of the label is one, if there is such a place.
      const rows = Array.from(labels!.dataSync() as Int32Array)
      const oneHot =
        labels!.rank === 2
          ? labels!
          : tf.tensor2d(
              Array.from({ length: n * classes }, (_, i) => Number(rows[Math.floor(i / classes)] === i % classes)),
              [n, classes],
            )
      const losses = tf.neg(tf.sum(tf.mul(oneHot, logProbabilities(scores!)), 1))
      return reduction === 'none' ? losses : reduction === 'sum' ? tf.sum(losses) : tf.mean(losses)
    },
    smooth: calls(3, {}, fc.constant({ low: 0, high: 1 })),
  })
}

// biome-ignore format: a table
export const samples = {
  add: binary(tf.add, whole, whole, [{}, {}]),
  sub: binary(tf.sub, whole, whole, [{}, {}]),
  mul: binary(tf.mul, whole, whole, [{}, {}]),
  div: { ...binary(tf.div, whole, { low: 1, high: 9 }, [{}, { low: 0.5, high: 2 }]), calls: binary(tf.div, whole, notZero, null).calls.filter(nonzero(1)) },
  floorDiv: {
    ...binary((a, b) => typeof b !== 'number' && a.dtype === 'int32' && b.dtype === 'int32' ? tf.floorDiv(a, b) : tf.floor(tf.div(a, b)), whole, notZero, null),
    calls: binary(tf.div, whole, notZero, null).calls.filter(nonzero(1)),
  },
  mod: { ...binary(tf.mod, whole, notZero, [{ low: 1.2, high: 1.7 }, { low: 0.95, high: 1.1 }]), calls: binary(tf.mod, whole, notZero, null).calls.filter(nonzero(1)) },
  pow: binary(tf.pow, { low: 0, high: 4 }, { low: 0, high: 4 }, [{ low: 0.5, high: 2 }, {}], fc.constantFrom(2, 0.5, 3)),
  maximum: binary(tf.maximum, whole, whole, [{ grid: { step: 0.25, offset: 0 } }, { grid: { step: 0.25, offset: 0.125 } }]),
  minimum: binary(tf.minimum, whole, whole, [{ grid: { step: 0.25, offset: 0 } }, { grid: { step: 0.25, offset: 0.125 } }]),
  squaredDifference: { ...binary(tf.squaredDifference, whole, whole, [{}, {}]), units: 4 },

  equal: comparison(tf.equal),
  notEqual: comparison(tf.notEqual),
  greater: comparison(tf.greater),
  greaterEqual: comparison(tf.greaterEqual),
  less: comparison(tf.less),
  lessEqual: comparison(tf.lessEqual),
  logicalAnd: logical(tf.logicalAnd),
  logicalOr: logical(tf.logicalOr),
  logicalXor: logical(tf.logicalXor),
  logicalNot: sample({ calls: bools(anyShape()).map((x) => noArgs([x])), tfjs: ([x]) => tf.logicalNot(x!) }),

  matMul: sample<[transposeA?: boolean, transposeB?: boolean]>({
    calls: products(3),
    tfjs: ([a, b], transposeA, transposeB) => {
      // tf.matMul itself repeats batches in the wrong order: the i-th product takes batch i modulo their number.
      const batch = tf.broadcast_util.assertAndGetBroadcastShape(a!.shape.slice(0, -2), b!.shape.slice(0, -2))
      const whole = (t: tf.Tensor) => tf.broadcastTo(asFloat(t), [...batch, ...t.shape.slice(-2)])
      if (a!.size > 0 && b!.size > 0) return tf.matMul(whole(a!), whole(b!), transposeA, transposeB)
      const [m, n] = [a!.shape.at(transposeA ? -1 : -2)!, b!.shape.at(transposeB ? -2 : -1)!]
      return tf.zeros([...batch, m, n])
    },
    smooth: products(2, 'float32'),
    units: 6,
  }),
  dot: sample({
    calls: dots(dtype),
    tfjs: ([a, b]) => tf.dot(asFloat(a!), asFloat(b!)),
    smooth: dots(fc.constant('float32')),
    units: 6,
  }),
  outer: sample({
    calls: fc.tuple(of(axisSizes(1, 1, true)), of(axisSizes(1, 1, false))).map(noArgs),
    tfjs: ([a, b]) => tf.mul(tf.reshape(asFloat(a!), [-1, 1]), asFloat(b!)),
    smooth: fc.tuple(floats(axisSizes(1, 1, false)), floats(axisSizes(1, 1, false))).map(noArgs),
  }),

  transpose: structural<[perm?: number[]]>(
    (shape) => fc.oneof(fc.constant([] as const), fc.shuffledSubarray(shape.map((_, i) => i), { minLength: shape.length, maxLength: shape.length }).map((perm) => [perm] as const)) as fc.Arbitrary<readonly [perm?: number[]]>,
    (x, perm) => tf.transpose(x, perm),
  ),
  reshape: structural<[shape: number[]]>(
    (shape) => fc.tuple(factors(sizeOf(shape)), fc.boolean()).map(([to, open]) => [open && sizeOf(shape) > 0 ? [...to.slice(0, -1), -1] : to] as const),
    (x, to) => tf.reshape(x, to),
  ),
  flatten: structural<[]>(() => fc.constant([] as const), (x) => tf.reshape(x, [x.size])),
  expandDims: structural<[axis?: number]>((shape) => fc.oneof(fc.constant([] as const), fc.tuple(oneAxis(shape.length + 1))) as fc.Arbitrary<readonly [axis?: number]>, (x, axis) => tf.expandDims(x, axis), { maxRank: 5 }),
  squeeze: structural<[axes?: number[]]>(
    (shape) => {
      const ones = shape.flatMap((d, i) => (d === 1 ? [i] : []))
      return fc.oneof(fc.constant([] as const), fc.subarray(ones, { minLength: Math.min(1, ones.length) }).filter((axes) => axes.length > 0 || ones.length === 0).map((axes) => (axes.length === 0 ? [] : [axes]) as readonly [axes?: number[]]))
    },
    (x, axes) => tf.squeeze(x, axes),
  ),
  slice: structural<[begin: number[], size?: number[]]>(
    (shape) => fc.tuple(...shape.map((d) => fc.integer({ min: 0, max: d }).chain((from) => fc.tuple(fc.constant(from), fc.constantFrom(-1, ...Array.from({ length: d - from + 1 }, (_, i) => i)))))).chain((ranges) => {
      const begin = ranges.map(([from]) => from)
      const size = ranges.map(([, length]) => length)
      return fc.constantFrom([begin, size] as const, [begin] as const)
    }) as fc.Arbitrary<readonly [begin: number[], size?: number[]]>,
    (x, begin, size) => (x.rank === 0 ? tf.clone(x) : tf.slice(x, begin, size ?? begin.map((from, i) => x.shape[i]! - from))),
  ),
  gather: sample<[axis?: number]>({
    calls: gathers(of(anyShape(1, false).filter(({ length }) => length < 5), whole)),
    tfjs: ([x, picks], axis) => tf.gather(x!, picks!, axis),
    smooth: gathers(floats(smallShape(1).filter(({ length }) => length < 5))),
  }),
  concat: sample<[axis?: number]>({
    calls: concats(dtype),
    tfjs: (xs, axis) => tf.concat(alike(xs), axis),
    smooth: concats(fc.constant('float32')),
  }),
  stack: sample<[axis?: number]>({
    calls: stacks(anyShape().filter(({ length }) => length < 6), dtype),
    tfjs: (xs, axis = 0) => tf.concat(alike(xs).map((x) => tf.expandDims(x, axis)), axis),
    smooth: stacks(smallShape().filter(({ length }) => length < 6), fc.constant('float32')),
  }),
  unstack: sample<[axis?: number]>({
    calls: axisCalls(of(anyShape(1), whole)),
    tfjs: ([x], axis = 0) => tf.unstack(x!, axis),
    smooth: axisCalls(floats(smallShape(1))),
  }),
  split: sample<[parts: number | number[], axis: number]>({
    calls: splits(of(anyShape(1, false), whole)),
    tfjs: ([x], parts, axis) => {
      if (typeof parts === 'number') return tf.split(x!, parts, axis)
      // tf.split works −1 out wrong when it comes first.
      const known = parts.reduce((sum, part) => sum + Math.max(part, 0), 0)
      return tf.split(x!, parts.map((part) => (part === -1 ? x!.shape.at(axis)! - known : part)), axis)
    },
    smooth: splits(floats(smallShape(1))),
  }),
  pad: structural<[paddings: [number, number][], constant: number]>(
    (shape) => fc.tuple(fc.tuple(...shape.map(() => fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 1 })))), fc.constantFrom(0, 3)) as unknown as fc.Arbitrary<readonly [[number, number][], number]>,
    (x, paddings, constant) => (x.rank === 0 ? tf.clone(x) : tf.pad(x, paddings, constant)),
    { maxRank: 4, zero: false },
  ),
  tile: structural<[reps: number[]]>(
    (shape) => fc.tuple(fc.tuple(...shape.map(() => fc.constantFrom(0, 1, 1, 2, 3)))) as unknown as fc.Arbitrary<readonly [number[]]>,
    (x, reps) => (x.rank === 0 ? tf.clone(x) : tf.tile(x, reps)),
  ),
  reverse: structural<[axis?: number | readonly number[] | undefined]>(
    (shape) => someAxes(shape.length).map(([axis]) => [axis] as const),
    (x, axis) => (x.rank === 0 ? tf.clone(x) : tf.reverse(x, axis as number[])),
  ),
  broadcastTo: sample<[shape: number[]]>({
    calls: anyShape(0, false).chain((shape) => of(shrunk(shape)).map((x) => call([x], [[...shape]] as const))),
    tfjs: ([x], shape) => tf.broadcastTo(x!, shape),
    smooth: smallShape().chain((shape) => floats(shrunk(shape)).map((x) => call([x], [[...shape]] as const))),
  }),
  cast: sample<[DType]>({
    calls: fc.tuple(anyTensor(whole), dtype).map(([x, to]) => call([x], [to] as const)),
    tfjs: ([x], to) => {
      // Read from the values: to bool, tfjs's wasm backend keeps the low byte.
      const values = Array.from(x!.dataSync() as Float32Array)
      return tf.tensor(to === 'bool' ? Uint8Array.from(values, (v) => Number(v !== 0)) : makers[to].from(values), x!.shape, to)
    },
    smooth: floats(smallShape()).map((x) => call([x], ['float32'] as const)),
  }),
  clone: structural<[]>(() => fc.constant([] as const), (x) => tf.clone(x)),

  sum: reduction((x, axis, keepDims) => tf.sum(counted(x), axis, keepDims), { smooth: {} }),
  mean: reduction((x, axis, keepDims) => tf.mean(asFloat(x), axis, keepDims), { input: full(), smooth: {} }),
  min: reduction((x, axis, keepDims) => tf.min(counted(x), axis, keepDims), { input: full() }),
  max: reduction((x, axis, keepDims) => tf.max(counted(x), axis, keepDims), { input: full() }),
  prod: reduction((x, axis, keepDims) => tf.prod(counted(x), axis, keepDims), { input: anyTensor({ low: 1, high: 2 }), smooth: { low: 0.5, high: 1.5 } }),
  variance: reduction((x, axis, keepDims) => tf.moments(asFloat(x), axis, keepDims).variance, { input: full(), smooth: {} }),
  logSumExp: reduction((x, axis, keepDims) => tf.logSumExp(asFloat(x), axis, keepDims), { input: full() }),
  all: reduction((x, axis, keepDims) => tf.all(x, axis, keepDims), { input: bools(anyShape(0, false)), smooth: null }),
  any: reduction((x, axis, keepDims) => tf.any(x, axis, keepDims), { input: bools(anyShape(0, false)), smooth: null }),
  argMax: sample<[axis?: number]>({ calls: axisCalls(full(whole, 1)), tfjs: ([x], axis) => tf.argMax(counted(x!), axis) }),
  argMin: sample<[axis?: number]>({ calls: axisCalls(full(whole, 1)), tfjs: ([x], axis) => tf.argMin(counted(x!), axis) }),
  norm: sample<NormArgs>({
    calls: norms(full(whole)),
    tfjs: ([x], ord, axis, keepDims) => {
      const t = asFloat(x!)
      // tf.norm takes matrix axes from the front and in order, and no 'fro' of vectors.
      const axes = typeof axis === 'number' ? axis : axis?.map((a) => (a + t.rank) % t.rank)
      const list = typeof axes === 'number' ? 1 : axes?.length
      if (list === 0) return tf.abs(t)
      const inOrder = list !== 2 || (axes as number[])[0]! < (axes as number[])[1]!
      const swapped = inOrder ? t : tf.transpose(t, t.shape.map((_, i) => (i === (axes as number[])[0] ? (axes as number[])[1]! : i === (axes as number[])[1] ? (axes as number[])[0]! : i)))
      const result = tf.norm(swapped, ord === 'fro' && list !== 2 ? 'euclidean' : ord, inOrder ? axes : [(axes as number[])[1]!, (axes as number[])[0]!], keepDims)
      return t.rank === 0 || axes === undefined ? tf.reshape(result, keepDims ? t.shape.map(() => 1) : []) : result
    },
    smooth: norms(floats(smallShape(), { low: 0.5, high: 2, distinct: true })),
    units: 256,
  }),
  cumsum: sample<[axis?: number, exclusive?: boolean, reverse?: boolean]>({
    calls: cumsums(of(anyShape(1), whole)),
    tfjs: ([x], axis, exclusive, reverse) => tf.cumsum(counted(x!), axis === undefined ? 0 : (axis + x!.rank) % x!.rank, exclusive, reverse),
    smooth: cumsums(floats(smallShape(1))),
  }),
  topk: sample<[k: number, sorted: boolean]>({
    calls: full({ ...whole, distinct: true }, 1).chain((x) => fc.tuple(fc.integer({ min: 0, max: x.shape.at(-1)! }), fc.boolean()).map((args) => call([x], args))),
    tfjs: ([x], k, sorted) => {
      const { values, indices: places } = tf.topk(counted(x!), k, sorted)
      return [values, places]
    },
  }),

  exp: real(tf.exp, {}),
  expm1: real(tf.expm1, {}),
  log: real(tf.log, { low: 0.5, high: 4 }),
  log1p: real(tf.log1p, { low: -0.5, high: 4 }),
  sqrt: real(tf.sqrt, { low: 0.5, high: 4 }),
  rsqrt: real(tf.rsqrt, { low: 0.5, high: 4 }),
  reciprocal: real(tf.reciprocal, { low: 0.5, high: 4 }),
  sin: real(tf.sin, {}),
  cos: real(tf.cos, {}),
  tan: real(tf.tan, { low: -1, high: 1 }),
  erf: real(tf.erf, {}),
  sigmoid: real(tf.sigmoid, {}),
  tanh: real(tf.tanh, {}),
  elu: real(tf.elu, { avoid: [0] }),
  selu: real(tf.selu, { avoid: [0] }),
  softplus: real(tf.softplus, {}),
  gelu: { ...real((x) => tf.mul(x, tf.mul(0.5, tf.add(1, tf.erf(tf.div(x, Math.SQRT2))))), {}), units: 16 },
  relu: counting(tf.relu, { avoid: [0] }),
  abs: counting(tf.abs, { avoid: [0] }),
  neg: counting(tf.neg, {}),
  sign: counting(tf.sign, null),
  square: counting(tf.square, {}),
  round: counting(tf.round, null),
  floor: counting(tf.floor, null),
  ceil: counting(tf.ceil, null),
  isNaN: real(tf.isNaN, {}, null),
  isFinite: real(tf.isFinite, {}, null),
  leakyRelu: sample<[alpha?: number]>({
    calls: fc.tuple(anyTensor(), fc.constantFrom([], [0.3], [-1])).map(([x, args]) => call([x], args as readonly [alpha?: number])),
    tfjs: ([x], alpha) => tf.leakyRelu(asFloat(x!), alpha),
    smooth: fc.tuple(floats(smallShape(), { avoid: [0] }), fc.constantFrom([], [0.3])).map(([x, args]) => call([x], args as readonly [alpha?: number])),
  }),
  clipByValue: sample<[min: number, max: number]>({
    calls: fc.tuple(anyTensor(), fc.constantFrom([-1, 0.5] as const, [0, 0] as const)).map(([x, args]) => call([x], args)),
    tfjs: ([x], min, max) => tf.clipByValue(asFloat(x!), min, max),
    smooth: floats(smallShape(), { avoid: [-1, 0.5] }).map((x) => call([x], [-1, 0.5] as const)),
  }),
  where: sample({
    calls: wheres(anyShape(0, false), dtype),
    tfjs: ([a, condition, b]) => {
      const [x, y] = alike([a!, b!])
      return viaIntegers(x!, (t) => tf.where(condition!, t, counted(y!)))
    },
    smooth: wheres(smallShape(), fc.constant('float32')),
  }),
  oneHot: sample<[depth: number, onValue?: number, offValue?: number]>({
    calls: fc.tuple(ints(anyShape().filter(({ length }) => length < 6), { low: -1, high: 4 }), fc.integer({ min: 1, max: 4 }), fc.constantFrom([], [0.9, 0.1])).map(([x, depth, rest]) => call([x], [depth, ...rest] as readonly [number, number?, number?])),
    tfjs: ([x], depth, on = 1, off = 0) => tf.tensor(Float32Array.from(x!.dataSync() as Int32Array).reduce<number[]>((all, index) => all.concat(Array.from({ length: depth }, (_, i) => (i === index ? on : off))), []), [...x!.shape, depth], 'float32'),
  }),

  softmax: alongAxis((x) => tf.softmax(x)),
  logSoftmax: alongAxis((x) => tf.logSoftmax(x)),
  conv2d: convolution('conv2d'),
  depthwiseConv2d: convolution('depthwiseConv2d'),
  maxPool: pool('maxPool'),
  avgPool: pool('avgPool'),
  batchNorm: sample<[epsilon?: number]>({
    calls: normalisations(anyShape(1, false).filter(({ length }) => length >= 2 && length <= 4)),
    tfjs: ([x, mean, variance, offset, scale], epsilon = 0.001) => {
      const size = [x!.shape.at(-1)!] as [number]
      const [m, v, o, s] = [mean!, variance!, offset, scale].map((t) => t == null ? undefined : (tf.broadcastTo(t, size) as tf.Tensor1D))
      return tf.batchNorm(x as tf.Tensor4D, m!, v!, o, s, epsilon)
    },
    smooth: normalisations(smallShape(1)),
    units: 64,
  }),
  dropout: sample<[rate: number, seed: number]>({
    calls: fc.tuple(anyTensor(), fc.constantFrom(0, 0.25, 0.5), fc.integer({ min: 0, max: 1000 })).map(([x, rate, seed]) => call([x], [rate, seed] as const)),
    tfjs: ([x], rate, seed) => tf.dropout(asFloat(x!), rate, undefined, seed),
    smooth: fc.tuple(floats(smallShape()), fc.integer({ min: 0, max: 1000 })).map(([x, seed]) => call([x], [0.5, seed] as const)),
  }),
  addGaussianNoise: sample<[deviation: number, seedForTests: number]>({
    calls: fc.tuple(anyTensor(), fc.constantFrom(0, 0.25, 3), fc.integer({ min: 0, max: 1000 })).map(([x, deviation, seed]) => call([x], [deviation, seed] as const)),
    tfjs: ([x], deviation, seed) => tf.tensor(noisyByDefinition(Float32Array.from(x!.dataSync()), deviation, seed), x!.shape),
    // Rounded to a grid of 2^-20 of the deviation: 2^-13 of it in a difference over 2^-7, an eighth of the tolerance.
    smooth: fc.tuple(floats(smallShape()), fc.integer({ min: 0, max: 1000 })).map(([x, seed]) => call([x], [0.5, seed] as const)),
  }),

  nllLoss: classLoss((x) => x),
  softmaxCrossEntropy: classLoss((x) => tf.logSoftmax(x)),
  sigmoidCrossEntropy: elementLoss((y, p, w, r) => tf.losses.sigmoidCrossEntropy(y, p, w, 0, r), [{ avoid: [0] }, { low: 0, high: 1 }]),
  meanSquaredError: elementLoss(tf.losses.meanSquaredError, [{}, {}]),
  absoluteDifference: elementLoss(tf.losses.absoluteDifference, [{ grid: { step: 0.25, offset: 0 } }, { grid: { step: 0.25, offset: 0.125 } }]),
  huber: huber(),
} as const satisfies Record<OpName, OpSample>

/** Whether an operand of a call is free of zeros: bools and rounded ints have some. */
function nonzero(at: number): (c: Call) => boolean {
  return ({ operands }) => {
    const operand = operands[at]
    return typeof operand !== 'object' || operand === null || !operand.values.includes(0)
  }
}

/** Tensors of one dtype, the widest of theirs. */
function alike(xs: readonly tf.Tensor[]): tf.Tensor[] {
  const order = ['bool', 'int32', 'float32'] as const
  const dtype = order[Math.max(...xs.map((x) => order.indexOf(x.dtype as DType)))]!
  return xs.map((x) => tf.cast(x, dtype))
}

function products(most: number, only?: DType) {
  const size = fc.integer({ min: 1, max: most })
  const batches = broadcastPair(fc.oneof(fc.constant([]), fc.array(fc.constantFrom(1, 2), { maxLength: 2 })))
  return fc
    .tuple(
      batches,
      size,
      only ? size : fc.integer({ min: 0, max: most }),
      size,
      fc.boolean(),
      fc.boolean(),
      only ? fc.constant(only) : dtype,
      seeds,
      seeds,
    )
    .map(([[a, b], m, k, n, transposeA, transposeB, d, x, y]) =>
      call(
        [
          draw([...a, ...(transposeA ? [k, m] : [m, k])], d, x, {}),
          draw([...b, ...(transposeB ? [n, k] : [k, n])], 'float32', y, {}),
        ],
        [transposeA, transposeB] as const,
      ),
    )
}

function dots(dtypes: fc.Arbitrary<DType>) {
  const size = fc.integer({ min: 1, max: 3 })
  return fc
    .tuple(fc.array(size, { maxLength: 1 }), size, fc.array(size, { maxLength: 1 }), dtypes, seeds, seeds)
    .map(([m, k, n, d, x, y]) => noArgs([draw([...m, k], d, x, {}), draw([k, ...n], d, y, {})]))
}

function axisCalls(xs: fc.Arbitrary<TensorSample>) {
  return xs.chain((x) =>
    fc
      .oneof(fc.constant([] as const), fc.tuple(oneAxis(x.shape.length)))
      .map((args) => call([x], args as readonly [axis?: number | undefined])),
  )
}

function gathers(xs: fc.Arbitrary<TensorSample>) {
  return xs.chain((x) =>
    oneAxis(x.shape.length).chain((axis) =>
      indices(x.shape.at(axis < 0 ? axis : axis - x.shape.length)!, axisSizes(0, 2, false)).map((picks) =>
        call([x, picks], [axis] as const),
      ),
    ),
  )
}

function concats(dtypes: fc.Arbitrary<DType>) {
  return fc
    .tuple(
      fc.array(fc.constantFrom(1, 2), { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), dtypes, seeds), { minLength: 1, maxLength: 3 }),
      fc.boolean(),
    )
    .map(([shape, at, parts, back]) => {
      const axis = at % shape.length
      const xs = parts.map(([length, d, seed]) =>
        draw(
          shape.map((size, i) => (i === axis ? length : size)),
          d,
          seed,
          {},
        ),
      )
      return call(xs, [back ? axis - shape.length : axis] as const)
    })
}

function stacks(shapes: fc.Arbitrary<readonly number[]>, dtypes: fc.Arbitrary<DType>) {
  return fc.tuple(shapes, fc.array(fc.tuple(dtypes, seeds), { minLength: 1, maxLength: 3 })).chain(([shape, parts]) =>
    oneAxis(shape.length + 1).map((axis) =>
      call(
        parts.map(([d, seed]) => draw(shape, d, seed, {})),
        [axis] as const,
      ),
    ),
  )
}

function splits(xs: fc.Arbitrary<TensorSample>) {
  return xs.chain((x) =>
    oneAxis(x.shape.length).chain((axis) => {
      const size = x.shape.at(axis < 0 ? axis : axis - x.shape.length)!
      const equal = fc.constantFrom(...[1, 2, 3, 4].filter((parts) => size % parts === 0))
      const cuts = fc
        .integer({ min: 0, max: size })
        .chain((first) => fc.constantFrom([first, size - first], [first, -1], [-1, size - first]))
      return fc.oneof(equal, cuts).map((parts) => call([x], [parts, axis] as readonly [number | number[], number]))
    }),
  )
}

type NormArgs = [ord?: number | 'euclidean' | 'fro', axis?: number | readonly number[] | undefined, keepDims?: boolean]
function norms(xs: fc.Arbitrary<TensorSample>) {
  return xs.chain((x) =>
    fc
      .tuple(
        fc.constantFrom(undefined, 1, 2, Infinity, -Infinity, 'euclidean' as const, 'fro' as const),
        someAxes(x.shape.length),
        fc.boolean(),
      )
      .filter(
        ([ord, [axis]]) =>
          axis === undefined || typeof axis === 'number' || axis.length === 1 || (ord !== 2 && axis.length === 2),
      )
      .map(([ord, rest, swap]) => {
        const [axis, ...keep] = rest
        const ordered = Array.isArray(axis) && swap ? axis.toReversed() : axis
        return call([x], [ord, ordered, ...keep] as NormArgs)
      }),
  )
}

function cumsums(xs: fc.Arbitrary<TensorSample>) {
  return xs.chain((x) => fc.tuple(oneAxis(x.shape.length), fc.boolean(), fc.boolean()).map((args) => call([x], args)))
}

function wheres(shapes: fc.Arbitrary<readonly number[]>, dtypes: fc.Arbitrary<DType>) {
  return shapes.chain((shape) =>
    fc
      .tuple(shrunk(shape), shrunk(shape), dtypes, dtypes, seeds, seeds, seeds)
      .map(([a, b, d, e, x, y, z]) => noArgs([draw(a, d, x, {}), draw(shape, 'bool', z, {}), draw(b, e, y, {})])),
  )
}

function normalisations(shapes: fc.Arbitrary<readonly number[]>) {
  return shapes.chain((shape) =>
    fc
      .tuple(
        fc.array(fc.tuple(fc.boolean(), seeds), { minLength: 5, maxLength: 5 }),
        fc.constantFrom([], [0.01]),
        fc.boolean(),
        fc.boolean(),
      )
      .map(([parts, args, hasOffset, hasScale]) => {
        const [x, mean, variance, offset, scale] = parts.map(([scalar, seed], i) =>
          draw(i === 0 ? shape : scalar ? [] : [shape.at(-1)!], 'float32', seed, i === 2 ? { low: 0.5, high: 2 } : {}),
        )
        return call(
          [x!, mean!, variance!, hasOffset ? offset! : null, hasScale ? scale! : null],
          args as readonly [epsilon?: number],
        )
      }),
  )
}

function huber(): OpSample {
  type Args = [delta?: number, reduction?: Reduction]
  const calls = (shapes: fc.Arbitrary<readonly number[]>, a: Draw, b: Draw) =>
    fc
      .tuple(shapes, seeds, seeds, fc.constantFrom<Args>([], [0.75], [1.5, 'sum'], [1, 'none']))
      .map(([shape, x, y, args]) => call([draw(shape, 'float32', x, a), draw(shape, 'float32', y, b)], args))
  return sample<Args>({
    calls: calls(anyShape(0, false), {}, {}),
    tfjs: ([p, y], delta = 1, reduction = 'mean') => tf.losses.huberLoss(y!, p!, undefined, delta, inTfjs[reduction]),
    // Differences are odd eighths, so neither 0 nor any δ above.
    smooth: calls(smallShape(), { grid: { step: 0.25, offset: 0 } }, { grid: { step: 0.25, offset: 0.125 } }),
    units: 256,
  })
}
