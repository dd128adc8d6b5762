/** The windows of an image that a convolution or a pooling looks at, and convolutions as products of matrices of them. */
import { tf } from '../../tensor/engine.ts'
import { type ConvAttrs, paddingFor, type Shape, sizeOf } from '../../tensor/shape.ts'
import { recycle } from '../../worker/memory-pool.ts'
import { ring } from './choose.ts'
import { cached } from './moves.ts'
import { copyView, stridesOf, wholeOf } from './strided.ts'
import { matMul, permuted, type RingTensor, reshaped, ringTensor, ringZeros, unfilledTensor } from './tensor.ts'

/** [batch, height, width, filter height · filter width · channels]. */
export type WindowsShape = readonly [batch: number, height: number, width: number, taps: number]

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

/**
 * The windows themselves, one after another. They are views of the image, or of one with zeros around it where windows
 * hang over its edge.
 *
 * @param x [batch, height, width, channels]
 * @param filter height and width
 */
export function layWindows(x: RingTensor, filter: readonly [number, number], attrs: ConvAttrs): RingTensor {
  const { padInfo, strideHeight, strideWidth, dilationHeight, dilationWidth } = geometryOf(x.shape, filter, attrs)
  const [batch, outHeight, outWidth, taps] = windowsShape(x.shape, filter, attrs)
  const result = unfilledTensor(x.ring, [batch, outHeight, outWidth, taps])
  const around = [padInfo.top, padInfo.bottom, padInfo.left, padInfo.right]
  const image = around.some((pixels) => pixels > 0) ? framed(x, padInfo) : x
  const [image0, row, column, channel] = stridesOf(image.shape) as [number, number, number, number]
  const shape = [batch, outHeight, outWidth, ...filter, x.shape[3]!]
  const strides = [
    image0,
    strideHeight * row,
    strideWidth * column,
    dilationHeight * row,
    dilationWidth * column,
    channel,
  ]
  copyView(x.ring, shape, image.data, { at: 0, strides }, result.data, wholeOf(shape))
  if (image !== x) recycle(image.data)
  return result
}

/** An image with zeros around it. */
function framed(x: RingTensor, { top, bottom, left, right }: Record<'top' | 'bottom' | 'left' | 'right', number>) {
  const [batch, height, width, channels] = x.shape as [number, number, number, number]
  const result = ringZeros(x.ring, [batch, height + top + bottom, width + left + right, channels])
  const strides = stridesOf(result.shape)
  const at = top * strides[1]! + left * strides[2]!
  copyView(x.ring, x.shape, x.data, wholeOf(x.shape), result.data, { at, strides })
  return result
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
  const columns = layWindows(x, filterSize(filter.shape), attrs)
  const [batch, height, width, taps] = columns.shape as WindowsShape
  const out = filter.shape[3]!
  const data = ring(x.ring).matMul(columns.data, filter.data, batch * height * width, taps, out)
  recycle(columns.data)
  return { ring: x.ring, shape: [batch, height, width, out], data }
}

/** The gradient of {@link conv2d} for its filter, from x and the gradient of the result. */
export function conv2dFilter(x: RingTensor, dy: RingTensor, filter: Shape, attrs: ConvAttrs): RingTensor {
  const columns = layWindows(x, filterSize(filter), attrs)
  const [batch, height, width, taps] = columns.shape as WindowsShape
  const pixels = batch * height * width
  const flat = reshaped(dy, [pixels, filter[3]!])
  // Its own columns are fewer to turn over than those of the windows.
  const turned = matMul(flat, reshaped(columns, [pixels, taps]), { transposeA: true, transposeB: false })
  const gradient = permuted(turned, [1, 0])
  recycle(columns.data, turned.data)
  return ringTensor(x.ring, filter, gradient)
}

/** The gradient of {@link conv2d} for its input, from the gradient of the result and the filter. */
export function conv2dInput(dy: RingTensor, filter: RingTensor, x: Shape, attrs: ConvAttrs): RingTensor {
  const { indices, shape } = windowsOf(x, filterSize(filter.shape), attrs)
  const [batch, height, width, taps] = shape
  const out = filter.shape[3]!
  const flat = reshaped(dy, [batch * height * width, out])
  const taking = reshaped(filter, [taps, out])
  const columns = matMul(flat, taking, { transposeA: false, transposeB: true })
  const data = ring(dy.ring).scatterAdd(columns.data, indices, sizeOf(x))
  recycle(columns.data)
  return { ring: dy.ring, shape: x, data }
}
