/**
 * Prices of houses by linear regression, with a process for each party: an agency knows the houses, a registry the prices, an
 * analyst gets the line, and three others compute it, who see nothing of either. The houses are made up here.
 *
 *     npx tsx examples/house-prices.ts
 *     npx tsx examples/house-prices.ts --precision high
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Option } from 'commander'
import { Identity, readDataFile, ready, tf } from 'sotto'
import { inFolder } from './lib/folder.ts'
import { command, isMain, printTable, wholeNumber } from './lib/options.ts'
import { freePort, PartyProcess } from './lib/processes.ts'

export const precisions = ['usual', 'high'] as const

export interface HousePricesOptions {
  /** Houses that are sold; as many again are used to see how good the line is. */
  readonly houses: number
  /** Integers of 64 bits, or of 128. */
  readonly precision: (typeof precisions)[number]
  readonly seed: number
  /** Where the folders of the parties go, and stay; without it they are gone at the end. */
  readonly folder?: string
}

export interface HousePricesResult {
  /** Of each column, and last the intercept. */
  readonly weights: readonly number[]
  /** The same by least squares in clear. */
  readonly plain: readonly number[]
  /** Root of the mean squared error on other houses, of the line that was computed in secret; and of the noise in prices. */
  readonly error: number
  readonly noise: number
}

/** What makes the price, in thousands: the analyst is to find it out. */
const columns = { rooms: 31, age: -0.4, distance: -2.5, river: 18 } as const
const INTERCEPT = 60
const NOISE = 12

const compute = ['server0', 'server1', 'server2'] as const
const [AGENCY, REGISTRY, ANALYST] = ['agency', 'registry', 'analyst']

/** Runs the job among its parties. @throws Error with what a party has said that failed */
export async function housePrices(options: HousePricesOptions): Promise<HousePricesResult> {
  return inFolder('sotto-houses-', options.folder, (folder) => among(options, folder))
}

async function among(options: HousePricesOptions, folder: string): Promise<HousePricesResult> {
  await ready()
  const sold = drawn(options.houses, options.seed)
  await prepare(folder, sold, options)
  const of = (name: string, ...flags: string[]) => [
    ...['--id', name, '--job', join(folder, 'job.json'), '--peers', join(folder, 'peers.json')],
    ...['--identity', join(folder, name, 'sotto.key'), ...flags],
  ]
  const data = (name: string, input: string) => ['--data', `${input}=${join(folder, name, `${input}.csv`)}`]
  const parties = [
    ...compute.map((name) => new PartyProcess(name, ['compute', ...of(name)])),
    new PartyProcess(AGENCY, ['input', ...of(AGENCY, ...data(AGENCY, 'houses'), '--ledger')]),
    new PartyProcess(REGISTRY, ['input', ...of(REGISTRY, ...data(REGISTRY, 'prices'), '--ledger')]),
    new PartyProcess(ANALYST, ['result', ...of(ANALYST, '--out', join(folder, ANALYST, 'results'), '--ledger')]),
  ]
  try {
    // Who fails first says why.
    await Promise.all(parties.map(({ done }) => done))
  } finally {
    for (const party of parties) party.stop()
  }
  return report(sold, join(folder, ANALYST, 'results', 'weights.npy'), options)
}

interface Houses {
  readonly rows: number[][]
  readonly prices: number[]
}

/** Makes houses up, and what they are sold for. */
function drawn(count: number, seed: number): Houses {
  return tf.tidy(() => {
    const uniform = (low: number, high: number, more: number) =>
      tf.randomUniform([count], low, high, 'float32', 10 * seed + more)
    const rooms = uniform(2, 9, 1)
    const river = uniform(0, 1, 4).less(0.2).cast('float32')
    const rows = tf.stack([rooms, uniform(0, 100, 2), uniform(0, 30, 3), river], 1) as tf.Tensor2D
    const slope = tf.tensor2d(Object.values(columns).map((value) => [value]))
    const noise = tf.randomNormal([count, 1], 0, NOISE, 'float32', 10 * seed + 5)
    // As a table would have them.
    const round = (value: number) => Number(value.toFixed(2))
    const prices = rows.matMul(slope).add(INTERCEPT).add(noise).flatten()
    return { rows: rows.arraySync().map((row) => row.map(round)), prices: [...prices.dataSync()].map(round) }
  })
}

/** What there is before anything begins: a key and data at each party, and the job, which all of them have. */
async function prepare(folder: string, { rows, prices }: Houses, { precision }: HousePricesOptions): Promise<void> {
  const parties = [...compute, AGENCY, REGISTRY, ANALYST] as string[]
  const keys: Record<string, string> = {}
  const peers: Record<string, string> = {}
  for (const name of parties) {
    const identity = Identity.generate()
    await mkdir(join(folder, name))
    await writeFile(join(folder, name, 'sotto.key'), `${identity.secret()}\n`, { mode: 0o600 })
    // Which the parties have told each other.
    keys[name] = identity.key
    peers[name] = `127.0.0.1:${await freePort()}`
  }
  const job = {
    name: 'house-prices',
    compute,
    keys,
    ...(precision === 'high' ? { precision: { ring: 128 } } : {}),
    inputs: { houses: { from: AGENCY }, prices: { from: REGISTRY } },
    steps: [{ do: 'linearRegression', x: 'houses', y: 'prices', as: 'weights' }],
    revealTo: { weights: [ANALYST] },
  }
  await writeFile(join(folder, 'job.json'), `${JSON.stringify(job, null, 2)}\n`)
  await writeFile(join(folder, 'peers.json'), `${JSON.stringify(peers, null, 2)}\n`)
  const table = (header: string, lines: readonly string[]) => `${[header, ...lines].join('\n')}\n`
  const houses = table(Object.keys(columns).join(), rows.map((row) => row.join())) // biome-ignore format: short
  await writeFile(join(folder, AGENCY, 'houses.csv'), houses)
  await writeFile(join(folder, REGISTRY, 'prices.csv'), table('price', prices.map(String)))
}

/** Least squares in clear, of rows with a one behind each: what the secret line is to be. */
function leastSquares({ rows, prices }: Houses): number[] {
  const ones = rows.map((row) => [...row, 1])
  const size = ones[0]!.length
  const sums = (i: number, of: (row: readonly number[], k: number) => number) =>
    ones.reduce((sum, row, k) => sum + row[i]! * of(row, k), 0)
  const equations = Array.from({ length: size }, (_, i) => [
    ...Array.from({ length: size }, (_, j) => sums(i, (row) => row[j]!)),
    sums(i, (_, k) => prices[k]!),
  ])
  // The matrix is positive definite: no pivot is zero.
  equations.forEach((pivot, i) => {
    equations.forEach((row, k) => {
      const factor = row[i]! / pivot[i]!
      if (k !== i) for (let j = i; j <= size; j++) row[j]! -= factor * pivot[j]!
    })
  })
  return equations.map((row, i) => row[size]! / row[i]!)
}

async function report(sold: Houses, path: string, { houses, seed, precision }: HousePricesOptions) {
  const weights = [...(await readDataFile(path)).data]
  const plain = leastSquares(sold)
  const others = drawn(houses, seed + 1)
  const squares = others.rows.map((row, i) => {
    const guess = [...row, 1].reduce((sum, value, j) => sum + value * weights[j]!, 0)
    return (guess - others.prices[i]!) ** 2
  })
  const error = Math.sqrt(squares.reduce((sum, value) => sum + value, 0) / squares.length)
  const digits = precision === 'high' ? 8 : 4
  printTable(
    'What a house is worth, in thousands: for each',
    ['', 'in secret', 'in clear', 'as it was made up'],
    [...Object.entries(columns), ['(anyway)', INTERCEPT] as const].map(([name, value], i) => [
      name,
      weights[i]!.toFixed(digits),
      plain[i]!.toFixed(digits),
      value,
    ]),
  )
  console.log(`\nOn ${houses} other houses it is off by ${error.toFixed(1)}; prices have noise of ${NOISE}.`)
  return { weights, plain, error, noise: NOISE }
}

if (isMain(import.meta.url)) {
  const program = command(
    'house-prices',
    'Linear regression in secret: those who bring data leave, those who compute see nothing, one gets the line.',
  )
    .option('--houses <n>', 'houses that were sold', wholeNumber, 500)
    .addOption(new Option('--precision <kind>', 'integers of 64 bits, or of 128').choices(precisions).default('usual'))
    .option('--seed <n>', 'for the houses', wholeNumber, 1)
    .option('--folder <path>', 'a new folder for what each party has, kept; else it is gone at the end')
    .parse()
  // What is to be done at the end is then done.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  await housePrices(program.opts())
}
