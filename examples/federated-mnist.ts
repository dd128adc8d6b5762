/**
 * Reproduces: a model owner and three owners of data, who have the images 0 to 20,000, 20,000 to 40,000 and 40,000 to
 * 60,000 of MNIST. The model owner, who runs this script, has a network 784-128-128-10 and some images to judge it by. In
 * each step every owner's worker takes the gradient of one batch, and the model owner learns the mean of the three
 * gradients, and nothing else: three compute workers add them up in shares.
 *
 * `--aggregation masks` does it by secure aggregation among the owners themselves, `clear` shows the model owner every
 * gradient, to compare; `--precision` are the bits below the point in which gradients are shared or masked.
 */
import {
  Federation,
  fedSgd,
  loadMnist,
  type Mnist,
  type RoundResult,
  ready,
  type Strategy,
  tf,
  whoSawWhat,
} from 'sotto'
import { dense } from './lib/dense.ts'
import {
  aggregationBy,
  aggregationOption,
  askedFor,
  bring,
  type Cast,
  costOf,
  findClients,
  type Precision,
  percent,
  precisionIn,
  recognised,
  type Way,
  ways,
} from './lib/federated.ts'
import { command, isMain, numberFromZero, positiveNumber, printTable, progress, wholeNumber } from './lib/options.ts'
import { type Weight, weightsOf } from './lib/weights.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface FederatedMnistOptions {
  epochs: number
  /** Images of each owner in a step. */
  batchSize: number
  /** At first. */
  learningRate: number
  momentum: number
  aggregation: Way
  /** Fractional bits of what is shared or masked. */
  precision: Precision
  seed: number
  /** Images used, in thirds, and as many test images; 0 for all. */
  limit: number
  workers: WorkerKind
}

export interface FederatedMnistResult {
  /** Share of the test images that were recognised after each epoch. */
  accuracies: number[]
  rounds: readonly RoundResult[]
  /** What was said to whoever asked for images. */
  refusal: string
  weights: Weight[]
}

const OWNERS = ['alice', 'bob', 'carol'] as const
const COMPUTE = ['compute-1', 'compute-2', 'compute-3'] as const

export async function federatedMnist(options: FederatedMnistOptions): Promise<FederatedMnistResult> {
  const { limit } = options
  console.log(`Federated MNIST, the mean gradient ${learntBy[options.aggregation]}; on the ${await ready()} backend`)
  const data = await loadMnist(limit > 0 ? { limit, testLimit: limit } : {})
  console.log(`${data.train.count} training and ${data.test.count} test images (${data.source})`)
  return await trainOn(data, options)
}

const learntBy: Readonly<Record<Way, string>> = {
  shares: 'in shares among three compute workers',
  replicated: 'in replicated shares among three compute workers',
  masks: 'by secure aggregation',
  pairs: 'under masks in pairs',
  clear: 'IN CLEAR',
}

/** The same on images that are there. */
export async function trainOn(
  { train, test }: Pick<Mnist, 'train' | 'test'>,
  options: FederatedMnistOptions,
): Promise<FederatedMnistResult> {
  await using started = await startWorkers(options.workers, [...OWNERS, ...COMPUTE])
  const cast: Cast = { owners: started.all.slice(0, OWNERS.length), compute: started.all.slice(OWNERS.length) }
  for (const [i, owner] of cast.owners.entries()) {
    const [from, to] = [i, i + 1].map((part) => Math.floor((part * train.count) / OWNERS.length)) as [number, number]
    const own = train.slice(from, to)
    await bring(owner, cast, options.aggregation, '#mnist', { x: own.images(), y: own.labelsTensor() })
    console.log(`${owner.id} has images ${from} to ${to}`)
  }
  return await research(cast, test, options)
}

/** Gradient descent whose rate falls to nothing in a straight line: without it, the last steps go to and fro. */
function falling({ learningRate, momentum }: { learningRate: number; momentum: number }, rounds: number): Strategy {
  const at = (round: number) => fedSgd({ learningRate: learningRate * (1 - round / rounds), momentum })
  return { ...at(0), step: (weights, mean, state, round) => at(round).step(weights, mean, state, round) }
}

/** The model owner's part. */
async function research(
  cast: Cast,
  test: Mnist['test'],
  options: FederatedMnistOptions,
): Promise<FederatedMnistResult> {
  const { epochs, batchSize, learningRate, momentum, aggregation, precision, seed } = options
  const clients = await findClients(cast.owners, '#mnist')
  const refusal = await askedFor(clients[0]!.x)
  console.log(`The model owner asks for images: ${refusal}`)
  const layers = [
    dense(128, 784, 10 * seed, 'relu'),
    dense(128, 128, 10 * seed + 2, 'relu'),
    dense(10, 128, 10 * seed + 4),
  ]
  const model = tf.sequential({ layers })
  const steps = Math.ceil(clients[0]!.x.shape[0]! / batchSize)
  const accuracies: number[] = []
  const bar = progress(epochs * steps, 'step {value}/{total} {bar} accuracy {accuracy}  {eta_formatted} left')
  const federation = new Federation({
    model,
    clients,
    loss: 'softmaxCrossEntropy',
    strategy: falling({ learningRate, momentum }, epochs * steps),
    aggregation: aggregationBy(aggregation, cast, precision),
    rounds: epochs * steps,
    local: { steps: 1, batchSize },
    // Batches are of one size.
    weighting: 'equal',
    seed,
    evaluate(it, round): Record<string, number> {
      if (round % steps !== 0) return {}
      accuracies.push(recognised(it, test))
      return { accuracy: accuracies.at(-1)! }
    },
    onRound: ({ round }) => bar.update(round, { accuracy: percent(accuracies.at(-1) ?? 0) }),
  })
  const started = performance.now()
  const { rounds } = await federation.fit()
  const seconds = (performance.now() - started) / 1000
  bar.stop()
  printTable(
    'Test images, which nobody trains on',
    ['epoch', 'accuracy'],
    accuracies.map((share, i) => [i + 1, percent(share)]),
  )
  const { bytesUp, ms } = costOf(rounds)
  printTable(
    'What it took',
    ['', ''],
    [
      ['test accuracy', percent(accuracies.at(-1) ?? 0)],
      ['bytes that an owner sends in a step', bytesUp],
      ['bytes of the model that it gets', 4 * model.countParams()],
      ['steps', rounds.length],
      ['milliseconds a step', ms.toFixed(1)],
      ['seconds in all', seconds.toFixed(1)],
    ],
  )
  await whoSawWhat([...cast.owners, ...cast.compute])
  const weights = weightsOf(model)
  federation.dispose()
  model.dispose()
  return { accuracies, rounds, refusal, weights }
}

/** What flags say. */
export function optionsOf(flags: readonly string[]): FederatedMnistOptions {
  const program = command(
    'federated-mnist',
    'Three owners of images, and a model owner who learns mean gradients alone.',
  )
    .option('--epochs <n>', 'passes over as many images as each owner has', wholeNumber, 5)
    .option('--batch-size <n>', 'images of each owner in a step', wholeNumber, 64)
    .option('--learning-rate <rate>', 'step size at first; it falls to nothing', positiveNumber, 0.05)
    .option('--momentum <part>', 'how much of the last step goes into this one', numberFromZero, 0.9)
    .addOption(aggregationOption(ways, 'shares'))
    .option('--precision <bits>', 'fractional bits of what is shared or masked; or high: 128 bits', precisionIn, 20)
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--limit <n>', 'use so many images only; 0 for all', wholeNumber, 0)
    .addOption(workersOption())
    .parse(flags, { from: 'user' })
  return program.opts<FederatedMnistOptions>()
}

if (isMain(import.meta.url)) await federatedMnist(optionsOf(process.argv.slice(2)))
