/**
 * Shapes and dtypes known before anything runs: the rules that the op table is made of.
 *
 * Each rule takes the specs of the operands and gives the spec of the result, as tfjs would make it, or throws
 * `ERR_SHAPE` / `ERR_DTYPE`. The caller runs it before a frame is sent; the worker runs it again before it computes.
 */

import { sottoError } from '../errors.ts'
import { tf } from './engine.ts'

export type Shape = readonly number[]
/** The dtypes that travel. */
export const dtypes = ['float32', 'int32', 'bool'] as const
export type DType = (typeof dtypes)[number]

/** What is known of a tensor without its values. */
export interface Spec {
  readonly shape: Shape
  readonly dtype: DType
}

/** Bytes of one element, in memory and on the wire. */
export const bytesPerElement: Readonly<Record<DType, number>> = { float32: 4, int32: 4, bool: 1 }

export const sizeOf = (shape: Shape): number => shape.reduce((size, dimension) => size * dimension, 1)
export const byteSizeOf = ({ shape, dtype }: Spec): number => sizeOf(shape) * bytesPerElement[dtype]
export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => d === b[i])
export const showShape = (shape: Shape): string => `[${shape.join(',')}]`

export function shapeError(op: string, message: string, ...shapes: Shape[]): Error {
  return sottoError('ERR_SHAPE', `${op}: ${message}`, { op, shapes })
}

/** The wider of two dtypes, in tfjs's order bool < int32 < float32. */
export function widest(a: DType, b: DType): DType {
  if (a === 'float32' || b === 'float32') return 'float32'
  return a === 'int32' || b === 'int32' ? 'int32' : 'bool'
}

/** Arithmetic on bools counts: it gives int32. */
export const numeric = (dtype: DType): DType => (dtype === 'bool' ? 'int32' : dtype)

export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  if (a === b) return a
  const rank = Math.max(a.length, b.length)
  const shape = new Array<number>(rank)
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1
    const y = b[b.length - i] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      throw shapeError(op, `shapes ${showShape(a)} and ${showShape(b)} do not broadcast`, a, b)
    }
    shape[rank - i] = x === 1 ? y : x
  }
  return shape
}

/** An axis counted from the front; −1 is the last. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const result = axis < 0 ? axis + rank : axis
  if (result < 0 || result >= rank) {
    throw shapeError(op, `axis ${axis} is out of range for a tensor of rank ${rank}`)
  }
  return result
}

export function normalizeAxes(op: string, axis: number | readonly number[] | undefined, rank: number): number[] {
  if (axis === undefined) return Array.from({ length: rank }, (_, i) => i)
  const axes = (typeof axis === 'number' ? [axis] : axis).map((a) => normalizeAxis(op, a, rank))
  if (new Set(axes).size !== axes.length) throw shapeError(op, `an axis is named twice in [${axes}]`)
  return axes
}

export function reducedShape(
  op: string,
  shape: Shape,
  axis: number | readonly number[] | undefined,
  keepDims: boolean,
): Shape {
  const axes = normalizeAxes(op, axis, shape.length)
  return keepDims ? shape.map((d, i) => (axes.includes(i) ? 1 : d)) : shape.filter((_, i) => !axes.includes(i))
}

/** Resolves one −1 in a wanted shape. */
export function reshapedShape(op: string, from: Shape, to: Shape): Shape {
  const size = sizeOf(from)
  const unknown = to.filter((d) => d === -1).length
  const known = to.reduce((product, d) => (d === -1 ? product : product * d), 1)
  const fits = unknown === 0 ? known === size : unknown === 1 && known > 0 && size % known === 0
  if (!fits || to.some((d) => d < -1)) {
    throw shapeError(op, `${showShape(from)} has ${size} elements and cannot become ${showShape(to)}`, from, to)
  }
  return to.map((d) => (d === -1 ? size / known : d))
}

export function matMulShape(op: string, a: Shape, b: Shape, transposeA: boolean, transposeB: boolean): Shape {
  if (a.length < 2 || b.length < 2) {
    throw shapeError(op, `needs matrices, got ${showShape(a)} and ${showShape(b)}`, a, b)
  }
  const [m, innerA] = transposeA ? [a.at(-1)!, a.at(-2)!] : [a.at(-2)!, a.at(-1)!]
  const [innerB, n] = transposeB ? [b.at(-1)!, b.at(-2)!] : [b.at(-2)!, b.at(-1)!]
  if (innerA !== innerB) {
    const how = `${transposeA ? ' (a transposed)' : ''}${transposeB ? ' (b transposed)' : ''}`
    throw shapeError(op, `inner dimensions differ: ${showShape(a)} times ${showShape(b)}${how}`, a, b)
  }
  return [...broadcastShapes(op, a.slice(0, -2), b.slice(0, -2)), m, n]
}

export function dotShape(a: Shape, b: Shape): Shape {
  if (a.length < 1 || a.length > 2 || b.length < 1 || b.length > 2) {
    throw shapeError('dot', `needs ranks 1 or 2, got ${showShape(a)} and ${showShape(b)}`, a, b)
  }
  if (a.at(-1) !== b[0]) {
    throw shapeError('dot', `inner dimensions differ: ${showShape(a)} and ${showShape(b)}`, a, b)
  }
  return [...a.slice(0, -1), ...b.slice(1)]
}

export function concatShape(op: string, shapes: readonly Shape[], axis: number): Shape {
  const first = shapes[0]!
  const at = normalizeAxis(op, axis, first.length)
  for (const shape of shapes) {
    if (shape.length !== first.length || shape.some((d, i) => i !== at && d !== first[i])) {
      throw shapeError(op, `${showShape(first)} and ${showShape(shape)} differ outside axis ${at}`, first, shape)
    }
  }
  return first.map((d, i) => (i === at ? shapes.reduce((sum, shape) => sum + shape[at]!, 0) : d))
}

/** Size of every part when an axis is cut in equal parts or in parts of given sizes (one may be −1). */
export function splitSizes(shape: Shape, parts: number | readonly number[], axis: number): number[] {
  const size = shape[axis]!
  if (typeof parts === 'number') {
    if (parts < 1 || size % parts !== 0) {
      throw shapeError('split', `axis ${axis} of ${showShape(shape)} does not divide into ${parts} equal parts`, shape)
    }
    return Array.from({ length: parts }, () => size / parts)
  }
  const known = parts.reduce((sum, part) => (part === -1 ? sum : sum + part), 0)
  const unknown = parts.filter((part) => part === -1).length
  if (unknown > 1 || known > size || (unknown === 0 && known !== size) || parts.some((part) => part < -1)) {
    throw shapeError('split', `sizes [${parts}] do not add up to axis ${axis} of ${showShape(shape)}`, shape)
  }
  return parts.map((part) => (part === -1 ? size - known : part))
}

export function slicedShape(shape: Shape, begin: readonly number[], size: readonly number[]): Shape {
  return shape.map((d, i) => {
    const from = begin[i] ?? 0
    const length = size[i] === undefined || size[i] === -1 ? d - from : size[i]
    if (from < 0 || length < 0 || from + length > d) {
      throw shapeError('slice', `from ${from}, ${length} long, runs outside axis ${i} of ${showShape(shape)}`, shape)
    }
    return length
  })
}

/** A padding as tfjs takes it: 'same', 'valid', or the same number of pixels on each side. */
export type Padding = 'same' | 'valid' | number
export type PairOf = number | readonly [number, number]

const four = (op: string, what: string, shape: Shape): [number, number, number, number] => {
  if (shape.length !== 4) throw shapeError(op, `${what} must have rank 4, got ${showShape(shape)}`, shape)
  return shape as [number, number, number, number]
}

function pixels(op: string, info: { outShape: readonly number[] }, x: Shape): Shape {
  if (info.outShape.some((d) => !Number.isInteger(d) || d < 1)) {
    throw shapeError(op, `the window does not fit into ${showShape(x)}`, x)
  }
  return info.outShape
}

export interface ConvAttrs {
  readonly strides: PairOf
  readonly pad: Padding
  readonly dilations: PairOf
}

export function convShape(op: string, x: Shape, filter: Shape, attrs: ConvAttrs, depthwise = false): Shape {
  const input = four(op, 'the input [batch, height, width, channels]', x)
  const kernel = four(op, 'the filter [height, width, in, out]', filter)
  if (input[3] !== kernel[2]) {
    throw shapeError(op, `the input has ${input[3]} channels, the filter takes ${kernel[2]}`, x, filter)
  }
  const { strides, pad, dilations } = attrs
  const info = tf.backend_util.computeConv2DInfo(
    input,
    kernel,
    strides as number,
    dilations as number,
    pad,
    undefined,
    depthwise,
  )
  return pixels(op, info, x)
}

export interface PoolAttrs {
  readonly filterSize: PairOf
  readonly strides: PairOf
  readonly pad: Padding
}

export function poolShape(op: string, x: Shape, { filterSize, strides, pad }: PoolAttrs): Shape {
  const input = four(op, 'the input [batch, height, width, channels]', x)
  const info = tf.backend_util.computePool2DInfo(input, filterSize as number, strides as number, 1, pad)
  return pixels(op, info, x)
}
