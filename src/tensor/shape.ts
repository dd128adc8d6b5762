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

/** tfjs has no kernels for tensors of a higher rank. */
const HIGHEST_RANK = 6
/** `split` and `unstack` make no more tensors than one command can name. */
export const MOST_PARTS = 65_536
/** Elements that an op may take up on its way to a smaller result: as many as a worker's results have by default. */
const MOST_ELEMENTS = 2 ** 28

export function ranked(op: string, shape: Shape): Shape {
  if (shape.length > HIGHEST_RANK) {
    throw shapeError(op, `${showShape(shape)} has more than ${HIGHEST_RANK} axes`, shape)
  }
  return shape
}

/** For what has no value over no elements at all. */
export function notEmpty(op: string, shape: Shape): void {
  if (sizeOf(shape) === 0) throw shapeError(op, `${showShape(shape)} has no elements to take it of`, shape)
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
  ranked(op, to)
  if (!fits || to.some((d) => d < -1)) {
    throw shapeError(op, `${showShape(from)} has ${size} elements and cannot become ${showShape(to)}`, from, to)
  }
  return to.map((d) => (d === -1 ? size / known : d))
}

function bounded(op: string, shape: Shape): void {
  if (!(sizeOf(shape) <= MOST_ELEMENTS)) {
    throw shapeError(op, `an intermediate result of shape ${showShape(shape)} would be above 2^28 elements`, shape)
  }
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
  const batch = broadcastShapes(op, a.slice(0, -2), b.slice(0, -2))
  for (const matrix of [a.slice(-2), b.slice(-2)]) bounded(op, [...batch, ...matrix])
  return [...batch, m, n]
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
    if (parts < 1 || parts > MOST_PARTS || size % parts !== 0) {
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

/** Padding as tfjs gets it right: of a plain number it works out the width from the height's filter and stride. */
export function paddingFor(pad: Padding): 'same' | 'valid' | tf.backend_util.ExplicitPadding {
  if (typeof pad !== 'number') return pad
  return [
    [0, 0],
    [pad, pad],
    [pad, pad],
    [0, 0],
  ]
}

const four = (op: string, what: string, shape: Shape): [number, number, number, number] => {
  if (shape.length !== 4) throw shapeError(op, `${what} must have rank 4, got ${showShape(shape)}`, shape)
  return shape as [number, number, number, number]
}

/** Checks what tfjs made of a window: it must fit, and its kernels must get through. */
function pixels(
  op: string,
  info: ReturnType<typeof tf.backend_util.computePool2DInfo> | ReturnType<typeof tf.backend_util.computeConv2DInfo>,
  x: Shape,
): Shape {
  const { outShape, outHeight, outWidth, filterHeight, filterWidth } = info
  if (outShape.some((d) => !Number.isInteger(d) || d < 1)) {
    throw shapeError(op, `the window does not fit into ${showShape(x)}, or there is nothing in it`, x)
  }
  // The wasm kernels keep a pointer for each of these.
  bounded(op, [outHeight, outWidth, filterHeight, filterWidth])
  return outShape
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
  notEmpty(op, x)
  notEmpty(op, filter)
  const { strides, pad, dilations } = attrs
  const [dh, dw] = typeof dilations === 'number' ? [dilations, dilations] : dilations
  const info = tf.backend_util.computeConv2DInfo(
    input,
    kernel,
    strides as number,
    [dh, dw],
    paddingFor(pad),
    undefined,
    depthwise,
  )
  const shape = pixels(op, info, x)
  if (dh > 1 || dw > 1) {
    const { before, after } = dilatedPadding(x, filter, pad, [dh, dw])
    bounded(op, [input[0], before[0]! + input[1] + after[0]! + dh, before[1]! + input[2] + after[1]! + dw, input[3]])
  }
  return shape
}

/** Pixels that a convolution of stride 1 adds [above, to the left] and [below, to the right]. */
export function dilatedPadding(
  x: Shape,
  filter: Shape,
  pad: Padding,
  dilations: readonly [number, number],
): { before: number[]; after: number[] } {
  const { top, bottom, left, right } = tf.backend_util.computeConv2DInfo(
    x as [number, number, number, number],
    filter as [number, number, number, number],
    1,
    [...dilations],
    paddingFor(pad),
  ).padInfo
  return { before: [top, left], after: [bottom, right] }
}

export interface PoolAttrs {
  readonly filterSize: PairOf
  readonly strides: PairOf
  readonly pad: Padding
}

export function poolShape(op: string, x: Shape, { filterSize, strides, pad }: PoolAttrs): Shape {
  const input = four(op, 'the input [batch, height, width, channels]', x)
  if (typeof pad === 'number' && pad >= Math.min(...(typeof filterSize === 'number' ? [filterSize] : filterSize))) {
    throw shapeError(op, `with a padding of ${pad} a window of [${filterSize}] would lie outside ${showShape(x)}`, x)
  }
  const info = tf.backend_util.computePool2DInfo(input, filterSize as number, strides as number, 1, paddingFor(pad))
  return pixels(op, info, x)
}
