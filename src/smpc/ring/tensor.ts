/** Tensors over the ring: shapes on top of the kernels. Nothing here knows a scale, or a secret. */
import { tf } from '../../tensor/engine.ts'
import {
  broadcastShapes,
  type ConvAttrs,
  normalizeAxes,
  paddingFor,
  type Shape,
  sameShape,
  sizeOf,
} from '../../tensor/shape.ts'
import { ring } from './choose.ts'
import type { Words } from './kernels.ts'
import { cached, indicesOf } from './moves.ts'

/** Elements row by row. Never changed once made. */
export interface RingTensor {
  readonly shape: Shape
  readonly data: Words
}

export const ringTensor = (shape: Shape, data: Words): RingTensor => ({ shape, data })
export const reshaped = ({ data }: RingTensor, shape: Shape): RingTensor => ({ shape, data })
/** What they take on a worker, whatever dtype their values have. */
export const roomFor = (shape: Shape) => ({ shape, elementBytes: 8 })
export const ringZeros = (shape: Shape): RingTensor => ({ shape, data: new BigUint64Array(sizeOf(shape)) })

/** Little-endian bytes, as they travel. Shares the memory. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: Words): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** Bytes one after another. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
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
  if (x.data.length === sizeOf(shape)) return reshaped(x, shape)
  if (x.data.length === 1) return { shape, data: new BigUint64Array(sizeOf(shape)).fill(x.data[0]!) }
  if (sizeOf(shape) === 0) return ringZeros(shape)
  return { shape, data: ring().gather(x.data, indicesOf('broadcastTo', [x.shape], [shape])[0]!) }
}

const elementwise =
  (name: string, kernel: (a: Words, b: Words) => Words) =>
  (a: RingTensor, b: RingTensor): RingTensor => {
    const shape = broadcastShapes(name, a.shape, b.shape)
    return { shape, data: kernel(spread(a, shape).data, spread(b, shape).data) }
  }

export const add = elementwise('add', (a, b) => ring().add(a, b))
export const sub = elementwise('sub', (a, b) => ring().sub(a, b))
export const mul = (a: RingTensor, b: RingTensor): RingTensor => {
  // A public factor is mostly one number.
  if (b.data.length === 1 && b.shape.length === 0) return { shape: a.shape, data: ring().mulScalar(a.data, b.data[0]!) }
  return product(a, b)
}
const product = elementwise('mul', (a, b) => ring().mul(a, b))
export const neg = ({ shape, data }: RingTensor): RingTensor => ({ shape, data: ring().neg(data) })
export const addScalar = ({ shape, data }: RingTensor, k: bigint): RingTensor => ({
  shape,
  data: ring().addScalar(data, k),
})
export const divide = ({ shape, data }: RingTensor, divisor: bigint): RingTensor => ({
  shape,
  data: ring().divide(data, divisor),
})

/** Rows and columns of each matrix as they are multiplied, and the matrices that stand together. */
function matrices(x: RingTensor, transposed: boolean, batch: Shape): { data: Words; rows: number; columns: number } {
  const [rows, columns] = x.shape.slice(-2) as [number, number]
  const whole = spread(x, [...batch, rows, columns])
  if (!transposed) return { data: whole.data, rows, columns }
  const rank = whole.shape.length
  const perm = whole.shape.map((_, i) => (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i))
  const data = ring().gather(whole.data, indicesOf('transpose', [whole.shape], [perm])[0]!)
  return { data, rows: columns, columns: rows }
}

export interface MatMulAttrs {
  readonly transposeA: boolean
  readonly transposeB: boolean
}

/** [..., m, k] times [..., k, n]. */
export function matMul(a: RingTensor, b: RingTensor, { transposeA, transposeB }: MatMulAttrs): RingTensor {
  const batch = broadcastShapes('matMul', a.shape.slice(0, -2), b.shape.slice(0, -2))
  const x = matrices(a, transposeA, batch)
  const y = matrices(b, transposeB, batch)
  const [m, k, n] = [x.rows, x.columns, y.columns]
  const shape = [...batch, m, n]
  const count = sizeOf(batch)
  if (count === 1) return { shape, data: ring().matMul(x.data, y.data, m, k, n) }
  const data = new BigUint64Array(count * m * n)
  for (let i = 0; i < count; i++) {
    const [left, right] = [x.data.subarray(i * m * k, (i + 1) * m * k), y.data.subarray(i * k * n, (i + 1) * k * n)]
    data.set(ring().matMul(left, right, m, k, n), i * m * n)
  }
  return { shape, data }
}

/** Sum over axes. */
export function sum(x: RingTensor, axis: readonly number[] | undefined, keepDims: boolean): RingTensor {
  const axes = normalizeAxes('sum', axis, x.shape.length)
  const shape = x.shape.flatMap((d, i) => (axes.includes(i) ? (keepDims ? [1] : []) : [d]))
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i))
  const perm = [...kept, ...[...axes].sort((a, b) => a - b)]
  const rows = sizeOf(shape)
  const columns = sizeOf(axes.map((i) => x.shape[i]!))
  return { shape, data: ring().sumRows(permuted(x, perm), rows, columns) }
}

function permuted(x: RingTensor, perm: readonly number[]): Words {
  if (perm.every((axis, i) => axis === i) || x.data.length === 0) return x.data
  return ring().gather(x.data, indicesOf('transpose', [x.shape], [perm])[0]!)
}

/** Running sums along an axis. */
export function cumsum(x: RingTensor, axis: number, exclusive: boolean, reverse: boolean): RingTensor {
  const rank = x.shape.length
  if (x.data.length === 0) return x
  const perm = [...x.shape.keys()].filter((i) => i !== axis).concat(axis)
  const length = x.shape[axis]!
  const sums = ring().cumulativeSum(permuted(x, perm), x.data.length / length, length, exclusive, reverse)
  const back = Array.from({ length: rank }, (_, i) => perm.indexOf(i))
  const turned = { shape: perm.map((i) => x.shape[i]!), data: sums }
  return { shape: x.shape, data: permuted(turned, back) }
}

/** [batch, height, width, filter height · filter width · channels]. */
type WindowsShape = readonly [batch: number, height: number, width: number, taps: number]

/** Where each element of a window comes from. */
interface Windows {
  readonly indices: Int32Array
  readonly shape: WindowsShape
}

const geometryOf = (x: Shape, filter: readonly [number, number], { dilations, strides, pad }: ConvAttrs) =>
  tf.backend_util.computeConv2DInfo(
    [x[0]!, x[1]!, x[2]!, x[3]!],
    [...filter, x[3]!, 1],
    strides as [number, number],
    dilations as [number, number],
    paddingFor(pad),
  )

/** The shape of {@link windowsOf}, before any of them is laid out: they may be more than fit. */
export function windowsShape(x: Shape, filter: readonly [number, number], attrs: ConvAttrs): WindowsShape {
  const { batchSize, outHeight, outWidth } = geometryOf(x, filter, attrs)
  return [batchSize, outHeight, outWidth, filter[0] * filter[1] * x[3]!]
}

/**
 * The windows that a convolution or a pooling looks at, as indices into the image; −1 where a window hangs over the edge.
 *
 * @param x [batch, height, width, channels]
 * @param filter height and width
 */
export function windowsOf(x: Shape, filter: readonly [number, number], attrs: ConvAttrs): Windows {
  return cached(['windows', x, filter, attrs], () => {
    const [, height, width, channels] = x as [number, number, number, number]
    const { padInfo, strideHeight, strideWidth, dilationHeight, dilationWidth } = geometryOf(x, filter, attrs)
    const shape = windowsShape(x, filter, attrs)
    const [batch, outHeight, outWidth] = shape
    const indices = new Int32Array(sizeOf(shape))
    let at = 0
    for (let b = 0; b < batch; b++) {
      for (let i = 0; i < outHeight; i++) {
        for (let j = 0; j < outWidth; j++) {
          for (let u = 0; u < filter[0]; u++) {
            const row = i * strideHeight - padInfo.top + u * dilationHeight
            for (let v = 0; v < filter[1]; v++) {
              const column = j * strideWidth - padInfo.left + v * dilationWidth
              const isInside = row >= 0 && row < height && column >= 0 && column < width
              const from = ((b * height + row) * width + column) * channels
              for (let c = 0; c < channels; c++) indices[at++] = isInside ? from + c : -1
            }
          }
        }
      }
    }
    return { indices, shape }
  })
}

/** How many pixels of the image each window of a pooling covers. */
export function coverage(
  x: Shape,
  filter: readonly [number, number],
  attrs: ConvAttrs,
): { readonly counts: readonly number[]; readonly shape: Shape } {
  const { indices, shape } = windowsOf([1, x[1]!, x[2]!, 1], filter, attrs)
  const [, height, width, taps] = shape
  const counts = new Array<number>(height * width).fill(0)
  indices.forEach((index, i) => {
    if (index >= 0) counts[Math.floor(i / taps)]!++
  })
  return { counts, shape: [1, height, width, 1] }
}

const filterSize = (filter: Shape): [number, number] => [filter[0]!, filter[1]!]

/** x [batch, height, width, in] with a filter [height, width, in, out], by im2col and one matrix product. */
export function conv2d(x: RingTensor, filter: RingTensor, attrs: ConvAttrs): RingTensor {
  const { indices, shape } = windowsOf(x.shape, filterSize(filter.shape), attrs)
  const [batch, height, width, taps] = shape
  const out = filter.shape[3]!
  const columns = ring().gather(x.data, indices)
  const data = ring().matMul(columns, filter.data, batch * height * width, taps, out)
  return { shape: [batch, height, width, out], data }
}

/** The gradient of {@link conv2d} for its filter, from x and the gradient of the result. */
export function conv2dFilter(x: RingTensor, dy: RingTensor, filter: Shape, attrs: ConvAttrs): RingTensor {
  const { indices, shape } = windowsOf(x.shape, filterSize(filter), attrs)
  const [batch, height, width, taps] = shape
  const columns = { shape: [batch * height * width, taps], data: ring().gather(x.data, indices) }
  const flat = { shape: [batch * height * width, filter[3]!], data: dy.data }
  return reshaped(matMul(columns, flat, { transposeA: true, transposeB: false }), filter)
}

/** The gradient of {@link conv2d} for its input, from the gradient of the result and the filter. */
export function conv2dInput(dy: RingTensor, filter: RingTensor, x: Shape, attrs: ConvAttrs): RingTensor {
  const { indices, shape } = windowsOf(x, filterSize(filter.shape), attrs)
  const [batch, height, width, taps] = shape
  const out = filter.shape[3]!
  const flat = { shape: [batch * height * width, out], data: dy.data }
  const taking = { shape: [taps, out], data: filter.data }
  const columns = matMul(flat, taking, { transposeA: false, transposeB: true })
  return { shape: x, data: ring().scatterAdd(columns.data, indices, sizeOf(x)) }
}
