/** Do chained operations over a slow link cost one round trip, and a training step whose loss is not awaited none? */
import { hook, ready, scope, tf, VirtualWorker } from 'sotto'
import { median, report, rounded } from './measure.ts'
import { batch, splitNet } from './mnist-net.ts'

const LATENCY = 20
const OPS = 1000
const backend = await ready()
hook()

async function chain(worker: VirtualWorker): Promise<number> {
  const x = tf.tensor([1, 2, 3, 4, 5]).send(worker)
  await worker.flush()
  const start = performance.now()
  const result = scope(() => {
    let y = x
    for (let i = 0; i < OPS; i++) y = y.add(1)
    return y
  })
  const value = await result.get()
  const took = performance.now() - start
  if (value.dataSync()[0] !== OPS + 1) throw new Error('the chain computed something else')
  return took
}

const near = new VirtualWorker('near')
const far = new VirtualWorker('far', { latency: LATENCY })
const rows = []
for (const [name, workers] of [
  ['first run', 1],
  ['later runs', 9],
] as const) {
  const times = []
  for (let i = 0; i < workers; i++) times.push({ computing: await chain(near), total: await chain(far) })
  const computing = median(times.map((time) => time.computing))
  const total = median(times.map((time) => time.total))
  rows.push({
    chain: name,
    'computing ms': rounded(computing),
    [`${LATENCY} ms each way, ms`]: rounded(total),
    'above, ms': rounded(median(times.map((time) => time.total - time.computing))),
  })
}
report(
  `${OPS} chained ops (${backend}; one round trip is ${2 * LATENCY} ms, at most 60 ms above computing wanted)`,
  rows,
)

const alice = new VirtualWorker('alice', { latency: LATENCY })
const bob = new VirtualWorker('bob', { latency: LATENCY })
const net = splitNet(alice, bob)
const { images, labels } = batch()
const x = images.send(alice)
const y = labels.send(bob)
const issued = []
const awaited = []
for (let i = 0; i < 20; i++) {
  let start = performance.now()
  const loss = net.step(x, y)
  issued.push(performance.now() - start)
  await Promise.all([alice.flush(), bob.flush()])
  loss.dispose()
  start = performance.now()
  await net.step(x, y).get()
  awaited.push(performance.now() - start)
  await Promise.all([alice.flush(), bob.flush()])
}
const row = (loss: string, times: readonly number[]) => {
  const ms = median(times)
  return { loss, ms: rounded(ms), 'in latencies of one way': rounded(ms / LATENCY) }
}
report(
  `A split training step over links of ${LATENCY} ms each way, at the caller (awaited: to alice, on to bob, and back)`,
  [row('not awaited', issued), row('awaited', awaited)],
)
await Promise.all([near, far, alice, bob].map((worker) => worker.close()))
