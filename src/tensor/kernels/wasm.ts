/** What the kernels of this folder share: access to the heap of the wasm backend, dtypes, and placing by padding. */
import * as tf from '@tensorflow/tfjs'
import { sottoError } from '../../errors.ts'

/** The one method of tfjs's wasm backend that kernels written on typed arrays need. */
interface WasmBackend {
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array | Int32Array | Uint8Array
}

/**
 * The values of a tensor where they lie on the wasm heap, uncopied, for reading.
 * The view dies when the heap grows: make no tensor while holding it.
 */
export function heapView(backend: unknown, tensor: tf.TensorInfo): Float32Array | Int32Array | Uint8Array {
  return (backend as WasmBackend).typedArrayFromHeap(tensor)
}

/** An input of a kernel as float32, as tfjs's cpu kernels read it. */
export function toFloat<T extends tf.Tensor>(kernel: string, name: string, input: tf.TensorInfo | undefined): T {
  const { dtype } = input!
  if (dtype === 'complex64' || dtype === 'string') {
    throw sottoError('ERR_DTYPE', `${kernel}: "${name}" expected float32, int32 or bool, got ${dtype}`, {
      kernel,
      dtype,
    })
  }
  return tf.cast(input as tf.Tensor, 'float32') as T
}

/** Rows and columns to add around an image; a negative number takes that many away. */
export interface Margins {
  readonly top: number
  readonly bottom: number
  readonly left: number
  readonly right: number
}

/**
 * Prepares images for a convolution with margins of either sign.
 *
 * @param images shape [n, height, width, channels]
 * @returns the images cropped by the negative margins, and the others as `pad` of `tf.conv2d`; nothing when the crop
 *   leaves no pixel, so that the convolution would see zeros only
 */
export function withMargins(images: tf.Tensor4D, { top, bottom, left, right }: Margins) {
  const [n, height, width, channels] = images.shape
  const crop = (margin: number) => Math.max(0, -margin)
  const grow = (margin: number) => Math.max(0, margin)
  const rows = height - crop(top) - crop(bottom)
  const columns = width - crop(left) - crop(right)
  if (rows <= 0 || columns <= 0) return undefined
  const whole = rows === height && columns === width
  const pad: [[number, number], [number, number], [number, number], [number, number]] = [
    [0, 0],
    [grow(top), grow(bottom)],
    [grow(left), grow(right)],
    [0, 0],
  ]
  return {
    images: whole ? images : tf.slice(images, [0, crop(top), crop(left), 0], [n, rows, columns, channels]),
    pad,
  }
}
