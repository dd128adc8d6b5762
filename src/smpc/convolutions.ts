/**
 * Convolutions and poolings of some images at a time: laid out as windows, an image takes as much room as it has pixels
 * under each filter. Those of a whole batch are more than any cache holds, and the lists of where they come from more than
 * are kept (`ring/moves.ts`), so that every step would make them anew.
 */
import { type ConvAttrs, type Shape, sizeOf } from '../tensor/shape.ts'
import { recycle } from '../worker/memory-pool.ts'
import { ring } from './ring/choose.ts'
import * as whole from './ring/convolution.ts'
import { wordsPerElement } from './ring/kernels.ts'
import type { RingTensor } from './ring/tensor.ts'
import * as rt from './ring/tensor.ts'

/** Elements of windows that are laid out together: of 64 bits 1 MB. A single image may have more. */
const TOGETHER = 2 ** 17

/** From an image to another, exclusive. */
type Part = readonly [number, number]

/** The parts of a batch x [batch, height, width, in] under a filter. */
function partsOf(x: Shape, [height, width]: Shape, attrs: ConvAttrs): Part[] {
  const batch = x[0]!
  const each = sizeOf(whole.windowsShape([1, ...x.slice(1)], [height!, width!], attrs))
  const step = Math.max(1, Math.floor(TOGETHER / Math.max(1, each)))
  return Array.from({ length: Math.ceil(batch / step) }, (_, i) => [i * step, Math.min(batch, (i + 1) * step)])
}

/** Some images, without a copy. */
function imagesOf({ ring, shape: [, ...image], data }: RingTensor, [from, to]: Part): RingTensor {
  const size = wordsPerElement(ring) * sizeOf(image)
  return { ring, shape: [to - from, ...image], data: data.subarray(from * size, to * size) }
}

/** What is made of each part, and nobody else has, one after another. */
function joined(parts: readonly Part[], of: (part: Part) => RingTensor, result: RingTensor): RingTensor {
  const size = result.data.length / Math.max(1, result.shape[0]!)
  for (const part of parts) {
    const { data } = of(part)
    result.data.set(data, part[0] * size)
    recycle(data)
  }
  return result
}

/** x [batch, height, width, in] with a filter [height, width, in, out]. */
export function conv2d(x: RingTensor, filter: RingTensor, attrs: ConvAttrs): RingTensor {
  const [batch, height, width] = whole.windowsShape(x.shape, [filter.shape[0]!, filter.shape[1]!], attrs)
  const result = rt.unfilledTensor(x.ring, [batch, height, width, filter.shape[3]!])
  return joined(partsOf(x.shape, filter.shape, attrs), (part) => whole.conv2d(imagesOf(x, part), filter, attrs), result)
}

/** The gradient of {@link conv2d} for its filter, from x and the gradient of the result. */
export function conv2dFilter(x: RingTensor, dy: RingTensor, filter: Shape, attrs: ConvAttrs): RingTensor {
  return partsOf(x.shape, filter, attrs)
    .map((part) => whole.conv2dFilter(imagesOf(x, part), imagesOf(dy, part), filter, attrs))
    .reduce(rt.add, rt.ringZeros(x.ring, filter))
}

/** The gradient of {@link conv2d} for its input, from the gradient of the result and the filter. */
export function conv2dInput(dy: RingTensor, filter: RingTensor, x: Shape, attrs: ConvAttrs): RingTensor {
  const back = (part: Part): RingTensor =>
    whole.conv2dInput(imagesOf(dy, part), filter, [part[1] - part[0], ...x.slice(1)], attrs)
  return joined(partsOf(x, filter.shape, attrs), back, rt.unfilledTensor(dy.ring, x))
}

type Filter = readonly [number, number]

/** The windows of a pooling, one after another: [batch, height, width, filter height · filter width, channels]. */
export function windowsOf(x: RingTensor, filter: Filter, attrs: ConvAttrs): RingTensor {
  const [batch, height, width, taps] = whole.windowsShape(x.shape, filter, attrs)
  const channels = x.shape[3]!
  const windows = (part: Part): RingTensor => whole.layWindows(imagesOf(x, part), filter, attrs)
  const shape = [batch, height, width, channels === 0 ? 0 : taps / channels, channels]
  return joined(partsOf(x.shape, filter, attrs), windows, rt.unfilledTensor(x.ring, shape))
}

/** The gradient of {@link windowsOf} for the image. */
export function windowsBack(dy: RingTensor, filter: Filter, attrs: ConvAttrs, x: Shape): RingTensor {
  const back = (part: Part): RingTensor => {
    const { indices } = whole.windowsOf([part[1] - part[0], ...x.slice(1)], filter, attrs)
    const size = sizeOf([part[1] - part[0], ...x.slice(1)])
    return rt.ringTensor(dy.ring, [size], ring(dy.ring).scatterAdd(imagesOf(dy, part).data, indices, size))
  }
  return joined(partsOf(x, filter, attrs), back, rt.unfilledTensor(dy.ring, x))
}
