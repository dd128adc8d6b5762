/**
 * The ring op table: everything that is computed on ring elements, one row each.
 *
 * A row says what the operation does to values in clear. From it follow the public fixed-precision types, here and far
 * away; and what a party does to shares: `linear` rows run on each share by itself, `bilinear` ones take a triple
 * (Beaver, CRYPTO '91), `nonlinear` ones are steps of a protocol (`protocols/`), `public` ones run on values in clear alone. Nothing here knows a scale: a command
 * may end in a division, which is how products come back to the scale of their factors.
 */
import { sottoError } from '../errors.ts'
import { opRow } from '../tensor/ops.ts'
import {
  broadcastShapes,
  type ConvAttrs,
  normalizeAxis,
  type Shape,
  type Spec,
  sameShape,
  showShape,
  sizeOf,
} from '../tensor/shape.ts'
import { strideOf } from './circuits.ts'
import { conv2d, conv2dFilter, conv2dInput, windowsBack, windowsOf } from './convolutions.ts'
import { ring } from './ring/choose.ts'
import { windowsShape } from './ring/convolution.ts'
import { wordsPerElement } from './ring/kernels.ts'
import { indicesOf, isMove, type Move, moves, type PublicIndices, splitArgs } from './ring/moves.ts'
import type { RingTensor } from './ring/tensor.ts'
import * as rt from './ring/tensor.ts'
import { isViewMove, moved, movedBack } from './views.ts'

export interface RingRow {
  readonly kind: 'linear' | 'bilinear' | 'nonlinear' | 'public'
  /** Fewest and most operands. */
  readonly operands: readonly [least: number, most: number]
  /**
   * Shapes of the results.
   *
   * @throws `ERR_SHAPE` and the errors of attributes
   */
  shapes(operands: readonly Shape[], attrs: readonly unknown[]): readonly Shape[]
  /** What is computed, in clear. */
  clear(values: readonly RingTensor[], attrs: readonly unknown[]): readonly RingTensor[]
}

/** Shapes as the op table's row of this name gives them. */
function shapesLike(name: string): RingRow['shapes'] {
  const row = opRow(name)
  return (operands, attrs) => {
    const specs = operands.map((shape): Spec => ({ shape, dtype: 'float32' }))
    const result = row.spec(specs, row.attrs(...(attrs as never[])))
    return [result].flat().map(({ shape }) => shape)
  }
}

const attrsLike = <A>(name: string, attrs: readonly unknown[]): A => opRow(name).attrs(...(attrs as never[])) as A

type Binary = (a: RingTensor, b: RingTensor) => RingTensor

const elementwise = (name: string, kind: RingRow['kind'], f: Binary): RingRow => ({
  kind,
  operands: [2, 2],
  shapes: shapesLike(name),
  clear: ([a, b]) => [f(a!, b!)],
})

/** A bilinear map with the attributes of a row of the op table. */
const bilinear = <A>(name: string, f: (a: RingTensor, b: RingTensor, attrs: A) => RingTensor): RingRow => ({
  kind: 'bilinear',
  operands: [2, 2],
  shapes: shapesLike(name),
  clear: ([a, b], attrs) => [f(a!, b!, attrsLike<A>(name, attrs))],
})

/** Most operands of concat and stack. */
const MANY = 65_536

function moving(name: Move): RingRow {
  const row = opRow(name)
  return {
    kind: 'linear',
    operands: name === 'concat' || name === 'stack' ? [1, MANY] : [1, 1],
    shapes: (operands, attrs) => {
      const { operands: more, rest } = splitArgs(name, attrs)
      try {
        const given = operands.map((shape): Spec => ({ shape, dtype: 'float32' }))
        const indices = more.map(({ shape }): Spec => ({ shape, dtype: 'int32' }))
        const result = row.spec([...given, ...indices], row.attrs(...(rest as never[])))
        return [result].flat().map(({ shape }) => shape)
      } finally {
        for (const tensor of more) tensor.dispose()
      }
    },
    clear(values, attrs) {
      const shapes = this.shapes(
        values.map(({ shape }) => shape),
        attrs,
      )
      if (keepsOrder.has(name)) return [rt.reshaped(values[0]!, shapes[0]!)]
      if (name === 'gather') {
        const [x] = values as readonly [RingTensor]
        const [{ values: indices }, axis = 0] = attrs as [PublicIndices, number?]
        return [rt.slicesAt(x, indices, normalizeAxis('gather', axis, x.shape.length), shapes[0]!)]
      }
      if (isViewMove(name)) return moved(name, values, attrs, shapes)
      const lists = indicesOf(
        name,
        values.map(({ shape }) => shape),
        attrs,
      )
      const whole = values.length === 1 ? values[0]!.data : joined(values)
      const { ring: bits } = values[0]!
      return shapes.map((shape, i) => rt.ringTensor(bits, shape, ring(bits).gather(whole, lists[i]!)))
    },
  }
}

/** The same elements in the same order. */
const keepsOrder = new Set<string>(['reshape', 'flatten', 'expandDims', 'squeeze', 'clone'] satisfies Move[])

function joined(values: readonly RingTensor[]): BigUint64Array {
  const whole = new BigUint64Array(values.reduce((length, { data }) => length + data.length, 0))
  let at = 0
  for (const { data } of values) {
    whole.set(data, at)
    at += data.length
  }
  return whole
}

const movingRows = Object.fromEntries(moves.map((name) => [name, moving(name)])) as Record<Move, RingRow>

const isShape = (x: unknown): x is Shape => Array.isArray(x) && x.every((d) => Number.isInteger(d) && d >= 0)

function shapeAttr(op: string, value: unknown): Shape {
  if (!isShape(value)) throw sottoError('ERR_ARGUMENT_TYPE', `${op}: a shape was expected`, { op })
  return value
}

/** [batch, height, width, pixels of a window, channels]. */
function windowShape(x: Shape, filter: [number, number], attrs: ConvAttrs): Shape {
  const [batch, height, width, taps] = windowsShape(x, filter, attrs)
  const channels = x[3]!
  return [batch, height, width, taps / channels, channels]
}

/** Low bits of a value that can be taken out: of a non-negative value below 2^62, whatever the ring. */
const MOST_BITS = 62

/** Truth as a ring element. */
const truths = (x: RingTensor, holds: (value: bigint) => boolean): RingTensor =>
  rt.ringOf(
    x.ring,
    x.shape,
    rt.numbersOf(x).map((value) => (holds(value) ? 1n : 0n)),
  )
const isNegative = (x: RingTensor): RingTensor => ({
  ...x,
  data: ring(x.ring).fromPlane(topPlane(x), sizeOf(x.shape)),
})
/** The plane of the sign bits. */
function topPlane(x: RingTensor): Uint8Array {
  const stride = strideOf(sizeOf(x.shape))
  return ring(x.ring)
    .toPlanes(x.data)
    .subarray((x.ring - 1) * stride, x.ring * stride)
}

/** An operation on signed numbers, one pair at a time, for what takes more bits on the way. */
const pairwise = (name: string, f: (a: bigint, b: bigint, attrs: readonly unknown[]) => bigint): RingRow => ({
  kind: 'public',
  operands: [2, 2],
  shapes: (shapes) => shapesLike('div')(shapes, []),
  clear: ([a, b], attrs) => {
    const shape = broadcastShapes(name, a!.shape, b!.shape)
    const [x, y] = [rt.numbersOf(rt.spread(a!, shape)), rt.numbersOf(rt.spread(b!, shape))]
    const results = x.map((value, i) => {
      const divisor = y[i]!
      if (divisor === 0n) throw sottoError('ERR_ARGUMENT_VALUE', `${name}: division by zero`, { op: name })
      return f(value, divisor, attrs)
    })
    return [rt.ringOf(a!.ring, shape, results)]
  },
})

const rows = {
  /** a + b, broadcasting. */
  add: elementwise('add', 'linear', rt.add),
  /** a − b. */
  sub: elementwise('sub', 'linear', rt.sub),
  /** −x. */
  neg: { kind: 'linear', operands: [1, 1], shapes: (shapes) => shapes, clear: ([x]) => [rt.neg(x!)] },
  /** The same values; of shares, others that add up to the same. */
  refresh: { kind: 'linear', operands: [1, 1], shapes: (shapes) => shapes, clear: (values) => values },
  /** The sum of several tensors of one shape; of private ones of several owners, somebody may see it who may see none of them. */
  total: {
    kind: 'linear',
    operands: [1, MANY],
    shapes: (shapes) => {
      const other = shapes.find((shape) => !sameShape(shape, shapes[0]!))
      if (other) throw sottoError('ERR_SHAPE', `total: ${showShape(shapes[0]!)} and ${showShape(other)} differ`)
      return [shapes[0]!]
    },
    clear: (values) => [values.reduce(rt.add)],
  },
  /** Sum over axes. */
  sum: {
    kind: 'linear',
    operands: [1, 1],
    shapes: shapesLike('sum'),
    clear: ([x], attrs) => {
      const { axis, keepDims } = attrsLike<{ axis: number[] | undefined; keepDims: boolean }>('sum', attrs)
      return [rt.sum(x!, axis, keepDims)]
    },
  },
  /** Running sums along an axis. */
  cumsum: {
    kind: 'linear',
    operands: [1, 1],
    shapes: shapesLike('cumsum'),
    clear: ([x], attrs) => {
      type Attrs = { axis: number; exclusive: boolean; reverse: boolean }
      const { axis, exclusive, reverse } = attrsLike<Attrs>('cumsum', attrs)
      return [rt.cumsum(x!, axis < 0 ? axis + x!.shape.length : axis, exclusive, reverse)]
    },
  },
  ...movingRows,
  /** The gradient of a move: what landed in its result, added up where it came from. Attributes: the move, shapes, which. */
  moveBack: {
    kind: 'linear',
    operands: [1, MANY],
    shapes: (_, [name, shapes]) => {
      if (!isMove(String(name)) || !Array.isArray(shapes)) {
        throw sottoError('ERR_ARGUMENT_TYPE', 'moveBack: a move and shapes were expected', { op: 'moveBack' })
      }
      return shapes.map((shape) => shapeAttr('moveBack', shape))
    },
    clear: (values, [name, shapes, args]) => {
      const given = shapes as readonly Shape[]
      const [move, more] = [name as Move, args as readonly unknown[]]
      const there = movingRows[move].shapes(given, more)
      if (values.length !== there.length || !values.every(({ shape }, i) => sameShape(shape, there[i]!))) {
        throw sottoError('ERR_SHAPE', `moveBack: ${there.map(showShape).join(', ')} expected`, { op: 'moveBack' })
      }
      if (keepsOrder.has(move)) return [rt.reshaped(values[0]!, given[0]!)]
      if (isViewMove(move)) return movedBack(move, values, more, given)
      const lists = indicesOf(move, given, more)
      const size = given.reduce((total, shape) => total + sizeOf(shape), 0)
      const { ring: bits } = values[0]!
      const whole = values
        .map(({ data }, i) => ring(bits).scatterAdd(data, lists[i]!, size))
        .reduce((a, b) => ring(bits).add(a, b))
      let at = 0
      return given.map((shape) => {
        const words = wordsPerElement(bits) * sizeOf(shape)
        const data = whole.slice(at, at + words)
        at += words
        return rt.ringTensor(bits, shape, data)
      })
    },
  },
  /** The elements under each window of a pooling, one window a row: [batch, height, width, filter height · width, channels]. */
  windows: {
    kind: 'linear',
    operands: [1, 1],
    shapes: ([x], [filter, attrs]) => [windowShape(x!, filter as [number, number], attrs as ConvAttrs)],
    clear: ([x], attrs) => {
      const [filter, conv] = attrs as [[number, number], ConvAttrs]
      return [windowsOf(x!, filter, conv)]
    },
  },
  /** The gradient of `windows`. Attributes: the filter, its attributes, the shape of the image. */
  windowsBack: {
    kind: 'linear',
    operands: [1, 1],
    shapes: (_, [, , image]) => [shapeAttr('windowsBack', image)],
    clear: ([dy], [filter, attrs, image]) => {
      return [windowsBack(dy!, filter as [number, number], attrs as ConvAttrs, image as Shape)]
    },
  },

  /** a · b, broadcasting. */
  mul: elementwise('mul', 'bilinear', rt.mul),
  /** Products of matrices. */
  matMul: bilinear<rt.MatMulAttrs>('matMul', rt.matMul),
  /** Convolution of [batch, height, width, in] with [height, width, in, out]. */
  conv2d: bilinear<ConvAttrs>('conv2d', conv2d),
  /** Gradient of a convolution for its filter. Operands: x, dy. Attributes: shape of the filter, those of the convolution. */
  conv2dFilter: {
    kind: 'bilinear',
    operands: [2, 2],
    shapes: (_, [filter]) => [shapeAttr('conv2dFilter', filter)],
    clear: ([x, dy], [filter, attrs]) => [conv2dFilter(x!, dy!, filter as Shape, attrs as ConvAttrs)],
  },
  /** Gradient of a convolution for its input. Operands: dy, filter. Attributes: shape of x, those of the convolution. */
  conv2dInput: {
    kind: 'bilinear',
    operands: [2, 2],
    shapes: (_, [x]) => [shapeAttr('conv2dInput', x)],
    clear: ([dy, filter], [x, attrs]) => [conv2dInput(dy!, filter!, x as Shape, attrs as ConvAttrs)],
  },
  /** x². Half of what a product opens. */
  square: {
    kind: 'nonlinear',
    operands: [1, 1],
    shapes: (shapes) => shapes,
    clear: ([x]) => [rt.mul(x!, x!)],
  },

  /**
   * Whether x is below zero, as 0 or 1; and that bit times each further operand (of the shape of x), in the same rounds.
   */
  negative: {
    kind: 'nonlinear',
    operands: [1, MANY],
    shapes: (shapes) => {
      const other = shapes.find((shape) => showShape(shape) !== showShape(shapes[0]!))
      if (other) throw sottoError('ERR_SHAPE', `negative: ${showShape(shapes[0]!)} and ${showShape(other)} differ`)
      return shapes
    },
    clear: ([x, ...others]) => {
      const bit = isNegative(x!)
      return [bit, ...others.map((y) => rt.mul(y, rt.reshaped(bit, y.shape)))]
    },
  },
  /** Whether x is zero, as 0 or 1. */
  zero: {
    kind: 'nonlinear',
    operands: [1, 1],
    shapes: (shapes) => shapes,
    clear: ([x]) => [truths(x!, (value) => value === 0n)],
  },
  /** The lowest `count` bits of x, each as 0 or 1, along a new last axis, lowest first. */
  lowBits: {
    kind: 'nonlinear',
    operands: [1, 1],
    shapes: ([x], [count]) => {
      if (!Number.isInteger(count) || (count as number) < 1 || (count as number) > MOST_BITS) {
        throw sottoError('ERR_ARGUMENT_VALUE', `lowBits: a count from 1 to ${MOST_BITS} was expected`, {
          op: 'lowBits',
        })
      }
      return [[...x!, count as number]]
    },
    clear: ([x], [count]) => {
      const length = count as number
      const bits = rt.numbersOf(x!).flatMap((value) => Array.from({ length }, (_, j) => (value >> BigInt(j)) & 1n))
      return [rt.ringOf(x!.ring, [...x!.shape, length], bits)]
    },
  },
  /** a · scale / b, toward zero. Attribute: the scale. */
  quotient: pairwise('div', (a, b, [scale]) => (a * BigInt(scale as number)) / b),
  /** What is left of a after whole multiples of b, with the sign of b. */
  remainder: pairwise('mod', (a, b) => ((a % b) + b) % b),
} satisfies Record<string, RingRow>

export const ringOps: Readonly<Record<RingOp, RingRow>> = rows
export type RingOp = keyof typeof rows & string

/** @throws `ERR_UNKNOWN_OP` */
export function ringRow(name: string): RingRow {
  if (!Object.hasOwn(ringOps, name)) throw sottoError('ERR_UNKNOWN_OP', 'no such operation on ring elements')
  return ringOps[name as RingOp]
}

/** A row on values in clear, with the division that may end a command (toward zero). */
export function runClear(
  op: RingOp,
  values: readonly RingTensor[],
  attrs: readonly unknown[],
  divisor: bigint | null,
): readonly RingTensor[] {
  const results = ringRow(op).clear(values, attrs)
  return divisor === null ? results : results.map((result) => rt.divide(result, divisor))
}
