/** What do sockets cost? Tensors against bare `ws` with the same bytes; small ops against awaited ones and against memory. */
import { once } from 'node:events'
import { hook, type PointerTensor, ready, SocketWorker, tf, VirtualWorker } from 'sotto'
import { WebSocket } from 'ws'
import { alternate, report, rounded } from './measure.ts'
import { miss } from './parties.ts'
import { start } from './processes.ts'

const backend = await ready()
hook()
const [server, plain] = await Promise.all([start('worker'), start('bare')])
const bob = await SocketWorker.connect(server.url, { pin: server.key })
const bare = new WebSocket(plain.url, { perMessageDeflate: false })
await once(bare, 'open')

const MB = 2 ** 20
const large = tf.randomUniform([16 * MB])
const small = tf.randomUniform([250])
const bytesOf = (tensor: tf.Tensor) => Buffer.from((tensor.dataSync() as Float32Array).slice().buffer)
const [largeBytes, smallBytes] = [bytesOf(large), bytesOf(small)]
const SMALL = 10_000

async function throughBare(bytes: Buffer, times: number): Promise<void> {
  for (let i = 0; i < times; i++) bare.send(bytes)
  bare.send(Buffer.alloc(1))
  await once(bare, 'message')
}
async function throughWorker(tensor: tf.Tensor, times: number): Promise<void> {
  const sent = Array.from({ length: times }, () => tensor.send(bob))
  await bob.flush()
  for (const pointer of sent) pointer.dispose()
}

const tensors = {
  'one of 64 MB': await alternate(
    { 'bare ws': () => throughBare(largeBytes, 1), worker: () => throughWorker(large, 1) },
    { rounds: 9 },
  ),
  [`${SMALL} of 1 kB`]: await alternate(
    { 'bare ws': () => throughBare(smallBytes, SMALL), worker: () => throughWorker(small, SMALL) },
    { rounds: 9 },
  ),
}
const WANTED: Readonly<Record<string, number>> = { 'one of 64 MB': 0.7, [`${SMALL} of 1 kB`]: 0.5 }
report(
  `Tensors sent over loopback to another process, until they are there as tensors (${backend})`,
  Object.entries(tensors).map(([what, { 'bare ws': first, worker }]) => ({
    tensors: what,
    'bare ws, ms': rounded(first.ms),
    'worker, ms': rounded(worker.ms),
    'throughput of bare ws': rounded(worker.ratio),
    wanted: WANTED[what]!,
  })),
)
for (const [what, { worker }] of Object.entries(tensors)) {
  if (worker.ratio < WANTED[what]!) miss(`${what}: ${rounded(worker.ratio)} of the throughput of bare ws`)
}

const OPS = 2000
const memory = new VirtualWorker('memory')
async function chain(x: PointerTensor): Promise<void> {
  let y = x.add(1)
  for (let i = 1; i < OPS; i++) {
    const next = y.add(1)
    y.dispose()
    y = next
  }
  await y.get()
}
async function oneByOne(x: PointerTensor): Promise<void> {
  for (let i = 0; i < OPS / 10; i++) await x.add(1).get()
}
const [there, here] = [tf.tensor([1, 2, 3]).send(bob), tf.tensor([1, 2, 3]).send(memory)]
const ops = await alternate(
  { 'in process': () => chain(here), pipelined: () => chain(there), awaited: () => oneByOne(there) },
  { rounds: 15, warmup: 5 },
)
const per = { 'in process': OPS, pipelined: OPS, awaited: OPS / 10 }
const micros = (name: keyof typeof ops) => (1000 * ops[name].ms) / per[name]
const overAwaited = micros('awaited') / micros('pipelined')
const overMemory = ops.pipelined.ratio
report('Small ops', [
  { ops: 'over one socket, pipelined', 'µs an op': rounded(micros('pipelined')), ratio: '', wanted: '' },
  {
    ops: 'over the socket, each awaited',
    'µs an op': rounded(micros('awaited')),
    ratio: `${rounded(overAwaited)} times slower`,
    wanted: '3',
  },
  {
    ops: 'in process',
    'µs an op': rounded(micros('in process')),
    ratio: `${rounded(overMemory)} of its speed`,
    wanted: '0.4',
  },
])
if (overAwaited < 3) miss('pipelined ops are not three times as fast as awaited ones')
if (overMemory < 0.4) miss('pipelined ops have less than 0.4 of the speed in process')

bare.close()
await Promise.all([bob.close(), memory.close()])
server.stop()
plain.stop()
