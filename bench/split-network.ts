/**
 * Does a network between the owners make split learning slow? Exact training costs a round trip a batch; batches in flight
 * cost none, and what they cost in accuracy; micro-batches and compression where the line is narrow.
 */
import {
  type FitOptions,
  hook,
  loadMnist,
  ready,
  SocketWorker,
  SplitNN,
  type SplitNNOptions,
  VirtualWorker,
  type Worker,
} from 'sotto'
import { relay } from './lib/relay.ts'
import { median, report, rounded } from './measure.ts'
import { bottom, top } from './mnist-net.ts'
import { miss } from './parties.ts'
import { type Served, start } from './processes.ts'

const LATENCY = 20
const IN_FLIGHT = 8
/** All of them from the first batch on: what is timed is the steady state. */
const AHEAD = { inFlight: IN_FLIGHT, rampUp: 0 }
const BATCHES = 60
const ROUNDS = 3
const backend = await ready()
hook()
const { train, test, source } = await loadMnist()
const optimizer = { kind: 'sgd', learningRate: 0.03 } as const

const makeNet = (alice: Worker, bob: Worker, options: SplitNNOptions = {}) =>
  new SplitNN(
    [
      { model: bottom(), worker: alice, optimizer },
      { model: top(), worker: bob, optimizer },
    ],
    options,
  )

/** Milliseconds of a batch in a row of them: of two rows, the longer less the shorter, so that its ends fall out. */
async function stepTime(
  alice: Worker,
  bob: Worker,
  options: SplitNNOptions = {},
  fit: FitOptions = {},
  batches = BATCHES,
): Promise<number> {
  const net = makeNet(alice, bob, options)
  const rows = (count: number) => {
    const own = train.images().slice([0, 0], [64 * count, 784])
    const data = {
      x: own.send(alice),
      y: train
        .labelsTensor()
        .slice([0], [64 * count])
        .send(bob),
    }
    own.dispose()
    return data
  }
  const [short, long] = [rows(10), rows(10 + batches)]
  const timed = async (data: ReturnType<typeof rows>) => {
    const began = performance.now()
    await net.fit(data, fit)
    return performance.now() - began
  }
  await timed(long)
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) times.push((await timed(long)) - (await timed(short)))
  for (const { x, y } of [short, long]) for (const pointer of [x, y]) pointer.dispose()
  net.dispose()
  return median(times) / batches
}

const two = <T>(make: (id: string) => T): [T, T] => [make('alice'), make('bob')]
const near = two((id) => new VirtualWorker(id))
const apart = two((id) => new VirtualWorker(id, { latency: LATENCY }))
const zero = await stepTime(...near)
const exact = await stepTime(...apart)
const ahead = await stepTime(...apart, {}, AHEAD)
const bound = 2 * LATENCY + zero
report(`A batch of split-MNIST, ${LATENCY} ms each way between the owners (${backend}, simulated network)`, [
  { training: 'no latency', 'ms a batch': rounded(zero), 'of its bound': '', wanted: '' },
  {
    training: 'exact',
    'ms a batch': rounded(exact),
    'of its bound': `${rounded(exact / bound)} of a round trip and the step without latency`,
    wanted: 'at most 1.1',
  },
  {
    training: `inFlight: ${IN_FLIGHT}`,
    'ms a batch': rounded(ahead),
    'of its bound': `${rounded(ahead / zero)} of the step without latency`,
    wanted: 'at most 1.3',
  },
])
if (exact / bound > 1.1) miss(`exact training takes ${rounded(exact / bound)} of its bound`)
if (ahead / zero > 1.3) miss(`batches in flight take ${rounded(ahead / zero)} of the time without latency`)
await Promise.all(apart.map((worker) => worker.close()))

const EPOCHS = 5
const accuracies: { training: string; 'loss by epoch': string; accuracy: number }[] = []
for (const inFlight of [1, IN_FLIGHT]) {
  const [alice, bob] = near
  const net = makeNet(alice, bob)
  const data = { x: train.images().send(alice), y: train.labelsTensor().send(bob) }
  const held = { x: test.images().send(alice), y: test.labelsTensor().send(bob) }
  const { epochs } = await net.fit(data, { epochs: EPOCHS, inFlight })
  const { accuracy } = await net.evaluate(held)
  accuracies.push({
    training: inFlight === 1 ? 'exact' : `inFlight: ${inFlight}`,
    'loss by epoch': epochs.map(({ loss }) => loss!.toFixed(3)).join(' '),
    accuracy: rounded(accuracy!, 4),
  })
  for (const pointer of [data.x, data.y, held.x, held.y]) pointer.dispose()
  net.dispose()
}
report(
  `What it costs in accuracy: ${EPOCHS} epochs of ${train.count} images (${source}), ${test.count} tested`,
  accuracies,
)
const cost = accuracies[0]!.accuracy - accuracies[1]!.accuracy
if (cost > 0.003) miss(`batches in flight cost ${rounded(100 * cost)} % of accuracy`)
await Promise.all(near.map((worker) => worker.close()))

// Two processes with a narrow line between them: what is sent takes as long as the way.
const LINE = { latency: LATENCY, rate: 5_000_000 }
const served = await Promise.all(two((id) => start('worker', { id })))
const lines = await Promise.all(served.map(({ url }) => relay(url, LINE, '127.0.0.1')))
const connect = ({ url, key }: Served, { url: address }: { url: string }) =>
  SocketWorker.connect(url, { pin: key, address })
const workers = await Promise.all([connect(served[0], lines[0]!), connect(served[1], lines[1]!)])
workers[0].addWorkers([workers[1]])
const narrow = []
for (const [training, options, fit] of [
  ['exact', {}, {}],
  ['exact, 4 micro-batches', { microBatches: 4 }, {}],
  ['exact, float16', { compress: 'float16' }, {}],
  ['exact, int8', { compress: 'int8' }, {}],
  ['exact, int8, 4 micro-batches', { compress: 'int8', microBatches: 4 }, {}],
  [`inFlight: ${IN_FLIGHT}`, {}, AHEAD],
  [`inFlight: ${IN_FLIGHT}, int8`, { compress: 'int8' }, AHEAD],
] as [string, SplitNNOptions, FitOptions][]) {
  narrow.push({ training, 'ms a batch': rounded(await stepTime(...workers, options, fit, BATCHES / 3)) })
}
report(
  `The same between two processes, ${LATENCY} ms each way and ${LINE.rate / 1e6} MB/s by a relay: ${rounded((64 * 640 * 4 * 1000) / LINE.rate)} ms on the line for activations, as much for gradients`,
  narrow,
)
await Promise.all(workers.map((worker) => worker.close()))
for (const line of lines) line.close()
for (const { stop } of served) stop()
