/** What does it cost to split a network? A step over two workers against one of the whole net on one, with one engine. */
import { hook, ready, SplitNN, VirtualWorker } from 'sotto'
import { alternate, report, rounded } from './measure.ts'
import { batch, bottom, splitNet, top } from './mnist-net.ts'
import { miss } from './parties.ts'

const WANTED = 1.1
const backend = await ready()
hook()
const { images, labels } = batch()
const workers = ['whole', 'alice', 'bob', 'near', 'far'].map((id) => new VirtualWorker(id))
const [home, alice, bob, near, far] = workers as [
  VirtualWorker,
  VirtualWorker,
  VirtualWorker,
  VirtualWorker,
  VirtualWorker,
]
const optimizer = { kind: 'sgd', learningRate: 0.03 } as const
const whole = new SplitNN([
  { model: bottom(), worker: home, optimizer },
  { model: top(), worker: home, optimizer },
])
const split = new SplitNN([
  { model: bottom(), worker: alice, optimizer },
  { model: top(), worker: bob, optimizer },
])
const byHand = splitNet(near, far)
const on = (there: VirtualWorker, here: VirtualWorker) => [images.send(there), labels.send(here)] as const
const places = { whole: on(home, home), split: on(alice, bob), byHand: on(near, far) }

/** Steps in a row, the last one waited for. */
const STEPS = 5
const steps = (step: () => { get(): Promise<unknown>; dispose(): void }) => async () => {
  for (let i = 1; i < STEPS; i++) step().dispose()
  await step().get()
}
const timings = await alternate(
  {
    'the whole net on one worker': steps(() => whole.trainBatch(...places.whole)),
    'split over two, by SplitNN': steps(() => split.trainBatch(...places.split)),
    'split over two, by pointers': steps(() => byHand.step(...places.byHand)),
  },
  { rounds: 41, warmup: 10 },
)
report(
  `A training step of 784-128-640-10, batch 64, in process (${backend}; at most ${WANTED} wanted)`,
  Object.entries(timings).map(([step, { ms, ratio }]) => ({
    step,
    ms: rounded(ms / STEPS),
    'times as long': rounded(1 / ratio),
  })),
)
const { ratio } = timings['split over two, by SplitNN']
if (1 / ratio > WANTED) miss(`a split step takes ${rounded(1 / ratio)} times as long as an unsplit one`)
await Promise.all(workers.map((worker) => worker.close()))
