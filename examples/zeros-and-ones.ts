/**
 * Reproduces: zeros against ones of MNIST, for ten parties with 32 images each, and a perceptron with a sigmoid. What one
 * party learns alone; what all learn from the mean of their gradients, in clear, under masks in pairs, and under secure
 * aggregation that bears dropouts. The last three learn the same: what hides a gradient costs no accuracy.
 *
 * Then federated averaging of a small network, Dense(64, relu) and Dense(2, softmax), by three owners of all zeros and ones,
 * under secure aggregation: 10 rounds of an epoch each, SGD at 0.02.
 */
import {
  type FederatedClient,
  Federation,
  type FederationOptions,
  fedAvg,
  fedSgd,
  LabelledImages,
  loadMnist,
  type Mnist,
  type RoundResult,
  ready,
  tf,
  whoSawWhat,
} from 'sotto'
import { dense } from './lib/dense.ts'
import {
  aggregationBy,
  askedFor,
  bring,
  type Cast,
  costOf,
  findClients,
  percent,
  recognised,
  type Way,
} from './lib/federated.ts'
import { command, isMain, positiveNumber, printTable, wholeNumber } from './lib/options.ts'
import { type Weight, weightsOf } from './lib/weights.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface ZerosAndOnesOptions {
  /** Steps on the mean gradient, each on all images of each party. */
  steps: number
  learningRate: number
  /** Rounds of an epoch each, of federated averaging. */
  epochs: number
  /** Fractional bits in which gradients and updates are masked. */
  precision: number
  seed: number
  /** Training images that zeros and ones are taken from, and test images; 0 for all. */
  limit: number
  workers: WorkerKind
}

/** What the perceptron has learnt, in one of four ways. */
export interface Learnt {
  readonly accuracy: number
  readonly rounds: readonly RoundResult[]
  readonly weights: readonly Weight[]
}

export interface ZerosAndOnesResult {
  readonly perceptron: Readonly<Record<Learning, Learnt>>
  /** Share of the test images that the network recognises, after each round of averaging. */
  readonly network: readonly number[]
  /** What was said to whoever asked for images. */
  readonly refusal: string
}

const PARTIES = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi', 'ivan', 'judy'] as const
/** Of those, how many have part in the network. */
const AVERAGING = 3
/** Images of each party. */
const OWN = 32

/** One row per way to learn: who takes part, and how the mean comes about. */
const learnings = {
  'one party alone': { parties: 1, way: 'clear' },
  'gradients averaged in clear': { parties: PARTIES.length, way: 'clear' },
  'gradients masked in pairs': { parties: PARTIES.length, way: 'pairs' },
  'gradients under secure aggregation': { parties: PARTIES.length, way: 'masks' },
} as const satisfies Record<string, { parties: number; way: Way }>
export type Learning = keyof typeof learnings

/** The zeros and ones among images: their labels say which is which. */
export function zerosAndOnes(images: LabelledImages): LabelledImages {
  const chosen = Array.from(images.labels.keys()).filter((i) => images.labels[i]! <= 1)
  const area = images.height * images.width
  const pixels = new Uint8Array(chosen.length * area)
  for (const [row, i] of chosen.entries()) pixels.set(images.pixels.subarray(i * area, (i + 1) * area), row * area)
  return new LabelledImages(
    pixels,
    Uint8Array.from(chosen, (i) => images.labels[i]!),
  )
}

export async function zerosAgainstOnes(options: ZerosAndOnesOptions): Promise<ZerosAndOnesResult> {
  const { limit } = options
  console.log(`Zeros against ones of MNIST, on the ${await ready()} backend`)
  const { train, test, source } = await loadMnist(limit > 0 ? { limit, testLimit: limit } : {})
  const digits = { train: zerosAndOnes(train), test: zerosAndOnes(test) }
  console.log(`${digits.train.count} zeros and ones to train on, ${digits.test.count} to test on (${source})`)
  return await trainOn(digits, options)
}

/** The same on zeros and ones that are there: at least 32 for each of the ten parties. */
export async function trainOn(
  { train, test }: Pick<Mnist, 'train' | 'test'>,
  options: ZerosAndOnesOptions,
): Promise<ZerosAndOnesResult> {
  if (train.count < OWN * PARTIES.length) {
    throw new Error(`ten parties have ${OWN} images each, and there are ${train.count}; --limit takes more`)
  }
  await using started = await startWorkers(options.workers, PARTIES)
  const cast: Cast = { owners: started.all, compute: [] }
  for (const [i, owner] of cast.owners.entries()) {
    const own = train.slice(i * OWN, (i + 1) * OWN)
    // What an owner allows hangs on how the mean comes about: two of the ways need the same rights.
    for (const way of ['clear', 'masks'] as const) {
      const y = tf.tidy(() => own.labelsTensor().toFloat().reshape([OWN, 1]))
      await bring(owner, cast, way, `#perceptron-${way}`, { x: own.images(), y })
    }
  }
  const averaging: Cast = { owners: cast.owners.slice(0, AVERAGING), compute: [] }
  for (const [i, owner] of averaging.owners.entries()) {
    const [from, to] = [i, i + 1].map((part) => Math.floor((part * train.count) / AVERAGING)) as [number, number]
    const own = train.slice(from, to)
    await bring(owner, averaging, 'masks', '#network', { x: own.images(), y: own.labelsTensor() })
  }

  const refusal = await askedFor((await findClients(cast.owners, '#perceptron-masks'))[0]!.x)
  console.log(`The researcher asks for images: ${refusal}`)
  const perceptron = {} as Record<Learning, Learnt>
  for (const learning of Object.keys(learnings) as Learning[]) {
    perceptron[learning] = await learn(learning, cast, test, options)
  }
  printPerceptrons(perceptron)
  const network = await average(averaging, test, options)
  await whoSawWhat(cast.owners)
  return { perceptron, network, refusal }
}

/** Full-batch gradient descent of 784–1 with a sigmoid, as one of the rows has it. */
async function learn(learning: Learning, cast: Cast, test: LabelledImages, options: ZerosAndOnesOptions) {
  const { steps, learningRate, precision, seed } = options
  const { parties, way } = learnings[learning]
  const clients = await findClients(cast.owners.slice(0, parties), `#perceptron-${way === 'clear' ? 'clear' : 'masks'}`)
  // The sigmoid is in the loss: what comes out are scores, above 0 for a one.
  const model = tf.sequential({ layers: [dense(1, 784, seed)] })
  const terms = { strategy: fedSgd({ learningRate }), rounds: steps, local: { steps: 1, batchSize: OWN } }
  const rounds = await fit(model, clients, {
    ...terms,
    loss: 'sigmoidCrossEntropy',
    aggregation: aggregationBy(way, cast, precision),
    seed,
  })
  const scores = tf.tidy(() => (model.apply(test.images()) as tf.Tensor).dataSync())
  const hits = test.labels.filter((label, i) => label === Number(scores[i]! > 0)).length
  const learnt: Learnt = { accuracy: hits / test.count, rounds, weights: weightsOf(model) }
  model.dispose()
  return learnt
}

async function fit(
  model: tf.LayersModel,
  clients: readonly FederatedClient[],
  options: Omit<FederationOptions, 'model' | 'clients' | 'weighting'>,
): Promise<readonly RoundResult[]> {
  const federation = new Federation({ model, clients, weighting: 'equal', ...options })
  const { rounds } = await federation.fit()
  federation.dispose()
  return rounds
}

function printPerceptrons(learnt: Readonly<Record<Learning, Learnt>>): void {
  const rows = Object.entries(learnt).map(([learning, { accuracy, rounds }]) => {
    const { bytesUp, ms } = costOf(rounds)
    return [learning, percent(accuracy), learnings[learning as Learning].parties, bytesUp, ms.toFixed(1)]
  })
  printTable(
    'A perceptron on zeros and ones: test images that it recognises, and what a step takes',
    ['learnt from', 'accuracy', 'parties', 'bytes a party sends', 'ms'],
    rows,
  )
}

/** Federated averaging of 784–64–2 under secure aggregation. */
async function average(cast: Cast, test: LabelledImages, options: ZerosAndOnesOptions): Promise<number[]> {
  const { epochs, precision, seed } = options
  const clients = await findClients(cast.owners, '#network')
  // The softmax is in the loss.
  const model = tf.sequential({ layers: [dense(64, 784, 10 * seed, 'relu'), dense(2, 64, 10 * seed + 2)] })
  const accuracies: number[] = []
  const rounds = await fit(model, clients, {
    strategy: fedAvg(),
    rounds: epochs,
    local: { epochs: 1, batchSize: OWN, optimizer: { kind: 'sgd', learningRate: 0.02 } },
    loss: 'softmaxCrossEntropy',
    aggregation: aggregationBy('masks', cast, precision),
    seed,
    evaluate(it) {
      accuracies.push(recognised(it, test))
      return { accuracy: accuracies.at(-1)! }
    },
  })
  printTable(
    `Federated averaging by ${cast.owners.length} owners, under secure aggregation`,
    ['epoch', 'accuracy', 'bytes an owner sends', 'ms'],
    rounds.map(({ round, bytesUp, ms }, i) => [round, percent(accuracies[i]!), bytesUp, ms.toFixed(0)]),
  )
  model.dispose()
  return accuracies
}

/** What flags say. */
export function optionsOf(flags: readonly string[]): ZerosAndOnesOptions {
  const program = command('zeros-and-ones', 'Zeros against ones of MNIST: alone, in clear, and under masks.')
    .option('--steps <n>', 'steps of the perceptron, on all images of each party', wholeNumber, 50)
    .option('--learning-rate <rate>', 'of the perceptron', positiveNumber, 0.01)
    .option('--epochs <n>', 'rounds of federated averaging', wholeNumber, 10)
    .option('--precision <bits>', 'fractional bits in which gradients and updates are masked', wholeNumber, 20)
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--limit <n>', 'take zeros and ones from so many images only; 0 for all', wholeNumber, 0)
    .addOption(workersOption())
    .parse(flags, { from: 'user' })
  return program.opts<ZerosAndOnesOptions>()
}

if (isMain(import.meta.url)) await zerosAgainstOnes(optionsOf(process.argv.slice(2)))
