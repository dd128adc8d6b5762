/**
 * What does a batch of training in secret take of each party, beside the products of matrices that it cannot do without?
 *
 * Three parties, each in a process of its own on this machine, built as users have them, train network A of SecureML
 * (784-128-128-10, batches of 128, softmax and cross-entropy, plain descent). CPU time of the processes is what the system
 * counts; of the kernels, what this process takes for the same products in the same run: of two components a party
 * multiplies twice for each product.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { fixPrecision, ready, SocketWorker, share, tf } from 'sotto'
import { networks } from '../examples/lib/networks.ts'
import { ring } from '../src/smpc/ring/choose.ts'
import { median, report, rounded } from './measure.ts'
import { miss } from './parties.ts'

const BATCH = 128
/** Batches that are timed together. */
const TOGETHER = 20
const ROUNDS = 5
/** Rounds before those that are timed: an epoch of MNIST is 469 batches, and code is compiled in the first hundred. */
const WARMING = 5
/** Seconds a batch that TF Encrypted was measured at, on three machines of four cores (M. Keller, K. Sun, ICML 2022). */
const PUBLISHED = 0.167
const WANTED = 2
/** Seconds of a tick in /proc: sysconf(_SC_CLK_TCK) is 100 wherever Node runs. */
const TICK = 0.01

const main = fileURLToPath(new URL('../dist/cli/index.js', import.meta.url))
if (!existsSync(main)) {
  console.error('secret-training: measures what is built; npm run build first')
  process.exit(1)
}
if (!existsSync('/proc/self/stat')) {
  console.error('secret-training: reads CPU time of other processes from /proc, which is not here')
  process.exit(1)
}
await ready()

interface Home {
  readonly child: ChildProcess
  readonly worker: SocketWorker
}

async function home(id: string): Promise<Home> {
  const flags = ['worker', '--log-level', 'warn', '--id', id, '--port', '0']
  const child = spawn(process.execPath, [main, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout! })) {
    const { url, key } = /ready at (?<url>wss?:\S+), key (?<key>ed25519:[\w-]+)/.exec(line)?.groups ?? {}
    if (url !== undefined) {
      return { child, worker: await SocketWorker.connect(url, { identity: 'dana', pin: key! }) }
    }
  }
  throw new Error(`${id} did not start`)
}

/** Seconds that a process has had of processors. */
function cpuOf({ pid }: ChildProcess): number {
  // Fields 14 and 15; the name before them may hold spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return TICK * (Number(fields[11]) + Number(fields[12]))
}

/** Products of a batch, as [m, k] · [k, n]: forward, of gradients for weights, of gradients for what came in. */
const products: readonly (readonly [m: number, k: number, n: number])[] = [
  [BATCH, 784, 128],
  [BATCH, 128, 128],
  [BATCH, 128, 10],
  [784, BATCH, 128],
  [128, BATCH, 128],
  [128, BATCH, 10],
  [BATCH, 128, 128],
  [BATCH, 10, 128],
]
/** Words that are no small numbers: products take as long whatever they are. */
const words = (count: number) => BigUint64Array.from({ length: count }, (_, i) => BigInt(i + 1) * 0x9e3779b97f4a7c15n)
const factors = products.map(([m, k, n]) => [words(m * k), words(k * n), m, k, n] as const)
/** Seconds of a processor that one party's products of a batch take. */
function kernelSeconds(): number {
  const kernels = ring()
  const begun = process.cpuUsage()
  for (let i = 0; i < TOGETHER; i++) {
    for (const [x, y, m, k, n] of factors) for (let twice = 0; twice < 2; twice++) kernels.matMul(x, y, m, k, n)
  }
  const { user, system } = process.cpuUsage(begun)
  return (user + system) / 1e6 / TOGETHER
}

const homes = await Promise.all(['server0', 'server1', 'server2'].map(home))
try {
  const parties = homes.map(({ worker }) => worker)
  for (const party of parties) party.addWorkers(parties.filter((other) => other !== party))
  const rows = BATCH * TOGETHER
  const options = { protocol: 'replicated' } as const
  const secret = share(networks.A.make(1), parties, options)
  const x = share(fixPrecision(tf.randomUniform([rows, 784], 0, 1, 'float32', 1)), parties, options)
  const classes = tf.tensor1d(Int32Array.from({ length: rows }, (_, i) => i % 10))
  const y = share(fixPrecision(tf.oneHot(classes, 10)), parties, options)
  let cost = { rounds: 0, bytes: 0 }
  const rounds: { seconds: number; party: number; kernels: number }[] = []
  for (let round = -WARMING; round < ROUNDS; round++) {
    const before = homes.map(({ child }) => cpuOf(child))
    const begun = performance.now()
    await secret.fit(x, y, {
      optimizer: { kind: 'sgd', learningRate: networks.A.learningRate },
      loss: networks.A.loss,
      batchSize: BATCH,
      onBatch: (batch) => {
        cost = batch.cost
      },
    })
    const seconds = (performance.now() - begun) / 1000 / TOGETHER
    const spent = homes.map(({ child }, i) => (cpuOf(child) - before[i]!) / TOGETHER)
    const party = spent.reduce((a, b) => a + b) / spent.length
    const kernels = kernelSeconds()
    if (round >= 0) rounds.push({ seconds, party, kernels })
  }
  for (const shared of [x, y, secret]) shared.dispose()
  await Promise.all(parties.map((party) => party.flush()))
  const ratio = median(rounds.map(({ party, kernels }) => party / kernels))
  const middle = (name: 'seconds' | 'party' | 'kernels') => median(rounds.map((one) => one[name]))
  report('Network A, a batch of 128: three processes on this machine', [
    { what: 'CPU of a party, ms', value: rounded(1000 * middle('party')) },
    { what: 'CPU of the kernels for its products, ms', value: rounded(1000 * middle('kernels')) },
    { what: `ratio (at most ${WANTED})`, value: rounded(ratio) },
    { what: 'seconds a batch', value: rounded(middle('seconds')) },
    { what: 'TF Encrypted, three machines of four cores', value: PUBLISHED },
    { what: 'rounds', value: cost.rounds },
    { what: 'MB that a party sends', value: rounded(cost.bytes / 1e6) },
  ])
  if (ratio > WANTED) miss(`a party takes ${rounded(ratio)} times what its products take; at most ${WANTED}`)
} finally {
  await Promise.all(homes.map(({ worker }) => worker.close().catch(() => {})))
  for (const { child } of homes) {
    child.kill()
    await once(child, 'exit')
  }
}
