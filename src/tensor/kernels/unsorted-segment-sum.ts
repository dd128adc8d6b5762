import * as tf from '@tensorflow/tfjs'
import { sottoError } from '../../errors.ts'
import { heapView, toFloat } from './wasm.ts'

/**
 * Adds the rows of x that carry the same id: the gradient of `gather`, and so of every embedding.
 *
 * A row whose id is negative, or not below `numSegments`, is dropped, as on the cpu backend. There, where each segment
 * is a masked sum over all rows, a NaN or Infinity in one row reaches every segment; here it stays in its own.
 *
 * @returns float32 of shape [numSegments, ...x.shape.slice(1)], for x of any numeric dtype
 * @throws ERR_SHAPE unless `segmentIds` has one id for each row of x
 */
export const unsortedSegmentSum: tf.KernelFunc = ({ inputs, attrs, backend }) => {
  const { x: given, segmentIds } = inputs as { x: tf.TensorInfo; segmentIds: tf.TensorInfo }
  const { numSegments } = attrs as unknown as { numSegments: number }
  if (segmentIds.dtype !== 'int32') {
    throw sottoError('ERR_DTYPE', `UnsortedSegmentSum: "segmentIds" expected int32, got ${segmentIds.dtype}`)
  }
  const [rows = 0, ...inner] = given.shape
  if (segmentIds.shape.length !== 1 || segmentIds.shape[0] !== rows || given.shape.length === 0) {
    throw sottoError(
      'ERR_SHAPE',
      `UnsortedSegmentSum: "segmentIds" expected one id for each row of x [${given.shape}], got [${segmentIds.shape}]`,
      { x: given.shape, segmentIds: segmentIds.shape },
    )
  }
  return tf.tidy(() => {
    const x = toFloat('UnsortedSegmentSum', 'x', given)
    const width = tf.util.sizeFromShape(inner)
    const sums = new Float32Array(numSegments * width)
    const values = heapView(backend, x)
    const ids = heapView(backend, segmentIds)
    for (let row = 0; row < rows; row++) {
      const id = ids[row]!
      if (id < 0 || id >= numSegments) continue
      const from = row * width
      const to = id * width
      for (let i = 0; i < width; i++) sums[to + i]! += values[from + i]!
    }
    return tf.tensor(sums, [numSegments, ...inner], 'float32')
  })
}
