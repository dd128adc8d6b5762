/**
 * The op table: every operation on tensors, one row each.
 *
 * From a row follow the local call, the pointer's method, the shape rule that runs at the caller, the allow-list of the
 * worker, and what secret sharing may do with it. A row says:
 *
 * - `inputs`: the tensors it takes; the first is the one whose method it is. `name?` may be left out, `name[]` is a list.
 * - `attrs`: what comes after the tensors. The function checks and completes it; the worker calls it again on what
 *   arrives, so nothing unchecked reaches a kernel.
 * - `spec`: shape and dtype of the result, or of the several results.
 * - `run`: the computation, in tfjs.
 * - `linearity`: on additive shares a linear op runs share by share, a bilinear one takes a triple, a nonlinear one
 *   needs a protocol.
 */
import { sottoError } from '../errors.ts'
import {
  axesArg,
  axisArg,
  booleanArg,
  dtypeArg,
  integerArg,
  numberArg,
  oneOfArg,
  paddingArg,
  pairArg,
  shapeArg,
} from './attrs.ts'
import { tf } from './engine.ts'
import { withGaussianNoise } from './gaussian-noise.ts'
import {
  broadcastShapes,
  concatShape,
  convShape,
  type DType,
  dilatedPadding,
  dotShape,
  MOST_PARTS,
  matMulShape,
  normalizeAxes,
  normalizeAxis,
  notEmpty,
  numeric,
  type PairOf,
  paddingFor,
  poolShape,
  ranked,
  reducedShape,
  reshapedShape,
  type Shape,
  type Spec,
  sameShape,
  shapeError,
  showShape,
  sizeOf,
  slicedShape,
  splitSizes,
  widest,
} from './shape.ts'

export type Linearity = 'linear' | 'bilinear' | 'nonlinear'
/** What a row computes on: tensors, or numbers as the caller wrote them (tfjs gives those their dtype). */
export type Value = tf.Tensor | number | boolean

export interface OpRow<
  Inputs extends readonly string[] = readonly string[],
  Args extends readonly unknown[] = readonly never[],
  Attrs = unknown,
  Result extends Spec | readonly Spec[] = Spec | readonly Spec[],
> {
  readonly inputs: Inputs
  readonly linearity: Linearity
  /** Whether the results follow the first operand smoothly, so that they have a gradient. */
  readonly differentiable: boolean
  /** Inputs of which numbers written as an array are taken for int32. */
  readonly integers?: readonly string[]
  attrs(...args: Args): Attrs
  spec(inputs: readonly Spec[], attrs: Attrs): Result
  run(inputs: readonly Value[], attrs: Attrs): Result extends readonly Spec[] ? tf.Tensor[] : tf.Tensor
}

/** Types a row; `differentiable` holds unless said otherwise. */
function op<
  const Inputs extends readonly string[],
  Args extends readonly unknown[],
  Attrs,
  Result extends Spec | readonly Spec[],
>(
  row: Omit<OpRow<Inputs, Args, Attrs, Result>, 'differentiable'> & { differentiable?: boolean },
): OpRow<Inputs, Args, Attrs, Result> {
  return { differentiable: true, ...row }
}

const none = () => ({})
type Unary = (x: tf.Tensor) => tf.Tensor
type Binary = (a: tf.Tensor, b: tf.Tensor) => tf.Tensor

const tensor = (x: Value): tf.Tensor => (typeof x === 'object' ? x : tf.scalar(x))
const float = (x: Value): tf.Tensor => {
  const t = tensor(x)
  return t.dtype === 'float32' ? t : tf.cast(t, 'float32')
}
/** Arithmetic on bools counts. */
const number = (x: Value): tf.Tensor => {
  const t = tensor(x)
  return t.dtype === 'bool' ? tf.cast(t, 'int32') : t
}

/** For kernels of the wasm backend that write four bytes for each bool, past the end of their tensor. */
const viaIntegers = (x: tf.Tensor, f: Unary): tf.Tensor =>
  x.dtype === 'bool' ? tf.cast(f(tf.cast(x, 'int32')), 'bool') : f(x)

const integer = (value: number) => tf.scalar(value, 'int32')
const negative = (x: tf.Tensor) => tf.sub(integer(0), x)

/** The sum of a gradient over what broadcasting repeated, in the shape that was broadcast. */
function unbroadcast(dy: tf.Tensor, shape: number[]): tf.Tensor {
  const more = dy.rank - shape.length
  const axes = dy.shape.flatMap((d, i) => (i < more || shape[i - more] !== d ? [i] : []))
  return tf.reshape(axes.length === 0 ? dy : tf.sum(dy, axes), shape)
}

/** As tf.broadcastTo, whose gradient (that of Tile) ends at rank 4 and takes a kernel or two per repetition. */
function spread(x: tf.Tensor, shape: Shape): tf.Tensor {
  if (sameShape(x.shape, shape)) return x
  return tf.customGrad((t: tf.Tensor | tf.GradSaveFunc) => ({
    value: sizeOf(shape) === 0 ? tf.zeros([...shape], x.dtype) : tf.broadcastTo(t as tf.Tensor, [...shape]),
    gradFunc: (dy: tf.Tensor) => unbroadcast(dy, x.shape),
  }))(x)
}

/** For kernels whose gradient in tfjs 4.22 forgets that an operand was broadcast. */
const alike =
  (f: Binary): Binary =>
  (a, b) => {
    if (sameShape(a.shape, b.shape)) return f(a, b)
    const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape)
    return f(spread(a, shape), spread(b, shape))
  }

/** For the other kernels: in the gradient, tfjs does not see that an axis of length 1 was broadcast to one of length 0. */
const broadcasting =
  (f: Binary): Binary =>
  (a, b) =>
    a.size === 0 || b.size === 0 ? alike(f)(a, b) : f(a, b)

const squareOf = (x: tf.Tensor) => (x.dtype === 'int32' ? tf.mul(x, x) : tf.square(x))

/** x ↦ f(x), elementwise, computed and given in float32. */
const real = (f: Unary, differentiable = true) =>
  op({
    inputs: ['x'],
    linearity: 'nonlinear',
    differentiable,
    attrs: none,
    spec: ([x]) => ({ shape: x!.shape, dtype: 'float32' }),
    run: ([x]) => f(float(x!)),
  })

/** x ↦ f(x), elementwise; on int32 another function, exact for every int32, as several wasm kernels know float32 only. */
const counting = (f: Unary, onIntegers: Unary, linearity: Linearity = 'nonlinear', differentiable = true) =>
  op({
    inputs: ['x'],
    linearity,
    differentiable,
    attrs: none,
    spec: ([x]) => ({ shape: x!.shape, dtype: numeric(x!.dtype) }),
    run: ([x]) => {
      const t = number(x!)
      return t.dtype === 'int32' ? onIntegers(t) : f(t)
    },
  })

/** Elementwise arithmetic with broadcasting; the wider dtype wins. */
const arithmetic = (name: string, f: Binary, linearity: Linearity) =>
  op({
    inputs: ['a', 'b'],
    linearity,
    attrs: none,
    spec: ([a, b]) => ({
      shape: broadcastShapes(name, a!.shape, b!.shape),
      dtype: numeric(widest(a!.dtype, b!.dtype)),
    }),
    run: ([a, b]) => broadcasting(f)(number(a!), number(b!)),
  })

/** Elementwise comparison with broadcasting; gives bool. */
const comparison = (name: string, f: Binary) =>
  op({
    inputs: ['a', 'b'],
    linearity: 'nonlinear',
    differentiable: false,
    attrs: none,
    spec: ([a, b]) => ({ shape: broadcastShapes(name, a!.shape, b!.shape), dtype: 'bool' }),
    run: ([a, b]) => f(number(a!), number(b!)),
  })

const logical = (name: string, f: Binary) =>
  op({
    inputs: ['a', 'b'],
    linearity: 'nonlinear',
    differentiable: false,
    attrs: none,
    spec: ([a, b]) => {
      for (const x of [a!, b!]) onlyBool(name, x)
      return { shape: broadcastShapes(name, a!.shape, b!.shape), dtype: 'bool' }
    },
    run: ([a, b]) => f(tensor(a!), tensor(b!)),
  })

function onlyBool(name: string, { dtype }: Spec): void {
  if (dtype !== 'bool') {
    throw sottoError('ERR_DTYPE', `${name}: takes bool, got ${dtype}; compare first, or .cast('bool')`, {
      op: name,
      dtype,
    })
  }
}

type Axes = number | readonly number[]

/** A reduction over the axes given, or over all of them. */
const reduction = (
  name: string,
  f: (x: tf.Tensor, axis: number[] | undefined, keepDims: boolean) => tf.Tensor,
  {
    linearity = 'nonlinear',
    dtype = numeric,
    differentiable = true,
    ofNothing = false,
    only,
  }: {
    linearity?: Linearity
    dtype?: (dtype: DType) => DType
    differentiable?: boolean
    /** Whether it has a value over no elements at all. */
    ofNothing?: boolean
    only?: (name: string, spec: Spec) => void
  } = {},
) =>
  op({
    inputs: ['x'],
    linearity,
    differentiable,
    attrs: (axis?: Axes, keepDims: boolean = false) => ({
      axis: axesArg(name, axis),
      keepDims: booleanArg(name, 'keepDims', keepDims),
    }),
    spec: ([x], { axis, keepDims }): Spec => {
      only?.(name, x!)
      if (!ofNothing) notEmpty(name, x!.shape)
      return { shape: reducedShape(name, x!.shape, axis, keepDims), dtype: dtype(x!.dtype) }
    },
    run: ([x], { axis, keepDims }) => {
      const t = only ? tensor(x!) : number(x!)
      // Counted from the front and in order: the gradient of Prod understands no other.
      return f(t, axis && normalizeAxes(name, axis, t.rank).sort((a, b) => a - b), keepDims)
    },
  })

/** The index of the largest or smallest element along one axis. */
const indexOf = (name: string, f: (x: tf.Tensor, axis: number) => tf.Tensor) =>
  op({
    inputs: ['x'],
    linearity: 'nonlinear',
    differentiable: false,
    attrs: (axis: number = 0) => ({ axis: axisArg(name, axis) }),
    spec: ([x], { axis }): Spec => {
      notEmpty(name, x!.shape)
      return { shape: reducedShape(name, x!.shape, axis, false), dtype: 'int32' }
    },
    run: ([x], { axis }) => f(number(x!), axis),
  })

/** A change of shape alone; any dtype, linear. */
const structural = <Args extends readonly unknown[], Attrs>(
  attrs: (...args: Args) => Attrs,
  shape: (x: Shape, attrs: Attrs) => Shape,
  f: (x: tf.Tensor, attrs: Attrs, shape: number[]) => tf.Tensor,
) =>
  op({
    inputs: ['x'],
    linearity: 'linear',
    attrs,
    spec: ([x], a): Spec => ({ shape: shape(x!.shape, a), dtype: x!.dtype }),
    run: ([x], a) => f(tensor(x!), a, [...shape(tensor(x!).shape, a)]),
  })

/** Along one axis, the last if none is given; float32. */
const alongAxis = (name: string, f: (x: tf.Tensor, axis: number) => tf.Tensor) =>
  op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (axis: number = -1) => ({ axis: axisArg(name, axis) }),
    spec: ([x], { axis }): Spec => {
      normalizeAxis(name, axis, x!.shape.length)
      return { shape: x!.shape, dtype: 'float32' }
    },
    run: ([x], { axis }) => f(float(x!), normalizeAxis(name, axis, tensor(x!).rank)),
  })

export const reductions = ['mean', 'sum', 'none'] as const
export type Reduction = (typeof reductions)[number]

const reduceLoss = (losses: tf.Tensor, reduction: Reduction): tf.Tensor =>
  reduction === 'mean' ? tf.mean(losses) : reduction === 'sum' ? tf.sum(losses) : losses
function lossSpec(name: string, shape: Shape, reduction: Reduction): Spec {
  if (reduction === 'mean') notEmpty(name, shape)
  return { shape: reduction === 'none' ? shape : [], dtype: 'float32' }
}

/** A loss taken element by element between predictions and labels of one shape, then reduced. */
const elementLoss = (name: string, f: (predictions: tf.Tensor, labels: tf.Tensor) => tf.Tensor) =>
  op({
    inputs: ['predictions', 'labels'],
    linearity: 'nonlinear',
    attrs: (reduction: Reduction = 'mean') => ({ reduction: oneOfArg(name, 'reduction', reduction, reductions) }),
    spec: ([p, y], { reduction }): Spec => {
      if (!sameShape(p!.shape, y!.shape)) {
        throw shapeError(name, `predictions ${showShape(p!.shape)} and labels ${showShape(y!.shape)} differ in shape`)
      }
      return lossSpec(name, p!.shape, reduction)
    },
    run: ([p, y], { reduction }) => reduceLoss(f(float(p!), float(y!)), reduction),
  })

/** A loss per row of class scores [n, classes] against class numbers [n] or one-hot rows [n, classes]. */
const classLoss = (name: string, logProbabilities: Unary) =>
  op({
    inputs: ['scores', 'labels'],
    linearity: 'nonlinear',
    attrs: (reduction: Reduction = 'mean') => ({ reduction: oneOfArg(name, 'reduction', reduction, reductions) }),
    spec: ([scores, labels], { reduction }): Spec => {
      const { shape } = scores!
      if (shape.length !== 2 || shape[1] === 0) {
        throw shapeError(name, `scores must be [n, classes], got ${showShape(shape)}`, shape)
      }
      const classNumbers = sameShape(labels!.shape, shape.slice(0, 1))
      if (!classNumbers && !sameShape(labels!.shape, shape)) {
        throw shapeError(
          name,
          `labels must be class numbers [${shape[0]}] or one-hot rows ${showShape(shape)}, got ${showShape(labels!.shape)}`,
          shape,
          labels!.shape,
        )
      }
      return lossSpec(name, shape.slice(0, 1), reduction)
    },
    run: ([scores, labels], { reduction }) => {
      const x = logProbabilities(float(scores!))
      const y = tensor(labels!)
      // With class numbers the other classes are left out rather than multiplied by 0: log 0 times 0 would be NaN.
      const chosen =
        y.rank === 2 ? tf.mul(float(y), x) : tf.where(isIndex(tf.cast(y, 'int32'), x.shape[1]!), x, tf.zerosLike(x))
      return reduceLoss(tf.neg(tf.sum(chosen, 1)), reduction)
    },
  })

const pool = (name: 'maxPool' | 'avgPool') =>
  op({
    inputs: ['x'],
    linearity: name === 'avgPool' ? 'linear' : 'nonlinear',
    attrs: (filterSize: PairOf, strides: PairOf = filterSize, pad: 'same' | 'valid' | number = 'valid') => ({
      filterSize: pairArg(name, 'filterSize', filterSize),
      strides: pairArg(name, 'strides', strides),
      pad: paddingArg(name, pad),
    }),
    spec: ([x], a): Spec => ({ shape: poolShape(name, x!.shape, a), dtype: 'float32' }),
    run: ([x], { filterSize, strides, pad }) => {
      const images = float(x!) as tf.Tensor4D
      if (name === 'maxPool') return tf.maxPool(images, filterSize, strides, paddingFor(pad))
      const { padInfo } = tf.backend_util.computePool2DInfo(images.shape, filterSize, strides, 1, paddingFor(pad))
      const { top, bottom, left, right } = padInfo
      if (top + bottom + left + right === 0) return tf.avgPool(images, filterSize, strides, 'valid')
      // The mean is over the pixels of the image; the gradient in tfjs 4.22 takes the padding for some of them.
      const mean = (t: tf.Tensor4D) =>
        tf.avgPool(
          tf.pad(t, [
            [0, 0],
            [top, bottom],
            [left, right],
            [0, 0],
          ]),
          filterSize,
          strides,
          'valid',
        )
      const [, height, width] = images.shape
      return tf.div(mean(images), mean(tf.ones([1, height, width, 1])))
    },
  })

const convolution = (name: 'conv2d' | 'depthwiseConv2d') =>
  op({
    inputs: ['x', 'filter'],
    linearity: 'bilinear',
    attrs: (
      strides: PairOf = 1,
      pad: 'same' | 'valid' | number = 'valid',
      dataFormat: 'NHWC' = 'NHWC',
      dilations: PairOf = 1,
    ) => {
      oneOfArg(name, 'dataFormat', dataFormat, ['NHWC'])
      const attrs = {
        strides: pairArg(name, 'strides', strides),
        pad: paddingArg(name, pad),
        dilations: pairArg(name, 'dilations', dilations),
      }
      if (Math.max(...attrs.strides) > 1 && Math.max(...attrs.dilations) > 1) {
        throw sottoError('ERR_ARGUMENT_VALUE', `${name}: strides and dilations cannot both be above 1`, { op: name })
      }
      return attrs
    },
    spec: ([x, filter], a): Spec => ({
      shape: convShape(name, x!.shape, filter!.shape, a, name === 'depthwiseConv2d'),
      dtype: 'float32',
    }),
    run: ([x, filter], { strides, pad, dilations }) => {
      const images = float(x!) as tf.Tensor4D
      const taps = float(filter!) as tf.Tensor4D
      if (dilations[0] === 1 && dilations[1] === 1) return tf[name](images, taps, [...strides], paddingFor(pad))
      // tfjs has no gradient for dilated convolutions. One dilated by d is a plain one on each of the d² images that
      // take every d-th pixel; that is how it is computed here.
      const { before, after } = dilatedPadding(images.shape, taps.shape, pad, dilations)
      const rest = before.map((edge, i) => {
        const length = edge + images.shape[i + 1]! + after[i]!
        return Math.ceil(length / dilations[i]!) * dilations[i]! - length
      })
      const margins = before.map((edge, i) => [edge, after[i]! + rest[i]!])
      const blocks = tf.spaceToBatchND(images, [...dilations], margins) as tf.Tensor4D
      const crops = rest.map((length) => [0, length])
      return tf.batchToSpaceND(tf[name](blocks, taps, 1, 'valid'), [...dilations], crops)
    },
  })

const GELU_SCALE = Math.SQRT1_2

export const ops = {
  // Arithmetic, elementwise with broadcasting.

  /** a + b. */
  add: arithmetic('add', tf.add, 'linear'),
  /** a − b. */
  sub: arithmetic('sub', tf.sub, 'linear'),
  /** a · b. On shares: one triple, one round. */
  mul: arithmetic('mul', tf.mul, 'bilinear'),
  /** a / b; of two int32 the quotient rounded down, as in tfjs. */
  div: arithmetic('div', tf.div, 'nonlinear'),
  /** The quotient rounded down. */
  floorDiv: {
    ...arithmetic(
      'floorDiv',
      // Of floats, the cpu backend would give int32.
      (a, b) => (a.dtype === 'int32' && b.dtype === 'int32' ? tf.floorDiv(a, b) : tf.floor(tf.div(float(a), float(b)))),
      'nonlinear',
    ),
    differentiable: false,
  },
  /** The remainder with the sign of b. */
  mod: arithmetic('mod', tf.mod, 'nonlinear'),
  /** a to the power b. */
  pow: arithmetic('pow', tf.pow, 'nonlinear'),
  /** The larger of a and b. */
  maximum: arithmetic('maximum', alike(tf.maximum), 'nonlinear'),
  /** The smaller of a and b. */
  minimum: arithmetic('minimum', alike(tf.minimum), 'nonlinear'),
  /** (a − b)². */
  squaredDifference: arithmetic('squaredDifference', (a, b) => squareOf(tf.sub(a, b)), 'bilinear'),

  // Comparison, elementwise with broadcasting; bool.

  equal: comparison('equal', tf.equal),
  notEqual: comparison('notEqual', tf.notEqual),
  greater: comparison('greater', tf.greater),
  greaterEqual: comparison('greaterEqual', tf.greaterEqual),
  less: comparison('less', tf.less),
  lessEqual: comparison('lessEqual', tf.lessEqual),
  logicalAnd: logical('logicalAnd', tf.logicalAnd),
  logicalOr: logical('logicalOr', tf.logicalOr),
  logicalXor: logical('logicalXor', tf.logicalXor),
  logicalNot: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    differentiable: false,
    attrs: none,
    spec: ([x]): Spec => {
      onlyBool('logicalNot', x!)
      return x!
    },
    run: ([x]) => tf.logicalNot(tensor(x!)),
  }),

  // Products.

  /** Matrix product of [..., m, k] and [..., k, n], each transposed first if asked. */
  matMul: op({
    inputs: ['a', 'b'],
    linearity: 'bilinear',
    attrs: (transposeA: boolean = false, transposeB: boolean = false) => ({
      transposeA: booleanArg('matMul', 'transposeA', transposeA),
      transposeB: booleanArg('matMul', 'transposeB', transposeB),
    }),
    spec: ([a, b], { transposeA, transposeB }): Spec => ({
      shape: matMulShape('matMul', a!.shape, b!.shape, transposeA, transposeB),
      dtype: 'float32',
    }),
    run: ([a, b], { transposeA, transposeB }) => {
      const [x, y] = [float(a!), float(b!)]
      const [batchX, batchY] = [x.shape.slice(0, -2), y.shape.slice(0, -2)]
      if (sameShape(batchX, batchY)) return tf.matMul(x, y, transposeA, transposeB)
      // tfjs 4.22 would take the batches in the wrong order, and forget in the gradient that it repeated them.
      const batch = tf.broadcast_util.assertAndGetBroadcastShape(batchX, batchY)
      const whole = (t: tf.Tensor) => spread(t, [...batch, ...t.shape.slice(-2)])
      return tf.matMul(whole(x), whole(y), transposeA, transposeB)
    },
  }),
  /** Product of vectors and matrices: over the last axis of a and the first of b. */
  dot: op({
    inputs: ['a', 'b'],
    linearity: 'bilinear',
    attrs: none,
    spec: ([a, b]): Spec => ({ shape: dotShape(a!.shape, b!.shape), dtype: 'float32' }),
    run: ([a, b]) => tf.dot(float(a!), float(b!)),
  }),
  /** All products of the elements of two vectors: [m] and [n] give [m, n]. */
  outer: op({
    inputs: ['a', 'b'],
    linearity: 'bilinear',
    attrs: none,
    spec: ([a, b]): Spec => {
      if (a!.shape.length !== 1 || b!.shape.length !== 1) {
        throw shapeError('outer', `needs two vectors, got ${showShape(a!.shape)} and ${showShape(b!.shape)}`)
      }
      return { shape: [a!.shape[0]!, b!.shape[0]!], dtype: 'float32' }
    },
    run: ([a, b]) => tf.outerProduct(float(a!) as tf.Tensor1D, float(b!) as tf.Tensor1D),
  }),

  // Shape.

  /** Permutes the axes; reverses them when no permutation is given. */
  transpose: structural(
    (perm?: readonly number[]) => ({ perm: perm == null ? undefined : shapeArg('transpose', 'perm', perm) }),
    (x, { perm }) => {
      if (perm === undefined) return [...x].reverse()
      if (perm.length !== x.length || perm.some((_, i) => !perm.includes(i))) {
        throw shapeError('transpose', `[${perm}] is no permutation of the axes of ${showShape(x)}`, x)
      }
      return perm.map((axis) => x[axis]!)
    },
    (x, { perm }) => tf.transpose(x, perm),
  ),
  /** The same elements in another shape; one dimension may be −1. */
  reshape: structural(
    (shape: readonly number[]) => ({ shape: shapeArg('reshape', 'shape', shape) }),
    (x, { shape }) => reshapedShape('reshape', x, shape),
    (x, _, shape) => tf.reshape(x, shape),
  ),
  /** One axis. */
  flatten: structural(
    none,
    (x) => [sizeOf(x)],
    (x, _, shape) => tf.reshape(x, shape),
  ),
  /** A new axis of size 1. */
  expandDims: structural(
    (axis: number = 0) => ({ axis: axisArg('expandDims', axis) }),
    (x, { axis }) => {
      const at = normalizeAxis('expandDims', axis, x.length + 1)
      return ranked('expandDims', [...x.slice(0, at), 1, ...x.slice(at)])
    },
    (x, _, shape) => tf.reshape(x, shape),
  ),
  /** Without the axes of size 1: those given, or all. */
  squeeze: structural(
    (axis?: Axes) => ({ axis: axesArg('squeeze', axis) }),
    (x, { axis }) => {
      const axes = axis && normalizeAxes('squeeze', axis, x.length)
      const wrong = axes?.find((a) => x[a] !== 1)
      if (wrong !== undefined) throw shapeError('squeeze', `axis ${wrong} of ${showShape(x)} is not 1`, x)
      return x.filter((d, i) => (axes === undefined ? d !== 1 : !axes.includes(i)))
    },
    (x, _, shape) => tf.reshape(x, shape),
  ),
  /** The block that starts at `begin` and is `size` long on each axis (−1: to the end). */
  slice: structural(
    (begin: number | readonly number[], size?: number | readonly number[]) => ({
      begin: shapeArg('slice', 'begin', typeof begin === 'number' ? [begin] : begin),
      size: size == null ? [] : shapeArg('slice', 'size', typeof size === 'number' ? [size] : size),
    }),
    (x, { begin, size }) => {
      if (begin.length > x.length || size.length > x.length) {
        throw shapeError('slice', `begin [${begin}] and size [${size}] have more axes than ${showShape(x)}`, x)
      }
      return slicedShape(x, begin, size)
    },
    (x, { begin }, shape) => {
      if (x.rank === 0) return tf.clone(x)
      const from = shape.map((_, i) => begin[i] ?? 0)
      return tf.slice(x, from, shape)
    },
  ),
  /** The slices of an axis that the indices name. */
  gather: op({
    inputs: ['x', 'indices'],
    integers: ['indices'],
    linearity: 'linear',
    attrs: (axis: number = 0) => ({ axis: axisArg('gather', axis) }),
    spec: ([x, indices], { axis }): Spec => {
      if (indices!.dtype !== 'int32') {
        throw sottoError('ERR_DTYPE', `gather: indices must be int32, got ${indices!.dtype}`, { op: 'gather' })
      }
      const at = normalizeAxis('gather', axis, x!.shape.length)
      const shape = [...x!.shape.slice(0, at), ...indices!.shape, ...x!.shape.slice(at + 1)]
      return { shape: ranked('gather', shape), dtype: x!.dtype }
    },
    run: ([x, indices], { axis }) => {
      const [t, picks] = [tensor(x!), tensor(indices!)]
      const at = normalizeAxis('gather', axis, t.rank)
      const length = t.shape[at]!
      // Not left to the kernels: their message names the index, which may be somebody's secret.
      if (picks.dataSync().some((index) => !(index >= 0 && index < length))) {
        throw sottoError('ERR_ARGUMENT_VALUE', `gather: an index is outside axis ${at} of ${showShape(t.shape)}`, {
          op: 'gather',
        })
      }
      const shape = [...t.shape.slice(0, at), ...picks.shape, ...t.shape.slice(at + 1)]
      // Of an empty tensor, the wasm backend gives another shape.
      return tf.reshape(tf.gather(t, picks, at), shape)
    },
  }),
  /** Joins tensors along an axis. */
  concat: op({
    inputs: ['x', 'others[]'],
    linearity: 'linear',
    attrs: (axis: number = 0) => ({ axis: axisArg('concat', axis) }),
    spec: (inputs, { axis }): Spec => ({
      shape: concatShape(
        'concat',
        inputs.map(({ shape }) => shape),
        axis,
      ),
      dtype: inputs.map(({ dtype }) => dtype).reduce(widest),
    }),
    run: (inputs, { axis }) => tf.concat(sameDType(inputs), axis),
  }),
  /** Joins tensors of one shape along a new axis. */
  stack: op({
    inputs: ['x', 'others[]'],
    linearity: 'linear',
    attrs: (axis: number = 0) => ({ axis: axisArg('stack', axis) }),
    spec: (inputs, { axis }): Spec => {
      const { shape } = inputs[0]!
      const other = inputs.find((input) => !sameShape(input.shape, shape))
      if (other)
        throw shapeError('stack', `${showShape(shape)} and ${showShape(other.shape)} differ`, shape, other.shape)
      const at = normalizeAxis('stack', axis, shape.length + 1)
      return {
        shape: ranked('stack', [...shape.slice(0, at), inputs.length, ...shape.slice(at)]),
        dtype: inputs.map(({ dtype }) => dtype).reduce(widest),
      }
    },
    run: (inputs, { axis }) => {
      const tensors = sameDType(inputs)
      return tf.stack(tensors, normalizeAxis('stack', axis, tensors[0]!.rank + 1))
    },
  }),
  /** The slices along an axis, one tensor each. */
  unstack: op({
    inputs: ['x'],
    linearity: 'linear',
    attrs: (axis: number = 0) => ({ axis: axisArg('unstack', axis) }),
    spec: ([x], { axis }): readonly Spec[] => {
      const at = normalizeAxis('unstack', axis, x!.shape.length)
      if (x!.shape[at]! > MOST_PARTS) {
        throw shapeError('unstack', `axis ${at} of ${showShape(x!.shape)} is longer than ${MOST_PARTS}`, x!.shape)
      }
      const spec = { shape: x!.shape.filter((_, i) => i !== at), dtype: x!.dtype }
      return Array.from({ length: x!.shape[at]! }, () => spec)
    },
    run: ([x], { axis }) => {
      const t = tensor(x!)
      const at = normalizeAxis('unstack', axis, t.rank)
      // The gradients of one part alone, of unstack and of split, throw in tfjs 4.22.
      return t.shape[at] === 1 ? [tf.squeeze(t, [at])] : tf.unstack(t, at)
    },
  }),
  /** Equal parts of an axis, or parts of the sizes given. */
  split: op({
    inputs: ['x'],
    linearity: 'linear',
    attrs: (parts: number | readonly number[], axis: number = 0) => ({
      parts: typeof parts === 'number' ? integerArg('split', 'parts', parts) : shapeArg('split', 'parts', parts),
      axis: axisArg('split', axis),
    }),
    spec: ([x], { parts, axis }): readonly Spec[] => {
      const at = normalizeAxis('split', axis, x!.shape.length)
      return splitSizes(x!.shape, parts, at).map((size) => ({
        shape: x!.shape.map((d, i) => (i === at ? size : d)),
        dtype: x!.dtype,
      }))
    },
    run: ([x], { parts, axis }) => {
      const t = tensor(x!)
      const at = normalizeAxis('split', axis, t.rank)
      const sizes = splitSizes(t.shape, parts, at)
      return sizes.length === 1 ? [tf.clone(t)] : tf.split(t, sizes, at)
    },
  }),
  /** Surrounds with a constant: [before, after] for each axis. */
  pad: structural(
    (paddings: readonly (readonly [number, number])[], constant: number = 0) => {
      if (!Array.isArray(paddings)) {
        throw sottoError('ERR_ARGUMENT_TYPE', 'pad: paddings must be a list of [before, after]', { op: 'pad' })
      }
      return {
        paddings: paddings.map((pair) => {
          const [before, after, ...rest] = shapeArg('pad', 'paddings', pair)
          if (before === undefined || after === undefined || rest.length > 0 || before < 0 || after < 0) {
            throw sottoError('ERR_ARGUMENT_VALUE', 'pad: each padding must be [before, after], both from 0', {
              op: 'pad',
            })
          }
          return [before, after] as [number, number]
        }),
        constant: numberArg('pad', 'constant', constant),
      }
    },
    (x, { paddings }) => {
      if (paddings.length !== x.length) {
        throw shapeError('pad', `${paddings.length} paddings for the ${x.length} axes of ${showShape(x)}`, x)
      }
      return x.map((d, i) => paddings[i]![0] + d + paddings[i]![1])
    },
    (x, { paddings, constant }) =>
      x.rank === 0 ? tf.clone(x) : tf.pad(x, paddings, x.dtype === 'bool' ? Number(constant !== 0) : constant),
  ),
  /** Repeats each axis so many times. */
  tile: structural(
    (reps: readonly number[]) => ({ reps: shapeArg('tile', 'reps', reps) }),
    (x, { reps }) => {
      if (reps.length !== x.length || reps.some((r) => r < 0)) {
        throw shapeError('tile', `[${reps}] must give a count from 0 for each axis of ${showShape(x)}`, x)
      }
      return x.map((d, i) => d * reps[i]!)
    },
    (x, { reps }) => (x.rank === 0 ? tf.clone(x) : tiled(x, reps)),
  ),
  /** Backwards along the axes given, or along all. */
  reverse: structural(
    (axis?: Axes) => ({ axis: axesArg('reverse', axis) }),
    (x, { axis }) => {
      normalizeAxes('reverse', axis, x.length)
      return x
    },
    (x, { axis }) => {
      if (x.rank === 0) return tf.clone(x)
      return viaIntegers(x, (t) => tf.reverse(t, normalizeAxes('reverse', axis, x.rank)))
    },
  ),
  /** Repeated to a larger shape by the rules of broadcasting. */
  broadcastTo: structural(
    (shape: readonly number[]) => ({ shape: shapeArg('broadcastTo', 'shape', shape) }),
    (x, { shape }) => {
      if (shape.some((d) => d < 1)) throw shapeError('broadcastTo', `to ${showShape(shape)}: sizes start at 1`, shape)
      if (!sameShape(broadcastShapes('broadcastTo', x, shape), shape)) {
        throw shapeError('broadcastTo', `${showShape(x)} does not broadcast to ${showShape(shape)}`, x, shape)
      }
      return ranked('broadcastTo', shape)
    },
    (x, _, shape) => (sameShape(x.shape, shape) ? tf.clone(x) : spread(x, shape)),
  ),
  /** The same values in another dtype; towards zero to int32. */
  cast: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (dtype: DType) => ({ dtype: dtypeArg('cast', dtype) }),
    spec: ([x], { dtype }): Spec => ({ shape: x!.shape, dtype }),
    // To bool, the wasm backend would keep the low byte.
    run: ([x], { dtype }) => {
      const t = tensor(x!)
      return dtype === 'bool' && t.dtype !== 'bool' ? tf.notEqual(t, tf.scalar(0, t.dtype)) : tf.cast(t, dtype)
    },
  }),
  /** The same values again. */
  clone: structural(
    none,
    (x) => x,
    (x) => tf.clone(x),
  ),

  // Reductions.

  /** Sum over axes; bools are counted. */
  sum: reduction('sum', tf.sum, { linearity: 'linear', ofNothing: true }),
  /** Arithmetic mean over axes; float32. */
  mean: reduction('mean', (x, axis, keepDims) => tf.mean(float(x), axis, keepDims), {
    linearity: 'linear',
    dtype: () => 'float32',
  }),
  min: reduction('min', tf.min),
  max: reduction('max', tf.max),
  prod: reduction('prod', productOf, { ofNothing: true }),
  /** Variance over axes, of the whole population; float32. */
  variance: reduction('variance', (x, axis, keepDims) => tf.moments(float(x), axis, keepDims).variance, {
    dtype: () => 'float32',
  }),
  /** log Σ exp, without overflow; float32. */
  logSumExp: reduction('logSumExp', (x, axis, keepDims) => tf.logSumExp(float(x), axis, keepDims), {
    dtype: () => 'float32',
  }),
  all: reduction('all', allOf, { dtype: () => 'bool', differentiable: false, ofNothing: true, only: onlyBool }),
  any: reduction('any', tf.any, { dtype: () => 'bool', differentiable: false, ofNothing: true, only: onlyBool }),
  argMax: indexOf('argMax', tf.argMax),
  argMin: indexOf('argMin', tf.argMin),
  /** Norm over axes: 1, 2, ∞, −∞, 'euclidean' or 'fro'; float32. */
  norm: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (ord: number | 'euclidean' | 'fro' = 'euclidean', axis?: Axes, keepDims: boolean = false) => ({
      ord: typeof ord === 'number' ? ord : oneOfArg('norm', 'ord', ord, ['euclidean', 'fro'] as const),
      axis: axesArg('norm', axis),
      keepDims: booleanArg('norm', 'keepDims', keepDims),
    }),
    spec: ([x], { ord, axis, keepDims }): Spec => {
      const vector = axis === undefined || axis.length === 1
      const known = vector
        ? [1, 2, Infinity, -Infinity, 'euclidean', 'fro']
        : [1, Infinity, -Infinity, 'euclidean', 'fro']
      if (!known.includes(ord) || (axis !== undefined && axis.length > 2)) {
        throw sottoError('ERR_ARGUMENT_VALUE', `norm: no norm ${ord} over ${vector ? 'one axis' : `axes [${axis}]`}`, {
          op: 'norm',
        })
      }
      notEmpty('norm', x!.shape)
      return { shape: reducedShape('norm', x!.shape, axis, keepDims), dtype: 'float32' }
    },
    // Composed: tf.norm counts matrix axes from the front only, in ascending order only, and knows no 'fro' of vectors.
    run: ([x], { ord, axis, keepDims }) => {
      const t = float(x!)
      const axes = normalizeAxes('norm', axis, t.rank)
      const matrix = axis?.length === 2
      const folded = (result: tf.Tensor) => tf.reshape(result, [...reducedShape('norm', t.shape, axis, keepDims)])
      if (ord === 1 || ord === Infinity || ord === -Infinity) {
        const magnitudes = tf.abs(t)
        const [rows, columns] = axes as [number, number]
        const sums = matrix ? tf.sum(magnitudes, ord === 1 ? rows : columns, true) : magnitudes
        if (ord === 1) return folded(matrix ? tf.max(sums, columns, true) : tf.sum(sums, axes, true))
        const over = matrix ? [rows] : axes
        return folded(ord === Infinity ? tf.max(sums, over, true) : tf.min(sums, over, true))
      }
      return folded(tf.sqrt(tf.sum(tf.square(t), axes, true)))
    },
  }),
  /** Running sum along an axis. */
  cumsum: op({
    inputs: ['x'],
    linearity: 'linear',
    attrs: (axis: number = 0, exclusive: boolean = false, reverse: boolean = false) => ({
      axis: axisArg('cumsum', axis),
      exclusive: booleanArg('cumsum', 'exclusive', exclusive),
      reverse: booleanArg('cumsum', 'reverse', reverse),
    }),
    spec: ([x], { axis }): Spec => {
      normalizeAxis('cumsum', axis, x!.shape.length)
      return { shape: x!.shape, dtype: numeric(x!.dtype) }
    },
    run: ([x], { axis, exclusive, reverse }) => {
      const t = number(x!)
      const at = normalizeAxis('cumsum', axis, t.rank)
      // Its gradient in tfjs 4.22 comes out transposed unless the axis is the last.
      return tf.customGrad((given: tf.Tensor | tf.GradSaveFunc) => ({
        value: tf.cumsum(given as tf.Tensor, at, exclusive, reverse),
        gradFunc: (dy: tf.Tensor) => tf.cumsum(dy, at, exclusive, !reverse),
      }))(t)
    },
  }),
  /** The k largest elements of the last axis, and their indices (int32). */
  topk: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    differentiable: false,
    attrs: (k: number = 1, sorted: boolean = true) => ({
      k: integerArg('topk', 'k', k, 0),
      sorted: booleanArg('topk', 'sorted', sorted),
    }),
    spec: ([x], { k }): readonly Spec[] => {
      const last = x!.shape.at(-1)
      if (last === undefined || k > last) {
        throw shapeError('topk', `${k} elements asked of the last axis of ${showShape(x!.shape)}`, x!.shape)
      }
      const shape = [...x!.shape.slice(0, -1), k]
      return [
        { shape, dtype: numeric(x!.dtype) },
        { shape, dtype: 'int32' },
      ]
    },
    run: ([x], { k, sorted }) => {
      const { values, indices } = tf.topk(number(x!), k, sorted)
      return [values, indices]
    },
  }),

  // Elementwise functions.

  exp: real(tf.exp),
  expm1: real(tf.expm1),
  log: real(tf.log),
  log1p: real(tf.log1p),
  sqrt: real(tf.sqrt),
  rsqrt: real(tf.rsqrt),
  reciprocal: real(tf.reciprocal),
  sin: real(tf.sin),
  cos: real(tf.cos),
  tan: real(tf.tan),
  erf: real(tf.erf),
  sigmoid: real(tf.sigmoid),
  tanh: real(tf.tanh),
  elu: real(tf.elu),
  selu: real(tf.selu),
  softplus: real(tf.softplus),
  /** x·Φ(x), with the exact normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415). */
  gelu: real((x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, GELU_SCALE)), 1))),
  relu: counting(tf.relu, (x) => tf.maximum(x, integer(0))),
  abs: counting(tf.abs, (x) => tf.maximum(x, negative(x))),
  neg: counting(tf.neg, negative, 'linear'),
  sign: counting(
    tf.sign,
    (x) => tf.sub(tf.cast(tf.greater(x, integer(0)), 'int32'), tf.cast(tf.less(x, integer(0)), 'int32')),
    'nonlinear',
    false,
  ),
  square: counting(tf.square, squareOf, 'bilinear'),
  /** To the nearest integer, halves to the even one. */
  round: counting(tf.round, tf.clone, 'nonlinear', false),
  floor: counting(tf.floor, tf.clone, 'nonlinear', false),
  ceil: counting(tf.ceil, tf.clone, 'nonlinear', false),
  isNaN: { ...real(tf.isNaN, false), spec: ([x]: readonly Spec[]): Spec => ({ shape: x!.shape, dtype: 'bool' }) },
  isFinite: { ...real(tf.isFinite, false), spec: ([x]: readonly Spec[]): Spec => ({ shape: x!.shape, dtype: 'bool' }) },
  /** max(x, αx); α = 0.2 unless given. */
  leakyRelu: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (alpha: number = 0.2) => ({ alpha: numberArg('leakyRelu', 'alpha', alpha) }),
    spec: ([x]): Spec => ({ shape: x!.shape, dtype: 'float32' }),
    run: ([x], { alpha }) => tf.leakyRelu(float(x!), alpha),
  }),
  /** Held between two bounds. */
  clipByValue: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (min: number, max: number) => {
      const attrs = { min: numberArg('clipByValue', 'min', min), max: numberArg('clipByValue', 'max', max) }
      if (min > max) {
        throw sottoError('ERR_ARGUMENT_VALUE', `clipByValue: min ${min} is above max ${max}`, { op: 'clipByValue' })
      }
      return attrs
    },
    spec: ([x]): Spec => ({ shape: x!.shape, dtype: 'float32' }),
    // The wasm kernel makes 0 of NaN; these keep it.
    run: ([x], { min, max }) => tf.minimum(tf.maximum(float(x!), min), max),
  }),
  /** Elements of the first tensor where the condition (bool) holds, of b elsewhere. */
  where: op({
    inputs: ['a', 'condition', 'b'],
    linearity: 'nonlinear',
    attrs: none,
    spec: ([a, condition, b]): Spec => {
      onlyBool('where', condition!)
      const shape = broadcastShapes('where', broadcastShapes('where', condition!.shape, a!.shape), b!.shape)
      return { shape, dtype: widest(a!.dtype, b!.dtype) }
    },
    run: ([a, condition, b]) => {
      const [x, y] = sameDType([a!, b!])
      const holds = tensor(condition!)
      const shape = [x!, y!, holds].reduce(
        (sum: number[], t) => tf.broadcast_util.assertAndGetBroadcastShape(sum, t.shape),
        [],
      )
      const choose = (t: tf.Tensor) =>
        tf.where(spread(holds, shape), spread(t, shape), spread(tf.cast(y!, t.dtype), shape))
      return viaIntegers(x!, choose)
    },
  }),
  /** Rows of zeros with a one at each index; an index outside gives a row without one. */
  oneHot: op({
    inputs: ['indices'],
    linearity: 'nonlinear',
    differentiable: false,
    attrs: (depth: number, onValue: number = 1, offValue: number = 0) => ({
      depth: integerArg('oneHot', 'depth', depth, 1),
      onValue: numberArg('oneHot', 'onValue', onValue),
      offValue: numberArg('oneHot', 'offValue', offValue),
    }),
    spec: ([indices], { depth }): Spec => ({
      shape: ranked('oneHot', [...indices!.shape, depth]),
      dtype: 'float32',
    }),
    // Composed: tf.oneHot takes no depth of 1, and on wasm no values but integers.
    run: ([indices], { depth, onValue, offValue }) => {
      const holds = isIndex(tf.cast(tensor(indices!), 'int32'), depth)
      return tf.where(holds, tf.fill(holds.shape, onValue), tf.fill(holds.shape, offValue))
    },
  }),

  // Neural networks.

  softmax: alongAxis('softmax', lastAxis(tf.softmax)),
  logSoftmax: alongAxis('logSoftmax', lastAxis(tf.logSoftmax)),
  /** Two-dimensional convolution of [batch, height, width, in] with a filter [height, width, in, out]. */
  conv2d: convolution('conv2d'),
  /** Convolution of each channel with its own filters [height, width, in, multiplier]. */
  depthwiseConv2d: convolution('depthwiseConv2d'),
  /** The largest of each window. */
  maxPool: pool('maxPool'),
  /** The mean of each window. */
  avgPool: pool('avgPool'),
  /** (x − mean) / √(variance + ε) · scale + offset. */
  batchNorm: op({
    inputs: ['x', 'mean', 'variance', 'offset?', 'scale?'],
    linearity: 'nonlinear',
    attrs: (varianceEpsilon: number = 0.001) => ({
      epsilon: numberArg('batchNorm', 'varianceEpsilon', varianceEpsilon),
    }),
    spec: ([x, ...statistics]): Spec => {
      for (const { shape } of statistics) {
        if (shape.length > 1 || !sameShape(broadcastShapes('batchNorm', x!.shape, shape), x!.shape)) {
          throw shapeError(
            'batchNorm',
            `statistics must be scalars or vectors over the last axis of ${showShape(x!.shape)}, got ${showShape(shape)}`,
          )
        }
      }
      return { shape: x!.shape, dtype: 'float32' }
    },
    // Composed, so that every rank has it and its gradient on every backend.
    run: ([x, mean, variance, offset, scale], { epsilon }) => {
      const [add, sub, mul] = [tf.add, tf.sub, tf.mul].map((f) => broadcasting(f as Binary)) as [Binary, Binary, Binary]
      const factor = tf.rsqrt(tf.add(float(variance!), epsilon))
      const normal = mul(sub(float(x!), float(mean!)), scale == null ? factor : mul(factor, float(scale)))
      return offset == null ? normal : add(normal, float(offset))
    },
  }),
  /** Zeroes a fraction of the elements and scales up the rest; a seed makes it repeatable. */
  dropout: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (rate: number, seed?: number) => {
      if (!(numberArg('dropout', 'rate', rate) >= 0 && rate < 1)) {
        throw sottoError('ERR_ARGUMENT_VALUE', `dropout: rate must be in [0, 1), got ${rate}`, { op: 'dropout' })
      }
      return { rate, seed: seed == null ? undefined : integerArg('dropout', 'seed', seed) }
    },
    spec: ([x]): Spec => ({ shape: x!.shape, dtype: 'float32' }),
    run: ([x], { rate, seed }) => tf.dropout(float(x!), rate, undefined, seed),
  }),
  /**
   * x + N(0, deviation²), each element by itself, drawn from the system's CSPRNG where x is; its gradient is that of x.
   * `gaussian-noise.ts` says what floats may give away. With `seedForTests` the noise can be foreseen, and hides nothing.
   */
  addGaussianNoise: op({
    inputs: ['x'],
    linearity: 'nonlinear',
    attrs: (deviation: number, seedForTests?: number) => {
      if (!(numberArg('addGaussianNoise', 'deviation', deviation) >= 0)) {
        throw sottoError('ERR_ARGUMENT_VALUE', `addGaussianNoise: deviation must be from 0, got ${deviation}`, {
          op: 'addGaussianNoise',
        })
      }
      return {
        deviation,
        seedForTests: seedForTests == null ? undefined : integerArg('addGaussianNoise', 'seedForTests', seedForTests),
      }
    },
    spec: ([x]): Spec => ({ shape: x!.shape, dtype: 'float32' }),
    run: ([x], { deviation, seedForTests }) =>
      tf.customGrad((given: tf.Tensor | tf.GradSaveFunc) => {
        const t = given as tf.Tensor
        // What the cpu backend has cast to float32 may still lie in an array of integers.
        const noisy = withGaussianNoise(t.dataSync(), deviation, seedForTests)
        return {
          value: tf.tensor(noisy, t.shape, 'float32'),
          gradFunc: (dy: tf.Tensor) => dy,
        }
      })(float(x!)),
  }),

  // Losses; 'mean' over the batch unless another reduction is named.

  /** −log p of the right class, from log-probabilities. */
  nllLoss: classLoss('nllLoss', (x) => x),
  /** −log p of the right class, from unnormalised scores. */
  softmaxCrossEntropy: classLoss('softmaxCrossEntropy', (x) => tf.logSoftmax(x)),
  /** Cross-entropy of sigmoids: max(x,0) − x·y + log(1 + e^−|x|). */
  sigmoidCrossEntropy: elementLoss('sigmoidCrossEntropy', (x, y) =>
    tf.add(tf.sub(tf.relu(x), tf.mul(x, y)), tf.log1p(tf.exp(tf.neg(tf.abs(x))))),
  ),
  meanSquaredError: elementLoss('meanSquaredError', (p, y) => tf.square(tf.sub(p, y))),
  absoluteDifference: elementLoss('absoluteDifference', (p, y) => tf.abs(tf.sub(p, y))),
  /** ½e² up to δ, then δ|e| − ½δ² (Huber 1964); δ = 1 unless given. */
  huber: op({
    inputs: ['predictions', 'labels'],
    linearity: 'nonlinear',
    attrs: (delta: number = 1, reduction: Reduction = 'mean') => ({
      delta: numberArg('huber', 'delta', delta),
      reduction: oneOfArg('huber', 'reduction', reduction, reductions),
    }),
    spec: ([p, y], { reduction }): Spec => {
      if (!sameShape(p!.shape, y!.shape)) {
        throw shapeError(
          'huber',
          `predictions ${showShape(p!.shape)} and labels ${showShape(y!.shape)} differ in shape`,
        )
      }
      return lossSpec('huber', p!.shape, reduction)
    },
    run: ([p, y], { delta, reduction }) => {
      const error = tf.abs(tf.sub(float(p!), float(y!)))
      const quadratic = tf.minimum(error, delta)
      return reduceLoss(tf.add(tf.mul(0.5, tf.square(quadratic)), tf.mul(delta, tf.sub(error, quadratic))), reduction)
    },
  }),
} as const

/** tfjs computes softmax over the last axis only; others are brought there and back. */
function lastAxis(f: (x: tf.Tensor, axis: number) => tf.Tensor) {
  return (x: tf.Tensor, axis: number): tf.Tensor => {
    if (axis === x.rank - 1) return f(x, axis)
    const swap = x.shape.map((_, i) => (i === axis ? x.rank - 1 : i === x.rank - 1 ? axis : i))
    return tf.transpose(f(tf.transpose(x, swap), x.rank - 1), swap)
  }
}

/** Over no axes, the gradient of tf.prod reads what nobody wrote. */
function productOf(x: tf.Tensor, axis?: number[], keepDims?: boolean): tf.Tensor {
  return axis?.length === 0 ? tf.clone(x) : tf.prod(x, axis, keepDims)
}

/** All of nothing hold; the cpu backend says otherwise. */
function allOf(x: tf.Tensor, axis?: number[], keepDims?: boolean): tf.Tensor {
  return x.size === 0 ? tf.logicalNot(tf.any(x, axis, keepDims)) : tf.all(x, axis, keepDims)
}

/** [..., depth], true where the index is the position. */
function isIndex(indices: tf.Tensor, depth: number): tf.Tensor {
  return tf.equal(tf.expandDims(indices, -1), tf.range(0, depth, 1, 'int32'))
}

/** As tf.tile, whose gradient ends at rank 4 and takes two kernels per repetition. */
function tiled(x: tf.Tensor, reps: number[]): tf.Tensor {
  return tf.customGrad((t: tf.Tensor | tf.GradSaveFunc) => ({
    value: tf.tile(t as tf.Tensor, reps),
    gradFunc: (dy: tf.Tensor) =>
      reps.reduce((sum, times, axis) => {
        if (times === 1) return sum
        const shape = sum.shape.map((d, i) => (i === axis ? x.shape[axis]! : d))
        const inner = sizeOf(shape.slice(axis))
        const apart = tf.reshape(sum, [sizeOf(shape.slice(0, axis)), times, inner])
        return tf.reshape(tf.sum(apart, 1), shape)
      }, dy),
  }))(x)
}

function sameDType(inputs: readonly Value[]): tf.Tensor[] {
  const tensors = inputs.map(tensor)
  const dtype = tensors.map((t) => t.dtype as DType).reduce(widest)
  return tensors.map((t) => (t.dtype === dtype ? t : tf.cast(t, dtype)))
}

export type OpName = keyof typeof ops

/** The row of an op, by a name that may come from anywhere. */
export function opRow(name: string): OpRow {
  if (!Object.hasOwn(ops, name)) {
    throw sottoError('ERR_UNKNOWN_OP', `there is no operation of that name in the op table`, {})
  }
  return ops[name as OpName] as unknown as OpRow
}
