/** The network of the split-MNIST demo, for benchmarks. */
import { type MoveOptions, type Optimizer, optim, type PointerTensor, scope, tf, type Worker } from 'sotto'

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

/** The net split over two workers; `step` trains it on rows that lie there, and gives the loss, `apply` the scores. */
export function splitNet(
  alice: Worker,
  bob: Worker,
  optimizerOf: (parameters: PointerTensor[]) => Optimizer = (p) => optim.sgd(p, { learningRate: 0.03 }),
  over: MoveOptions = {},
): { step(x: PointerTensor, y: PointerTensor): PointerTensor; apply(x: PointerTensor): PointerTensor } {
  const near = bottom().send(alice)
  const far = top().send(bob)
  const optimizer = optimizerOf([...near.parameters(), ...far.parameters()])
  return {
    step: (x, y) =>
      scope(() => {
        const loss = far
          .apply(near.apply(x).move(bob, { ...over, requiresGrad: true }))
          .logSoftmax()
          .nllLoss(y)
        loss.backward()
        optimizer.step()
        optimizer.zeroGrad()
        return loss
      }),
    apply: (x) => scope(() => far.apply(near.apply(x).move(bob))),
  }
}
