/** What do compressed activations and gradients cost a training, and how long do they take to pack? One epoch each. */
import {
  accuracy,
  batches,
  errorFeedback,
  hook,
  loadMnist,
  type MoveOptions,
  noGrad,
  ready,
  scope,
  tf,
  VirtualWorker,
} from 'sotto'
import { type Compression, compressions, pack, remainderOf, unpack, withRemainder } from '../src/tensor/packed.ts'
import { alternate, report, rounded } from './measure.ts'
import { splitNet } from './mnist-net.ts'

const backend = await ready()
hook()

const SHAPE = [64, 640]
/** As after a ReLU: half of them zeros. */
const values = Float32Array.from({ length: 64 * 640 }, (_, i) => Math.max(0, Math.sin(i * i)))
const candidates = (encoding: Compression) => {
  const packed = pack(values, SHAPE, encoding)
  return {
    [`${encoding}: pack`]: () => pack(values, SHAPE, encoding),
    [`${encoding}: unpack`]: () => unpack(packed),
    [`${encoding}: pack, with feedback`]: () => {
      const sum = withRemainder(values, values)
      remainderOf(sum, pack(sum, SHAPE, encoding))
    },
  }
}
const timings = await alternate(Object.assign({}, ...compressions.map(candidates)), { rounds: 25, calls: 20 })
report(
  'A tensor of 64 × 640 (well under a millisecond wanted)',
  Object.entries(timings).map(([what, { ms }]) => ({ what, µs: rounded(1000 * ms) })),
)

const { train, test, source } = await loadMnist()
const [images, labels, testImages] = [train.images(), train.labelsTensor(), test.images()]

async function epoch(over: MoveOptions) {
  const [alice, bob] = [new VirtualWorker('alice'), new VirtualWorker('bob')]
  const net = splitNet(alice, bob, undefined, over)
  const [x, y, unseen] = [images.send(alice), labels.send(bob), testImages.send(alice)]
  let total = 0
  let steps = 0
  for (const rows of batches(train.count, { batchSize: 64, seed: 1 })) {
    const chosen = tf.tensor1d(rows, 'int32')
    const loss = await scope(() => net.step(x.gather(chosen.send(alice)), y.gather(chosen.send(bob)))).get()
    total += loss.dataSync()[0]! * rows.length
    tf.dispose([chosen, loss])
    steps++
  }
  const bytes = (await alice.stats()).links.find(({ role }) => role === 'peer')!.bytesOut
  const guesses = await noGrad(() => net.apply(unseen).argMax(-1)).get()
  const right = accuracy(guesses.dataSync(), test.labels)
  guesses.dispose()
  await Promise.all([alice.close(), bob.close()])
  return {
    loss: rounded(total / train.count, 4),
    'test %': rounded(100 * right, 4),
    'bytes a step': Math.round(bytes / steps),
  }
}

const forms: [string, MoveOptions][] = [['float32', {}]]
for (const compress of compressions) {
  forms.push([compress, { compress }])
  forms.push([`${compress}, feedback for gradients`, { compress, feedback: errorFeedback() }])
  forms.push([
    `${compress}, feedback for activations`,
    { compress, feedback: errorFeedback({ values: true, gradients: false }) },
  ])
}
const rows = []
for (const [form, over] of forms) rows.push({ form, ...(await epoch(over)) })
report(`One epoch of split-MNIST (${source}), 784-128-640 | 10, SGD 0.03, batch 64 (${backend})`, rows)
