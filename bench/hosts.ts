/** What does a step of split-MNIST cost between hosts? One round trip of theirs, and none to whoever runs the script. */
import { hook, ready, SocketWorker, VirtualWorker, type Worker } from 'sotto'
import { makeHosts } from './lib/hosts.ts'
import { relay } from './lib/relay.ts'
import { median, report, rounded } from './measure.ts'
import { batch, splitNet } from './mnist-net.ts'
import { miss } from './parties.ts'
import { start } from './processes.ts'

const LINE = { latency: 20, rate: 5_000_000 }
/** Of whoever runs the script: much longer, to show that it does not matter. */
const FAR = { latency: 200, rate: LINE.rate }
const STEPS = 12
const ROUNDS = 7
const backend = await ready()
hook()
const { images, labels } = batch()

interface Measured {
  /** Milliseconds of a step, in a row of steps whose losses nobody waits for. */
  readonly step: number
  /** Bytes between the two parties, both ways, in a step. */
  readonly bytes: number
}

async function measure(alice: Worker, bob: Worker): Promise<Measured> {
  alice.addWorkers([bob])
  const net = splitNet(alice, bob)
  const [x, y] = [images.send(alice), labels.send(bob)]
  const steps = async (count: number): Promise<void> => {
    for (let i = 1; i < count; i++) net.step(x, y).dispose()
    await net.step(x, y).get()
    await alice.flush()
  }
  const sent = async () => {
    const { links } = await alice.stats()
    return links.filter(({ role }) => role === 'peer').reduce((sum, link) => sum + link.bytesIn + link.bytesOut, 0)
  }
  await steps(3)
  const before = await sent()
  await steps(STEPS)
  const bytes = ((await sent()) - before) / STEPS
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    // Of two rows of steps, one longer: the way to and from the caller is in both, and falls out of the difference.
    let began = performance.now()
    await steps(2)
    const short = performance.now() - began
    began = performance.now()
    await steps(2 + STEPS)
    times.push((performance.now() - began - short) / STEPS)
  }
  return { step: median(times), bytes }
}

const hosts = makeHosts(['alice', 'bob'], LINE)
const rows: Record<string, string | number>[] = []
try {
  const [alice, bob] = await Promise.all(
    ['alice', 'bob'].map((id, i) => {
      const { address: host, inside } = hosts.hosts[i]!
      return start('worker', { id, host, inside })
    }),
  )
  const plain = await Promise.all([alice!, bob!].map(({ url, key }) => SocketWorker.connect(url, { pin: key })))
  const computing = hosts.isSlow ? Number.NaN : (await measure(plain[0]!, plain[1]!)).step
  await Promise.all(plain.map((worker) => worker.close()))
  for (const [what, own] of [
    ['the caller as near as the parties', LINE],
    ['the caller ten times as far', FAR],
  ] as const) {
    // Where the kernel cannot, a relay before each worker is the wire: parties pass that of the other.
    const lines = hosts.isSlow
      ? []
      : await Promise.all([alice!, bob!].map(({ url }) => relay(url, LINE, hosts.outside)))
    const far = await Promise.all([alice!, bob!].map(({ url }) => relay(url, own, hosts.outside)))
    const workers = await Promise.all(
      [alice!, bob!].map(({ url, key }, i) =>
        SocketWorker.connect(far[i]!.url, { pin: key, address: lines[i]?.url ?? url }),
      ),
    )
    const { step, bytes } = await measure(workers[0]!, workers[1]!)
    const transfer = (1000 * bytes) / LINE.rate
    const rest = step - transfer - (Number.isNaN(computing) ? 0 : computing)
    rows.push({
      what,
      'step ms': rounded(step),
      'kB a step': rounded(bytes / 1000),
      'their ms on the line': rounded(transfer),
      'computing ms': rounded(computing),
      'what is left, ms': rounded(rest),
      'in round trips of the parties': rounded(rest / (2 * LINE.latency)),
    })
    if (rest > 1.5 * 2 * LINE.latency) miss(`${what}: more than one round trip a step`)
    await Promise.all(workers.map((worker) => worker.close()))
    for (const line of [...lines, ...far]) line.close()
  }
  alice!.stop()
  bob!.stop()
} finally {
  hosts.remove()
}
const wire = hosts.isSlow ? 'the kernel' : 'a relay in between'
report(
  `A step of split-MNIST (${backend}; ${hosts.how}; ${LINE.latency} ms each way and ${LINE.rate / 1e6} MB/s, by ${wire})`,
  rows,
)

// The same over the simulated network of one process, where nothing takes time but latency and computing.
const memory = ['alice', 'bob'].map((id) => new VirtualWorker(id, { latency: LINE.latency }))
const near = ['alice', 'bob'].map((id) => new VirtualWorker(id))
const simulated = await measure(memory[0]!, memory[1]!)
const computed = await measure(near[0]!, near[1]!)
report('The same in one process, over a simulated network', [
  {
    'step ms': rounded(simulated.step),
    'computing ms': rounded(computed.step),
    'in round trips': rounded((simulated.step - computed.step) / (2 * LINE.latency)),
  },
])
await Promise.all([...memory, ...near].map((worker) => worker.close()))
