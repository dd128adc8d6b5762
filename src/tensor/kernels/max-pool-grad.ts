import * as tf from '@tensorflow/tfjs'
import { heapView, toFloat } from './wasm.ts'

interface Attrs {
  filterSize: number | [number, number]
  strides: number | [number, number]
  pad: 'valid' | 'same' | number | tf.backend_util.ExplicitPadding
  dimRoundingMode?: 'floor' | 'round' | 'ceil'
}

/**
 * Gradient of 2D max pooling: each number of dy goes to the pixel of its window that was the largest, the first of them
 * when several were.
 *
 * That of tfjs 4.22's wasm backend starts its search at the smallest positive float, where the lowest was meant
 * (`numeric_limits<float>::min()` in MaxPoolGrad.cc): a window without a positive pixel loses its gradient. After a relu
 * nobody sees it; after tanh or a linear layer training goes wrong without a word.
 *
 * @returns float32 of the input's shape, NHWC
 */
export const maxPoolGrad: tf.KernelFunc = ({ inputs, attrs, backend }) => {
  const { filterSize, strides, pad, dimRoundingMode } = attrs as unknown as Attrs
  return tf.tidy(() => {
    const input = toFloat<tf.Tensor4D>('MaxPoolGrad', 'input', inputs.input)
    const dy = toFloat<tf.Tensor4D>('MaxPoolGrad', 'dy', inputs.dy)
    const pool = tf.backend_util.computePool2DInfo(input.shape, filterSize, strides, 1, pad, dimRoundingMode)
    const { batchSize, inHeight, inWidth, outHeight, outWidth, inChannels, strideHeight, strideWidth } = pool
    const x = heapView(backend, input)
    const gradients = heapView(backend, dy)
    const dx = new Float32Array(input.size)
    let out = 0
    for (let b = 0; b < batchSize; b++) {
      for (let i = 0; i < outHeight; i++) {
        const corner = i * strideHeight - pool.padInfo.top
        const bottom = Math.min(inHeight, corner + pool.filterHeight)
        for (let j = 0; j < outWidth; j++) {
          const left = j * strideWidth - pool.padInfo.left
          const right = Math.min(inWidth, left + pool.filterWidth)
          for (let c = 0; c < inChannels; c++, out++) {
            let largest = -1
            for (let row = Math.max(0, corner); row < bottom; row++) {
              for (let column = Math.max(0, left); column < right; column++) {
                const at = ((b * inHeight + row) * inWidth + column) * inChannels + c
                if (largest < 0 || x[at]! > x[largest]!) largest = at
              }
            }
            if (largest >= 0) dx[largest]! += gradients[out]!
          }
        }
      }
    }
    return tf.tensor4d(dx, input.shape)
  })
}
