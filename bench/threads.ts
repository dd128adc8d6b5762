/** Do workers in threads train at the same time? Three of them against three in this thread, each with data of its own. */
import { availableParallelism } from 'node:os'
import { hook, optim, ready, scope, tf, VirtualWorker } from 'sotto'
import { alternate, report, rounded } from './measure.ts'
import { batch, bottom, top } from './mnist-net.ts'
import { miss } from './parties.ts'

const WORKERS = 3
const STEPS = 20
const WANTED = 1.5
const backend = await ready()
hook()

const { images, labels } = batch()

/** Workers that train a net each, and wait for each other at the end of every round. */
async function trainers(options: { thread: boolean }) {
  const start = performance.now()
  const workers = Array.from({ length: WORKERS }, (_, i) => new VirtualWorker(`worker-${i}`, options))
  await Promise.all(workers.map((worker) => worker.flush()))
  const startup = performance.now() - start
  const nets = workers.map((worker, i) => {
    const net = tf.sequential({ layers: [...bottom(1 + i).layers, ...top(3 + i).layers] }).send(worker)
    const optimizer = optim.sgd(net.parameters(), { learningRate: 0.03 })
    const [x, y] = [images.send(worker), labels.send(worker)]
    const step = () =>
      scope(() => {
        const loss = net.apply(x).logSoftmax().nllLoss(y)
        loss.backward()
        optimizer.step()
        optimizer.zeroGrad()
        return loss
      })
    return { worker, step }
  })
  return {
    startup,
    workers,
    /** Steps of all, issued in turn; gives the last losses. */
    round: async (): Promise<number[]> => {
      for (let i = 1; i < STEPS; i++) for (const { step } of nets) step().dispose()
      const losses = await Promise.all(nets.map(({ step }) => step().get()))
      return losses.map((loss) => loss.dataSync()[0]!)
    },
    close: () => Promise.all(workers.map((worker) => worker.close())),
  }
}

const here = await trainers({ thread: false })
const there = await trainers({ thread: true })
const losses = [await here.round(), await there.round()]
if (String(losses[0]) !== String(losses[1])) throw new Error(`the losses differ: ${losses.join(' and ')}`)

// Each thread compiles for itself, for some four hundred steps, on cores that the others want too.
const training = await alternate(
  { 'in this thread': here.round, 'in threads': there.round },
  { rounds: 15, warmup: 20 },
)
const speedup = training['in threads'].ratio
report(
  `${WORKERS} workers, a training step of 784-128-640-10 on 64 rows each (${backend}, ${availableParallelism()} cores; at least ${WANTED} wanted)`,
  Object.entries(training).map(([where, { ms, ratio }]) => ({
    where,
    'ms a step of all': rounded(ms / STEPS),
    'times as fast (median of rounds)': rounded(ratio),
  })),
)

const large = tf.zeros([2 ** 24])
const roundTrip = (worker: VirtualWorker) => async () => {
  const value = await large.send(worker).get()
  value.dispose()
}
const transfer = await alternate(
  { 'in this thread': roundTrip(here.workers[0]!), 'in a thread': roundTrip(there.workers[0]!) },
  { rounds: 9 },
)
report(
  'A tensor of 64 MiB, there and back',
  Object.entries(transfer).map(([where, { ms, ratio }]) => ({
    where,
    ms: rounded(ms),
    'times as fast': rounded(ratio),
  })),
)

report('Making three workers, until they answer', [
  { where: 'in this thread', ms: rounded(here.startup) },
  { where: 'in threads, from TypeScript source', ms: rounded(there.startup) },
])
await Promise.all([here.close(), there.close()])
if (speedup < WANTED) miss(`three workers in threads are ${rounded(speedup)} times as fast as in this one`)
