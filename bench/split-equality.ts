/** How far do the losses of the split net stray from those of tfjs training the whole net, over 200 steps? */
import { batches, hook, loadMnist, ready, tf, VirtualWorker } from 'sotto'
import { report } from './measure.ts'
import { bottom, splitNet, top } from './mnist-net.ts'

const STEPS = 200
hook()
const rows = []
for (const backend of ['wasm', 'cpu'] as const) {
  await ready({ backend })
  const { train, source } = await loadMnist({ limit: STEPS * 64, testLimit: 1 })
  const images = train.images()
  const labels = train.labelsTensor()
  const [alice, bob] = [new VirtualWorker('alice'), new VirtualWorker('bob')]
  const net = splitNet(alice, bob)
  const [x, y] = [images.send(alice), labels.send(bob)]
  const [lower, upper] = [bottom(), top()]
  const sgd = tf.train.sgd(0.03)
  let largest = 0
  let last = [0, 0]
  for (const chosenRows of batches(train.count, { batchSize: 64, seed: 1 })) {
    const chosen = tf.tensor1d(chosenRows, 'int32')
    const [rowsOfX, rowsOfY] = [x.gather(chosen.send(alice)), y.gather(chosen.send(bob))]
    const loss = net.step(rowsOfX, rowsOfY)
    const expected = sgd.minimize(() => {
      const logits = upper.apply(lower.apply(images.gather(chosen))) as tf.Tensor
      const oneHot = tf.oneHot(labels.gather(chosen), 10)
      return tf.mul(oneHot, tf.logSoftmax(logits)).sum(1).neg().mean().asScalar()
    }, true)!
    const split = await loss.get()
    last = [split.dataSync()[0]!, expected.dataSync()[0]!]
    largest = Math.max(largest, Math.abs(last[0]! - last[1]!) / last[1]!)
    tf.dispose([chosen, split, expected])
    for (const pointer of [rowsOfX, rowsOfY]) pointer.dispose()
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
