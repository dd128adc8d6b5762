/** The layers of the examples' networks. */
import { tf } from 'sotto'

/** Weights and biases uniform within ±1/√(inputs), as PyTorch's linear layers start; two seeds, from the given one. */
export const dense = (units: number, inputs: number, seed: number, activation?: 'relu'): tf.layers.Layer => {
  const bound = 1 / Math.sqrt(inputs)
  return tf.layers.dense({
    units,
    inputShape: [inputs],
    kernelInitializer: tf.initializers.randomUniform({ minval: -bound, maxval: bound, seed }),
    biasInitializer: tf.initializers.randomUniform({ minval: -bound, maxval: bound, seed: seed + 1 }),
    ...(activation ? { activation } : {}),
  })
}
