/** The network of the split-MNIST demo, for benchmarks. */
import { tf } from 'sotto'

export const bottom = (seed = 1): tf.Sequential =>
  tf.sequential({
    layers: [
      tf.layers.dense({
        units: 128,
        inputShape: [784],
        activation: 'relu',
        kernelInitializer: tf.initializers.glorotUniform({ seed }),
      }),
      tf.layers.dense({
        units: 640,
        activation: 'relu',
        kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 1 }),
      }),
    ],
  })

export const top = (seed = 3): tf.Sequential =>
  tf.sequential({
    layers: [
      tf.layers.dense({ units: 10, inputShape: [640], kernelInitializer: tf.initializers.glorotUniform({ seed }) }),
    ],
  })

/** A made-up batch: what is timed does not depend on the pixels. */
export const batch = (size = 64) => ({
  images: tf.randomUniform([size, 784], -1, 1, 'float32', 7) as tf.Tensor2D,
  labels: tf.randomUniform([size], 0, 10, 'int32', 8) as tf.Tensor1D,
})
