/**
 * Softmax regression on MNIST by a server, a scheduler and trainers, each a process of its own that runs a compiled job:
 * secure aggregation, ten inner steps, SGD 0.01, batches of 64. On one machine, with a folder for each party in place of a
 * machine; docs/federated-jobs.md tells how to do the same on several.
 *
 *     npx tsx examples/federated-jobs/run.ts --trainers 10
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Option } from 'commander'
import { formatNpy, Identity, type LabelledImages, loadMnist, type RoundResult, ready, type tf } from 'sotto'
import { inFolder } from '../lib/folder.ts'
import { command, isMain, printTable, wholeNumber } from '../lib/options.ts'
import { freePort, inNode, PartyProcess } from '../lib/processes.ts'

export const aggregations = ['masks', 'pairs', 'clear'] as const

export interface JobsOptions {
  readonly trainers: number
  readonly rounds: number
  readonly aggregation: (typeof aggregations)[number]
  /** Images to train on, of all trainers together, and to test on; 0 for all. */
  readonly limit: number
  readonly testLimit: number
  readonly seed: number
  /** Where the folders of the parties go, and stay; without it they are gone at the end. */
  readonly folder?: string
}

export interface JobsResult {
  /** On the test images, after the last round. */
  readonly accuracy: number
  /** That a trainer sent in a round, on average, for the mean. */
  readonly bytesUp: number
  readonly seconds: number
  readonly rounds: readonly RoundResult[]
}

/** Runs the job to its end. @throws Error with what a party has said that failed */
export async function runJobs(options: JobsOptions): Promise<JobsResult> {
  return inFolder('sotto-jobs-', options.folder, (folder) => among(options, folder))
}

const SCHEDULER = 'scheduler'
const SERVER = 'server'

async function among(options: JobsOptions, folder: string): Promise<JobsResult> {
  const { trainers, rounds, aggregation, seed } = options
  const names = Array.from({ length: trainers }, (_, i) => `trainer-${i + 1}`)
  await prepare(options, folder, names)

  const [scheduler, server] = [await freePort(), await freePort()]
  const env = {
    TRAINERS: String(trainers),
    ROUNDS: String(rounds),
    AGGREGATION: aggregation,
    SEED: String(seed),
    SCHEDULER_PORT: String(scheduler),
    SERVER_PORT: String(server),
  }
  const module = inNode(fileURLToPath(new URL('./job.ts', import.meta.url)))
  const job = join(folder, 'job')
  await new PartyProcess('compile', ['job', 'compile', module, '-o', job], env).done

  const own = (name: string) => ['--identity', join(folder, name, 'sotto.key'), '--peers', join(folder, 'peers.yaml')]
  const data = (name: string) => ['x', 'y'].flatMap((set) => ['--data', `${set}=${join(folder, name, `${set}.npy`)}`])
  const agreed = [...(aggregation === 'clear' ? ['--allow-clear'] : trainers < 3 ? ['--allow-pairs'] : [])]
  const parties = [
    new PartyProcess(SCHEDULER, ['job', 'scheduler', job, ...own(SCHEDULER)]),
    new PartyProcess(SERVER, [
      'job',
      'server',
      job,
      ...own(SERVER),
      ...data(SERVER),
      '--output',
      join(folder, SERVER, 'trained'),
    ]),
    ...names.map(
      (name, i) =>
        new PartyProcess(name, ['job', 'trainer', job, '--id', String(i + 1), ...own(name), ...data(name), ...agreed]),
    ),
  ]
  try {
    // Who fails first says why.
    await Promise.all(parties.map(({ done }) => done))
  } finally {
    for (const party of parties) party.stop()
  }
  return report(join(folder, SERVER, 'trained', 'metrics.jsonl'), options)
}

/** What each party has before anything begins: a key, the keys of the others, and data. */
async function prepare(
  { limit, testLimit, trainers }: JobsOptions,
  folder: string,
  names: readonly string[],
): Promise<void> {
  await ready()
  const { train, test, source } = await loadMnist({
    ...(limit > 0 ? { limit } : {}),
    ...(testLimit > 0 ? { testLimit } : {}),
  })
  const peers: Record<string, string> = {}
  for (const name of [SCHEDULER, SERVER, ...names]) {
    const identity = Identity.generate()
    await mkdir(join(folder, name))
    await writeFile(join(folder, name, 'sotto.key'), `${identity.secret()}\n`, { mode: 0o600 })
    // Which the parties have told each other.
    peers[name] = identity.key
  }
  await writeFile(
    join(folder, 'peers.yaml'),
    Object.entries(peers)
      .map(([name, key]) => `${name}: ${key}\n`)
      .join(''),
  )
  const share = Math.floor(train.count / trainers)
  for (const [i, name] of names.entries()) {
    await writeExamples(join(folder, name), train, i * share, share)
  }
  await writeExamples(join(folder, SERVER), test, 0, test.count)
  console.log(
    `${trainers} trainers with ${share} images each (${source}), and a server that tests on ${test.count} others`,
  )
}

async function writeExamples(folder: string, images: LabelledImages, from: number, count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, i) => from + i)
  for (const [set, tensor] of [
    ['x', images.images(rows)],
    ['y', images.labelsTensor(rows)],
  ] as const) {
    await writeFile(join(folder, `${set}.npy`), npyOf(tensor))
    tensor.dispose()
  }
}

const npyOf = (tensor: tf.Tensor): Uint8Array =>
  formatNpy({ shape: tensor.shape, dtype: tensor.dtype, data: tensor.dataSync() } as Parameters<typeof formatNpy>[0])

async function report(metrics: string, { trainers, aggregation }: JobsOptions): Promise<JobsResult> {
  const rounds = (await readFile(metrics, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as RoundResult)
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const result = {
    accuracy: rounds.at(-1)!.metrics['accuracy']!,
    bytesUp: mean(rounds.map(({ bytesUp }) => bytesUp)),
    seconds: rounds.reduce((sum, { ms }) => sum + ms, 0) / 1000,
    rounds,
  }
  printTable(
    `${trainers} trainers, ${rounds.length} rounds, aggregation: ${aggregation}`,
    ['accuracy', 'kB up for each trainer and round', 'seconds', 'ms for each round'],
    [
      [
        `${(100 * result.accuracy).toFixed(2)} %`,
        (result.bytesUp / 1000).toFixed(1),
        result.seconds.toFixed(1),
        ((1000 * result.seconds) / rounds.length).toFixed(0),
      ],
    ],
  )
  console.log(`\n${saw(aggregation, trainers)}`)
  return result
}

/** Who saw what, in words; the table above has the rows. */
function saw(aggregation: JobsOptions['aggregation'], trainers: number): string {
  const rest =
    'Trainers saw the model of each round. The scheduler saw names and keys. Nobody saw an image of another party.'
  if (aggregation === 'clear') return `The server saw each trainer's update, in each round. ${rest}`
  const two =
    trainers === 2 ? ' Each of the two, who knows its own, can tell the other’s from it: both had agreed to that.' : ''
  return `The server saw sums of the updates of ${trainers} trainers, and none of them alone.${two} ${rest}`
}

if (isMain(import.meta.url)) {
  const program = command(
    'run',
    'Softmax regression on MNIST as a compiled job, in processes of a server, a scheduler and trainers.',
  )
    .option('--trainers <n>', 'how many there are', wholeNumber, 2)
    .option('--rounds <n>', 'rounds of ten steps', wholeNumber, 100)
    .addOption(new Option('--aggregation <kind>', 'how the mean comes about').choices(aggregations).default('masks'))
    .option('--limit <n>', 'train on so many images only; 0 for all', wholeNumber, 0)
    .option('--test-limit <n>', 'test on so many images only; 0 for all', wholeNumber, 0)
    .option('--seed <n>', 'for the order of images', wholeNumber, 1)
    .option('--folder <path>', 'a new folder for what each party has, kept; else it is gone at the end')
    .parse()
  // What is to be done at the end is then done.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  await runJobs(program.opts())
}
