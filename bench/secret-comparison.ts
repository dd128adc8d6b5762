/** What do comparisons and their kin cost: rounds and bytes as the parties count them, beside what `cost` says? */
import { ready, type SharedTensor, scope } from 'sotto'
import { alternate, report, rounded } from './measure.ts'
import { counting, gather, miss, type Parties, sharedNormal } from './parties.ts'

const PARTIES = 3
const SIZES = [1, 8, 1000, 100_000]
/** Of less, for a value, at most: 8 bytes for it, masked, 5.1 for the tree, an eighth for the bit, and what pads these. */
const WANTED = { rounds: 6, bytes: 13.5 }

interface Inputs {
  /** [size] */
  readonly x: SharedTensor
  readonly y: SharedTensor
  /** [size, 10] */
  readonly rows: SharedTensor
  /** [10, 10] */
  readonly square: SharedTensor
}

/** What is counted by result: of 10 numbers a row has one largest. */
const operations: Readonly<Record<string, (inputs: Inputs) => SharedTensor>> = {
  less: ({ x, y }) => x.less(y),
  equal: ({ x, y }) => x.equal(y),
  relu: ({ x }) => x.relu(),
  'max of 10': ({ rows }) => rows.max(1),
  'argMax of 10': ({ rows }) => rows.argMax(1),
  truncation: ({ x }) => x.mul(0.5),
  product: ({ x, y }) => x.mul(y),
  'matMul by [10,10]': ({ rows, square }) => rows.matMul(square),
}

const inputsOf = (size: number, among: Parties): Inputs => ({
  x: sharedNormal([size], 1, among),
  y: sharedNormal([size], 2, among),
  rows: sharedNormal([size, 10], 3, among),
  square: sharedNormal([10, 10], 4, among),
})

await ready()
// Frames are made into bytes where they are counted, and handed over as they are where time is taken.
const [counted, timed] = [gather(PARTIES, { codec: true }), gather(PARTIES)]
const rows = []
for (const size of SIZES) {
  const [inputs, others] = [inputsOf(size, counted), inputsOf(size, timed)]
  for (const [operation, run] of Object.entries(operations)) {
    const { result, counts } = await counting(counted, inputs.x, () => scope(() => run(inputs)))
    const { cost } = result
    if (counts.openings !== cost.rounds || counts.bytes !== cost.bytes || counts.dealt !== cost.provider) {
      miss(`${operation} of ${size}: cost says ${JSON.stringify(cost)}, the parties ${JSON.stringify(counts)}`)
    }
    const each = (bytes: number) => rounded(bytes / result.size, 4)
    if (operation === 'less' && size >= 1000) {
      const bytes = counts.bytes / size
      if (counts.openings > WANTED.rounds || bytes > WANTED.bytes) {
        miss(
          `less: ${counts.openings} rounds and ${bytes} bytes; at most ${WANTED.rounds} and ${WANTED.bytes} are wanted`,
        )
      }
    }
    const action = async () => {
      const secret = scope(() => run(others))
      await timed.done()
      secret.dispose()
    }
    const { once } = await alternate(
      { once: action },
      size > 1000 ? { rounds: 3, warmup: 1 } : { rounds: 21, warmup: 10 },
    )
    rows.push({
      operation,
      results: result.size,
      'rounds: cost': cost.rounds,
      counted: counts.openings,
      'B/result: cost': each(cost.bytes),
      'counted ': each(counts.bytes),
      'in frames': each(counts.frameBytes),
      dealt: each(counts.dealt),
      'results/s': rounded((1000 * result.size) / once.ms),
    })
    result.dispose()
  }
  for (const secret of [...Object.values(inputs), ...Object.values(others)]) (secret as SharedTensor).dispose()
}
report(
  `${PARTIES} parties and a provider: rounds, and bytes from each party to each other one for a result (less: at most ${WANTED.rounds} rounds and ${WANTED.bytes} B wanted); dealt: by the provider, to one party`,
  rows,
)
await Promise.all([counted.close(), timed.close()])
