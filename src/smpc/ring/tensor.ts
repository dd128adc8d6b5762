/** Tensors over the ring: shapes on top of the kernels. Nothing here knows a scale, or a secret. */
import { broadcastShapes, normalizeAxes, type Shape, sameShape, sizeOf } from '../../tensor/shape.ts'
import { recycle, unfilledBytes, unfilledWords } from '../../worker/memory-pool.ts'
import { ring } from './choose.ts'
import { signExtended } from './javascript128.ts'
import { type RingBits, type RingKernels, type Words, wordsPerElement } from './kernels.ts'
import { areInside } from './moves.ts'
import { copyView, spreadView, turnedView, wholeOf } from './strided.ts'

/** Elements row by row. Never changed once made. */
export interface RingTensor {
  readonly ring: RingBits
  readonly shape: Shape
  /** One word for each element, or two. */
  readonly data: Words
}

export const ringTensor = (ring: RingBits, shape: Shape, data: Words): RingTensor => ({ ring, shape, data })
export const reshaped = ({ ring, data }: RingTensor, shape: Shape): RingTensor => ({ ring, shape, data })
/** What they take on a worker, whatever dtype their values have. */
export const roomFor = (ring: RingBits) => (shape: Shape) => ({ shape, elementBytes: ring / 8 })
export const ringZeros = (ring: RingBits, shape: Shape): RingTensor => ({
  ring,
  shape,
  data: new BigUint64Array(wordsPerElement(ring) * sizeOf(shape)),
})
/** One of which every element is written before anybody sees it. */
export const unfilledTensor = (ring: RingBits, shape: Shape): RingTensor => ({
  ring,
  shape,
  data: unfilledWords(wordsPerElement(ring) * sizeOf(shape)),
})
/** Of numbers, mod 2^l, row by row. */
export function ringOf(ring: RingBits, shape: Shape, values: readonly bigint[]): RingTensor {
  const result = ringZeros(ring, shape)
  const words = wordsPerElement(ring)
  values.forEach((value, i) => {
    result.data[words * i] = value
    if (words === 2) result.data[2 * i + 1] = value >> 64n
  })
  return result
}
/** Its elements as signed numbers, row by row. */
export function numbersOf({ ring, data }: RingTensor): bigint[] {
  if (ring === 64) return Array.from(data, (word) => BigInt.asIntN(64, word))
  return Array.from({ length: data.length / 2 }, (_, i) => (BigInt.asIntN(64, data[2 * i + 1]!) << 64n) | data[2 * i]!)
}
/** Whether an element is 0; of 128 bits, a word at a time would make numbers of all of them. */
export function includesZero({ ring, data }: RingTensor): boolean {
  const parts = new Uint32Array(data.buffer, data.byteOffset, 2 * data.length)
  const step = ring / 32
  for (let i = 0; i < parts.length; i += step) {
    let at = i
    while (at < i + step && parts[at] === 0) at++
    if (at === i + step) return true
  }
  return false
}
const countOf = ({ ring, data }: RingTensor): number => data.length / wordsPerElement(ring)

/** Little-endian bytes, as they travel. Shares the memory. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: Words): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** Bytes one after another. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const whole = unfilledBytes(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Words of bytes that arrived, which may sit at any offset. */
export function wordsOf(bytes: Uint8Array): Words {
  if (bytes.byteOffset % 8 === 0) return new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)
  return new BigUint64Array(bytes.slice().buffer)
}

/** Repeats along axes, by the rules of broadcasting. */
export function spread(x: RingTensor, shape: Shape): RingTensor {
  if (sameShape(x.shape, shape)) return x
  const { ring: bits } = x
  const size = countOf(x)
  if (size === sizeOf(shape)) return reshaped(x, shape)
  if (size === 1 && bits === 64) return ringTensor(64, shape, new BigUint64Array(sizeOf(shape)).fill(x.data[0]!))
  if (size === 1) return ringTensor(bits, shape, ring(bits).gather(x.data, new Int32Array(sizeOf(shape))))
  const result = unfilledTensor(bits, shape)
  copyView(bits, shape, x.data, spreadView(x.shape, shape), result.data, wholeOf(shape))
  return result
}

const elementwise =
  (name: 'add' | 'sub' | 'mul') =>
  (a: RingTensor, b: RingTensor): RingTensor => {
    const shape = broadcastShapes(name, a.shape, b.shape)
    const [x, y] = [spread(a, shape).data, spread(b, shape).data]
    const data = ring(a.ring)[name](x, y)
    recycle(...(x === a.data ? [] : [x]), ...(y === b.data ? [] : [y]))
    return { ring: a.ring, shape, data }
  }

export const add = elementwise('add')
export const sub = elementwise('sub')
export const mul = (a: RingTensor, b: RingTensor): RingTensor => {
  // A public factor is mostly one number.
  if (b.shape.length === 0) return mulScalar(a, numbersOf(b)[0]!)
  return product(a, b)
}
const product = elementwise('mul')

/** The same tensor with what a kernel of its ring makes of its elements. */
const mapped = (x: RingTensor, kernel: (kernels: RingKernels, data: Words) => Words): RingTensor => ({
  ...x,
  data: kernel(ring(x.ring), x.data),
})
export const neg = (x: RingTensor): RingTensor => mapped(x, (kernels, data) => kernels.neg(data))
export const addScalar = (x: RingTensor, k: bigint): RingTensor =>
  mapped(x, (kernels, data) => kernels.addScalar(data, k))
export const mulScalar = (x: RingTensor, k: bigint): RingTensor =>
  mapped(x, (kernels, data) => kernels.mulScalar(data, k))
export const divide = (x: RingTensor, divisor: bigint): RingTensor =>
  mapped(x, (kernels, data) => kernels.divide(data, divisor))
/** The same numbers in 128 bits. */
export const widen = ({ shape, data }: RingTensor): RingTensor => ({ ring: 128, shape, data: signExtended(data) })

export interface MatMulAttrs {
  readonly transposeA: boolean
  readonly transposeB: boolean
}

/** [..., m, k] times [..., k, n]. */
export function matMul(a: RingTensor, b: RingTensor, { transposeA, transposeB }: MatMulAttrs): RingTensor {
  const batch = broadcastShapes('matMul', a.shape.slice(0, -2), b.shape.slice(0, -2))
  const [left, right] = [a.shape.slice(-2), b.shape.slice(-2)] as [[number, number], [number, number]]
  const [m, k] = transposeA ? [left[1], left[0]] : left
  const n = transposeB ? right[0] : right[1]
  const shape = [...batch, m, n]
  const count = sizeOf(batch)
  const kernels = ring(a.ring)
  const product = (x: Words, y: Words): Words => kernels.matMul(x, y, m, k, n, transposeA, transposeB)
  if (count === 1) return { ring: a.ring, shape, data: product(a.data, b.data) }
  const [x, y] = [spread(a, [...batch, ...left]).data, spread(b, [...batch, ...right]).data]
  const words = wordsPerElement(a.ring)
  const data = new BigUint64Array(words * count * m * n)
  const part = (of: Words, i: number, size: number): Words => of.subarray(words * i * size, words * (i + 1) * size)
  for (let i = 0; i < count; i++) {
    const one = product(part(x, i, m * k), part(y, i, k * n))
    data.set(one, words * i * m * n)
    recycle(one)
  }
  // What was spread for this product.
  recycle(...(x === a.data ? [] : [x]), ...(y === b.data ? [] : [y]))
  return { ring: a.ring, shape, data }
}

/** Sum over axes. */
export function sum(x: RingTensor, axis: readonly number[] | undefined, keepDims: boolean): RingTensor {
  const axes = normalizeAxes('sum', axis, x.shape.length)
  const shape = x.shape.flatMap((d, i) => (axes.includes(i) ? (keepDims ? [1] : []) : [d]))
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i))
  const perm = [...kept, ...[...axes].sort((a, b) => a - b)]
  const rows = sizeOf(shape)
  const columns = sizeOf(axes.map((i) => x.shape[i]!))
  // What adds rows up needs nothing turned over.
  if (axes.length > 0 && kept.length > 0 && kept.every((axis, i) => axis === axes.length + i)) {
    return { ring: x.ring, shape, data: ring(x.ring).sumColumns(x.data, columns, rows) }
  }
  const turned = permuted(x, perm)
  const data = ring(x.ring).sumRows(turned, rows, columns)
  if (turned !== x.data) recycle(turned)
  return { ring: x.ring, shape, data }
}

/** The elements with axes in another order. */
export function permuted(x: RingTensor, perm: readonly number[]): Words {
  if (perm.every((axis, i) => axis === i) || x.data.length === 0) return x.data
  // Axes that come to the front together are a matrix turned over.
  const [first] = perm as [number]
  if (perm.every((axis, i) => axis === (first + i) % perm.length)) {
    const columns = sizeOf(x.shape.slice(first))
    return ring(x.ring).transpose(x.data, countOf(x) / columns, columns)
  }
  const result = unfilledTensor(x.ring, perm.map((axis) => x.shape[axis]!)) // biome-ignore format: short
  copyView(x.ring, result.shape, x.data, turnedView(x.shape, perm), result.data, wholeOf(result.shape))
  return result.data
}

/** Slices along an axis, in the order in which they are named. */
export function slicesAt(x: RingTensor, indices: readonly number[], axis: number, shape: Shape): RingTensor {
  areInside(indices, x.shape[axis]!, axis)
  const inner = wordsPerElement(x.ring) * sizeOf(x.shape.slice(axis + 1))
  const block = inner * x.shape[axis]!
  const result = unfilledTensor(x.ring, shape)
  let at = 0
  for (let from = 0; from < x.data.length; from += block) {
    for (const index of indices) {
      result.data.set(x.data.subarray(from + index * inner, from + (index + 1) * inner), at)
      at += inner
    }
  }
  return result
}

/** Running sums along an axis. */
export function cumsum(x: RingTensor, axis: number, exclusive: boolean, reverse: boolean): RingTensor {
  const rank = x.shape.length
  if (x.data.length === 0) return x
  const perm = [...x.shape.keys()].filter((i) => i !== axis).concat(axis)
  const length = x.shape[axis]!
  const sums = ring(x.ring).cumulativeSum(permuted(x, perm), countOf(x) / length, length, exclusive, reverse)
  const back = Array.from({ length: rank }, (_, i) => perm.indexOf(i))
  const turned = ringTensor(
    x.ring,
    perm.map((i) => x.shape[i]!),
    sums,
  )
  return { ...x, data: permuted(turned, back) }
}
