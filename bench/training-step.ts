/** How fast is a training step of the split net through pointers, against tfjs's own `minimize` on the unsplit net? */
import { hook, ready, tf, VirtualWorker } from 'sotto'
import { alternate, report, rounded } from './measure.ts'
import { batch, bottom, splitNet, top } from './mnist-net.ts'

const backend = await ready()
hook()
const { images, labels } = batch()

const whole = [bottom(), top()] as const
const oneHot = tf.oneHot(labels, 10)
const sgd = tf.train.sgd(0.03)
const minimize = () => {
  const loss = sgd.minimize(() => {
    const logits = whole[1].apply(whole[0].apply(images)) as tf.Tensor2D
    return tf.losses.softmaxCrossEntropy(oneHot, logits)
  }, true)
  const value = loss!.dataSync()[0]
  loss!.dispose()
  return value
}

const alice = new VirtualWorker('alice')
const bob = new VirtualWorker('bob')
const net = splitNet(alice, bob)
const x = images.send(alice)
const y = labels.send(bob)
const split = async () => (await net.step(x, y).get()).dataSync()[0]

const timings = await alternate({ minimize, split }, { rounds: 25, calls: 4 })
report(`One training step, 784-128-640-10, batch 64 (${backend}; at least 2.5× wanted)`, [
  { step: "tfjs's optimizer.minimize, unsplit", ms: rounded(timings.minimize.ms), 'times faster': 1 },
  {
    step: 'through pointers, split over two workers',
    ms: rounded(timings.split.ms),
    'times faster': rounded(timings.split.ratio),
  },
])
await Promise.all([alice.close(), bob.close()])
