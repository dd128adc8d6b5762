/** Are objects, tensors and memory of every owner flat over 2,000 steps of split training? */
import { hook, ready, SocketWorker, SplitNN, tf, VirtualWorker, type Worker } from 'sotto'
import { report, rounded } from './measure.ts'
import { batch } from './mnist-net.ts'
import { miss } from './parties.ts'
import { start } from './processes.ts'

if (globalThis.gc === undefined) {
  // Heap sizes mean something only after a collection.
  const { spawnSync } = await import('node:child_process')
  const [script] = process.argv.slice(1)
  process.exit(
    spawnSync(process.execPath, ['--expose-gc', '--import', 'tsx', script!], { stdio: 'inherit' }).status ?? 1,
  )
}

const STEPS = 2000
const MB = 2 ** 20
const backend = await ready()
hook()
const dense = (inputs: number, units: number) =>
  tf.sequential({ layers: [tf.layers.dense({ units, inputShape: [inputs], activation: 'relu' })] })
const optimizer = { kind: 'adam' } as const
const { images, labels } = batch(16)

/** Nets of every shape; names of the workers of their segments, those side by side in a list. */
const shapes: Readonly<Record<string, readonly (string | readonly string[])[]>> = {
  vanilla: ['alice', 'bob'],
  'three hops': ['alice', 'bob', 'carol'],
  'U-shaped': ['alice', 'bob', 'alice'],
  vertical: [['alice', 'carol'], 'bob'],
}
function makeNet(shape: readonly (string | readonly string[])[], at: (name: string) => Worker) {
  const firsts = [shape[0]!].flat()
  const width = 784 / firsts.length
  const segments = shape.map((names, stage) =>
    [names].flat().map((name) => ({
      model: dense(stage === 0 ? width : stage === 1 ? 32 * firsts.length : 32, stage === shape.length - 1 ? 10 : 32),
      worker: at(name),
      optimizer,
    })),
  )
  const net = new SplitNN(segments, { microBatches: 2 })
  for (const { model } of segments.flat()) model.dispose()
  const x = firsts.map((name, i) => images.slice([0, i * width], [16, width]).send(at(name)))
  return { net, data: { x, y: labels.send(at([shape.at(-1)!].flat()[0]!)) } }
}
const collected = async () => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!()
    await new Promise((resolve) => setTimeout(resolve, 0))
  }
  return process.memoryUsage().heapUsed
}

const rows: Record<string, string | number>[] = []
for (const [form, shape] of Object.entries(shapes)) {
  const known = new Map<string, VirtualWorker>()
  const at = (name: string) => known.get(name) ?? known.set(name, new VirtualWorker(name)).get(name)!
  const { net, data } = makeNet(shape, at)
  const workers = net.workers
  const objects = async () => (await Promise.all(workers.map((worker) => worker.objectCount()))).join(' ')
  const count = async () => ({ objects: await objects(), heap: await collected(), tensors: tf.memory().numTensors })
  await net.fit(data, { epochs: 200, inFlight: 2 })
  const before = await count()
  await net.fit(data, { epochs: STEPS, inFlight: 2 })
  const after = await count()
  rows.push({
    form,
    'objects by worker, before': before.objects,
    after: after.objects,
    'tensors, before': before.tensors,
    'after ': after.tensors,
    'MB more heap': rounded((after.heap - before.heap) / MB),
  })
  if (before.objects !== after.objects || before.tensors !== after.tensors) miss(`${form}: objects are left behind`)
  await Promise.all(workers.map((worker) => worker.close()))
}
report(`${STEPS} steps in process, 2 micro-batches, Adam (${backend})`, rows)

const served = await Promise.all(['alice', 'bob'].map((id) => start('worker', { id })))
const sockets = await Promise.all(served.map(({ url, key }) => SocketWorker.connect(url, { pin: key })))
const { net, data } = makeNet(shapes['vanilla']!, (name) => sockets[name === 'alice' ? 0 : 1]!)
const count = () => Promise.all(sockets.map((worker) => worker.objectCount()))
await net.fit(data, { epochs: 500 })
const [objects, peaks] = [await count(), served.map(({ peak }) => peak())]
await net.fit(data, { epochs: STEPS })
const after = await count()
report(
  `${STEPS} steps over sockets, each owner a process`,
  ['alice', 'bob'].map((worker, i) => ({
    worker,
    'objects before': objects[i]!,
    after: after[i]!,
    'MB at most, before': rounded(peaks[i]! / MB),
    'after ': rounded(served[i]!.peak() / MB),
  })),
)
if (String(objects) !== String(after)) miss('over sockets objects are left behind')
await Promise.all(sockets.map((worker) => worker.close()))
for (const { stop } of served) stop()
