/** Are objects, tensors and heap flat over long runs of ops and of training steps? */
import { hook, optim, ready, scope, tf, VirtualWorker } from 'sotto'
import { report } from './measure.ts'
import { batch, splitNet } from './mnist-net.ts'

if (globalThis.gc === undefined) {
  // Heap sizes mean something only after a collection.
  const { spawnSync } = await import('node:child_process')
  const [script] = process.argv.slice(1)
  process.exit(
    spawnSync(process.execPath, ['--expose-gc', '--import', 'tsx', script!], { stdio: 'inherit' }).status ?? 1,
  )
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0))
const collected = async () => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!()
    await turn()
  }
  return process.memoryUsage().heapUsed
}

const backend = await ready()
hook()
const [alice, bob] = [new VirtualWorker('alice'), new VirtualWorker('bob')]
const net = splitNet(alice, bob, (parameters) => optim.adam(parameters))
const { images, labels } = batch(16)
const [x, y] = [images.send(alice), labels.send(bob)]
const step = async () => {
  ;(await net.step(x, y).get()).dispose()
}
const vector = tf.tensor([1, 2, 3]).send(bob)
const op = async () => {
  scope(() => {
    vector.mul(2).sum()
  })
}

const rows = []
for (const [name, action, times] of [
  ['training steps', step, 1000],
  ['ops', op, 10_000],
] as const) {
  for (let i = 0; i < times / 5; i++) await action()
  const state = async () => ({
    objects: (await alice.objectCount()) + (await bob.objectCount()),
    tensors: tf.memory().numTensors,
    'heap kB': Math.round((await collected()) / 1000),
  })
  const before = await state()
  for (let i = 0; i < times; i++) await action()
  rows.push({ run: `before ${times} ${name}`, ...before }, { run: `after ${times} ${name}`, ...(await state()) })
}
report(`What is held (${backend}; an op of the second row is two: 20,000 in all)`, rows)
await Promise.all([alice.close(), bob.close()])
