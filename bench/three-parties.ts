/**
 * What do three parties without a provider send each other, and how long do they take?
 *
 * The first table holds what operations cost against what was wanted: bytes that a party sends for an element, and rounds.
 * "Counted" is what the parties counted of what they sent. A division is bytes of all three together, and its rounds stand
 * beside it.
 *
 * The second is time, of operations that others have published: three parties in one process here, on one core, against
 * machines of their own there; so the ratios say little about who is faster, and much about whether it can be used.
 *
 * The third is inference of whole networks, of one image and of a batch: from the shares of the images to the opening of
 * ten scores for each, the weights being shared before. 0.29 s stand for inference in what others published; of which
 * network and how many images these are, we do not know, so that no ratio is taken.
 */
import { fixPrecision, ready, type SharedTensor, scope, share, tf } from 'sotto'
import { networks } from '../examples/lib/networks.ts'
import { alternate, report, rounded } from './measure.ts'
import { counting, gather, miss, type Parties, sharedNormal } from './parties.ts'

await ready()

// Costs.

const SIZE = 10_000
type Run = (x: SharedTensor, y: SharedTensor) => SharedTensor
interface Row {
  readonly run: Run
  /** At most so many bytes an element and party, and rounds. */
  readonly wanted?: { readonly bytes: number; readonly rounds: number }
  /** Of integers: nothing is brought back to scale. */
  readonly isWhole?: boolean
  /** Bytes of all parties together. */
  readonly inAll?: boolean
}
const costs: Readonly<Record<string, Row>> = {
  mul: { run: (x, y) => x.mul(y), wanted: { bytes: 8, rounds: 1 }, isWhole: true },
  'truncation (in all)': {
    run: (x) => x.run('clone', [], { divisor: 65_536n })[0]!,
    wanted: { bytes: 32, rounds: 2 },
    inAll: true,
  },
  'mul, brought back to scale': { run: (x, y) => x.mul(y) },
  sign: { run: (x) => x.less(0), wanted: { bytes: 24, rounds: 6 } },
  relu: { run: (x) => x.relu(), wanted: { bytes: 32, rounds: 6 } },
  equal: { run: (x) => x.equal(0) },
  reciprocal: { run: (x) => x.reciprocal() },
  div: { run: (x, y) => x.div(y) },
  exp: { run: (x) => x.exp() },
  log: { run: (x) => x.log() },
  sqrt: { run: (x) => x.sqrt() },
  sigmoid: { run: (x) => x.sigmoid() },
  tanh: { run: (x) => x.tanh() },
  'softmax of rows of 10': { run: (x) => x.reshape([SIZE / 10, 10]).softmax() },
  'max of rows of 10': { run: (x) => x.reshape([SIZE / 10, 10]).max(1) },
}

async function counted(among: Parties): Promise<void> {
  const rows = []
  const fixed = [sharedNormal([SIZE], 1, among), sharedNormal([SIZE], 2, among)] as const
  const whole = [3, 4].map((seed) => {
    const values = tf.randomUniform([SIZE], -1000, 1000, 'int32', seed)
    return share(values, among.parties, among.options)
  }) as [SharedTensor, SharedTensor]
  for (const [operation, { run, wanted, isWhole = false, inAll = false }] of Object.entries(costs)) {
    const { result, counts } = await counting(among, fixed[0], () => scope(() => run(...(isWhole ? whole : fixed))))
    const { cost } = result
    if (Math.abs(counts.bytes - cost.bytes) > 0.5) {
      miss(`${operation}: cost says ${JSON.stringify(cost)}, the parties ${JSON.stringify(counts)}`)
    }
    const each = (bytes: number) => rounded((bytes * (inAll ? 3 : 1)) / SIZE, 4)
    if (wanted !== undefined && (each(counts.bytes) > wanted.bytes || cost.rounds > wanted.rounds)) {
      miss(
        `${operation}: ${each(counts.bytes)} bytes and ${cost.rounds} rounds; at most ${wanted.bytes} and ${wanted.rounds}`,
      )
    }
    rows.push({
      operation,
      'B/element: cost': each(cost.bytes),
      counted: each(counts.bytes),
      'at most': wanted?.bytes ?? '',
      rounds: cost.rounds,
      'at most ': wanted?.rounds ?? '',
      steps: counts.openings,
    })
    result.dispose()
  }
  report(`Three parties, replicated: bytes that a party sends for each of ${SIZE} elements, and rounds`, rows)
}

// Times.

/** What is timed, how many times, and the seconds that others published for it. */
const timed: Readonly<
  Record<string, { make: (among: Parties) => () => SharedTensor; rounds: number; published?: number }>
> = {
  'matMul 300×300×300': {
    make: (among) => {
      const [x, y] = [sharedNormal([300, 300], 1, among), sharedNormal([300, 300], 2, among)]
      return () => x.matMul(y)
    },
    rounds: 9,
    published: 2.06,
  },
  'relu of 100,000': {
    make: (among) => {
      const x = sharedNormal([100_000], 3, among)
      return () => x.relu()
    },
    rounds: 9,
  },
  'sort of 2^16': {
    make: (among) => {
      const x = sharedNormal([2 ** 16], 4, among)
      return () => x.sort()
    },
    rounds: 1,
    published: 83.9,
  },
  'max of 2^16': {
    make: (among) => {
      const x = sharedNormal([2 ** 16], 5, among)
      return () => x.max()
    },
    rounds: 5,
    published: 7.37,
  },
}

async function times(among: Parties): Promise<void> {
  const rows = []
  for (const [what, { make, rounds, published }] of Object.entries(timed)) {
    const run = make(among)
    const { once } = await alternate(
      {
        once: async () => {
          const result = scope(run)
          await among.done()
          result.dispose()
        },
      },
      { rounds, warmup: Math.min(rounds - 1, 2) },
    )
    rows.push({
      what,
      seconds: rounded(once.ms / 1000),
      published: published ?? '',
      times: published === undefined ? '' : rounded(published / (once.ms / 1000)),
    })
  }
  report('Three parties in one process, on one core: seconds, beside those published of others', rows)
}

// Networks.

const BATCH = 128
/** Convolutions of a batch take seconds: one call, after another that warms up. */
const calls = { one: { rounds: 5, warmup: 2 }, batch: { rounds: 1, warmup: 1 } } as const

async function inference(among: Parties): Promise<void> {
  const rows = []
  for (const network of ['A', 'B', 'C'] as const) {
    const { inputShape, make } = networks[network]
    // Time does not depend on what the weights are.
    const secret = share(make(1), among.parties, among.options)
    for (const [images, how] of [
      [1, calls.one],
      [BATCH, calls.batch],
    ] as const) {
      const pixels = tf.randomUniform([images, ...inputShape], 0, 1, 'float32', images)
      const x = share(fixPrecision(pixels), among.parties, among.options)
      await among.done()
      let cost = { rounds: 0, bytes: 0 }
      const { once } = await alternate(
        {
          once: async () => {
            const scores = secret.apply(x)
            cost = scores.cost
            const opened = await scores.reveal()
            tf.dispose(opened)
            scores.dispose()
          },
        },
        how,
      )
      rows.push({
        network,
        images,
        seconds: rounded(once.ms / 1000),
        'ms an image': rounded(once.ms / images),
        rounds: cost.rounds,
        'MB a party sends': rounded(cost.bytes / 1e6),
      })
      x.dispose()
      pixels.dispose()
    }
    secret.dispose()
  }
  report(
    'Inference in secret, three parties in one process: seconds (0.29 s published of others, network and batch unknown)',
    rows,
  )
}

const among = gather(3, {}, 'replicated')
await counted(among)
await times(among)
await inference(among)
await among.close()
