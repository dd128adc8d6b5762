/** How far do the losses of the split net stray from those of tfjs training the whole net, over 200 steps? */
import { batches, hook, loadMnist, optim, ready, scope, tf, VirtualWorker } from 'sotto'
import { report } from './measure.ts'
import { bottom, top } from './mnist-net.ts'

const STEPS = 200
hook()
const rows = []
for (const backend of ['wasm', 'cpu'] as const) {
  await ready({ backend })
  const { train, source } = await loadMnist({ limit: STEPS * 64, testLimit: 1 })
  const images = train.images()
  const labels = train.labelsTensor()
  const [alice, bob] = [new VirtualWorker('alice'), new VirtualWorker('bob')]
  const [near, far] = [bottom().send(alice), top().send(bob)]
  const [x, y] = [images.send(alice), labels.send(bob)]
  const optimizer = optim.sgd([...near.parameters(), ...far.parameters()], { learningRate: 0.03 })
  const [lower, upper] = [bottom(), top()]
  const sgd = tf.train.sgd(0.03)
  let largest = 0
  let last = [0, 0]
  for (const chosenRows of batches(train.count, { batchSize: 64, seed: 1 })) {
    const chosen = tf.tensor1d(chosenRows, 'int32')
    const loss = scope(() => {
      const cut = near.apply(x.gather(chosen.send(alice))).move(bob, { requiresGrad: true })
      const value = far
        .apply(cut)
        .logSoftmax()
        .nllLoss(y.gather(chosen.send(bob)))
      value.backward()
      optimizer.step()
      optimizer.zeroGrad()
      return value
    })
    const expected = sgd.minimize(() => {
      const logits = upper.apply(lower.apply(images.gather(chosen))) as tf.Tensor
      const oneHot = tf.oneHot(labels.gather(chosen), 10)
      return tf.mul(oneHot, tf.logSoftmax(logits)).sum(1).neg().mean().asScalar()
    }, true)!
    const split = await loss.get()
    last = [split.dataSync()[0]!, expected.dataSync()[0]!]
    largest = Math.max(largest, Math.abs(last[0]! - last[1]!) / last[1]!)
    tf.dispose([chosen, split, expected])
  }
  rows.push({
    backend,
    data: source,
    'largest relative deviation': largest.toExponential(2),
    'last loss, split': last[0]!,
    'last loss, whole': last[1]!,
  })
  await Promise.all([alice.close(), bob.close()])
}
report(
  `Losses of ${STEPS} steps, 784-128-640-10, split over two workers against tfjs in one process (at most 1e-4 wanted)`,
  rows,
)
