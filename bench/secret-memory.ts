/** Are objects, tensors and memory flat over a thousand training steps in secret? */
import { optim, ready, type SharedTensor, scope, share, tf } from 'sotto'
import { report } from './measure.ts'
import { gather, miss, sharedNormal } from './parties.ts'

if (globalThis.gc === undefined) {
  // Sizes mean something only after a collection.
  const { spawnSync } = await import('node:child_process')
  const [script] = process.argv.slice(1)
  process.exit(
    spawnSync(process.execPath, ['--expose-gc', '--import', 'tsx', script!], { stdio: 'inherit' }).status ?? 1,
  )
}

const STEPS = 1000
const turn = () => new Promise((resolve) => setTimeout(resolve, 0))
async function collected(): Promise<NodeJS.MemoryUsage> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!()
    await turn()
  }
  return process.memoryUsage()
}

const backend = await ready()
const rows = []
for (const count of [2, 3]) {
  const among = gather(count)
  const { parties, provider, options, done } = among
  const held = async () => {
    await done()
    const workers = await Promise.all([...parties, provider].map((worker) => worker.stats()))
    const { heapUsed, external, arrayBuffers, rss } = await collected()
    const kilobytes = (bytes: number) => Math.round(bytes / 1000)
    return {
      objects: workers.reduce((total, { objects }) => total + objects, 0),
      'their kB': kilobytes(workers.reduce((total, { bytes }) => total + bytes, 0)),
      tensors: tf.memory().numTensors,
      'heap kB': kilobytes(heapUsed),
      'external kB': kilobytes(external),
      'arrays kB': kilobytes(arrayBuffers),
      'all MB': Math.round(rss / 1e6),
    }
  }

  const atFirst = await held()
  const net = tf.sequential({
    layers: [tf.layers.dense({ units: 8, activation: 'relu', inputShape: [4] }), tf.layers.dense({ units: 1 })],
  })
  const model = share(net, parties, options)
  const sgd = optim.sgd(model.parameters(), { learningRate: 0.05, momentum: 0.5 })
  const [x, y] = [sharedNormal([16, 4], 1, among), sharedNormal([16, 1], 2, among)]
  const step = async (): Promise<number> => {
    const loss = scope(() => {
      const result = model.apply(x).sub(y).square().mean() as SharedTensor
      result.backward()
      sgd.step()
      sgd.zeroGrad()
      return result
    })
    const opened = await loss.reveal()
    loss.dispose()
    const [value] = opened.dataSync()
    opened.dispose()
    return value!
  }

  let first = 0
  for (let i = 0; i < STEPS / 5; i++) {
    const loss = await step()
    if (i === 0) first = loss
  }
  const before = await held()
  const start = performance.now()
  let last = 0
  for (let i = 0; i < STEPS; i++) last = await step()
  const ms = (performance.now() - start) / STEPS
  const after = await held()
  if (after.objects !== before.objects || after.tensors !== before.tensors) {
    miss(`${count} parties: ${JSON.stringify(before)} before ${STEPS} steps, ${JSON.stringify(after)} after`)
  }
  if (!(last < first)) miss(`${count} parties: the loss went from ${first} to ${last}`)

  for (const secret of [x, y, model, sgd]) secret.dispose()
  net.dispose()
  const atLast = await held()
  if (atLast.objects > 0) miss(`${count} parties: ${atLast.objects} objects are left when all is disposed of`)
  rows.push(
    { parties: count, when: 'before anything', ...atFirst },
    { parties: count, when: `before ${STEPS} steps`, ...before },
    { parties: count, when: `after them, ${ms.toFixed(1)} ms each`, ...after },
    { parties: count, when: 'all disposed of', ...atLast },
  )
  await among.close()
}
report(
  `What is held over ${STEPS} steps of 4-8-1 with momentum, batch 16 (${backend}; as many objects and tensors wanted)`,
  rows,
)
