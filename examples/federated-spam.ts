/**
 * Federated learning: three owners train one model, and no one's messages leave their owner.
 *
 * First the toy: three owners with two rows each. Then real messages: each owner hashes the words of their own messages
 * into features and trains a logistic regression locally; the models are averaged in rounds. The averaging is IN CLEAR
 * here: whoever runs this script sees the owners' weights.
 */
import { hook, type LabelledMessage, loadSmsSpam, ready, tf, type Worker, whoSawWhat } from 'sotto'
import { command, isMain, positiveNumber, printTable, progress, wholeNumber } from './lib/options.ts'
import {
  dealt,
  featuresOf,
  findOwner,
  isSpam,
  type Owner,
  type Score,
  scoreOf,
  scoreRows,
  TOY,
  trainOnMessages,
  trainOnToy,
} from './lib/spam.ts'
import { printTraffic } from './lib/traffic.ts'
import { type Weight, weightsOf } from './lib/weights.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface TrainingOptions {
  rounds: number
  batchSize: number
  learningRate: number
  dimension: number
  seed: number
}

export interface FederatedSpamOptions extends TrainingOptions {
  /** Messages used; 0 for all. */
  limit: number
  workers: WorkerKind
}

export interface TrainingResult {
  /** Area under the ROC curve, and accuracy, on the held-out messages after each round. */
  auc: number[]
  accuracy: number[]
  weights: Weight[]
}

export interface FederatedSpamResult extends TrainingResult {
  /** Sum of squared errors of the toy after each of its rounds. */
  toy: number[]
}

const owners = ['bob', 'alice', 'jane'] as const

/** The mean of models of one shape, in clear. Takes the models. */
function averaged(models: readonly tf.LayersModel[], into: tf.LayersModel): void {
  tf.tidy(() => {
    const weights = models.map((model) => model.getWeights())
    into.setWeights(weights[0]!.map((_, i) => tf.mean(tf.stack(weights.map((list) => list[i]!)), 0)))
  })
  for (const model of models) model.dispose()
}

/** Three owners with two rows each, Linear(3→1), 5 rounds of 5 local steps at 0.1, sum of squared errors. */
async function toy(workers: readonly Worker[], seed: number): Promise<number[]> {
  const shares: Owner[] = workers.map((worker, i) => ({
    worker,
    x: tf.tensor(TOY.data.slice(2 * i, 2 * i + 2)).send(worker),
    y: tf.tensor(TOY.targets.slice(2 * i, 2 * i + 2)).send(worker),
  }))
  const kernelInitializer = tf.initializers.glorotUniform({ seed })
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer })] })
  const errors: number[] = []
  for (let round = 0; round < 5; round++) {
    const trained = await Promise.all(
      shares.map((share) => {
        const remote = model.send(share.worker)
        trainOnToy(remote, share, 5)
        return remote.get()
      }),
    )
    averaged(trained, model)
    const error = tf.tidy(() => {
      const predicted = model.apply(tf.tensor(TOY.data)) as tf.Tensor
      return predicted.sub(tf.tensor(TOY.targets)).square().sum().dataSync()[0]!
    })
    errors.push(error)
  }
  printTable(
    'The toy: three owners, two rows each',
    ['round', 'sum of squared errors'],
    errors.map((e, i) => [i + 1, e.toFixed(4)]),
  )
  model.dispose()
  for (const { x, y } of shares) for (const pointer of [x, y]) pointer.dispose()
  return errors
}

export async function federatedSpam(options: FederatedSpamOptions): Promise<FederatedSpamResult> {
  const { dimension, seed, limit } = options
  console.log(`Federated spam filter on the ${await ready()} backend; averaging is in clear`)
  hook()
  await using started = await startWorkers(options.workers, owners)
  const workers = started.all
  const toyErrors = await toy(workers, seed)

  const { messages, source } = await loadSmsSpam(limit > 0 ? { limit } : {})
  const { owned, held } = dealt(messages, owners.length, seed)
  await Promise.all(
    workers.map(async (worker, i) => {
      const { x, y } = featuresOf(owned[i]!, dimension)
      const own = worker.as(worker.id)
      // The owner lets the researcher see what is computed from the messages (the trained weights), and nothing else.
      const privacy = { private: true, allowResults: ['me'] }
      x.send(own, { ...privacy, tags: ['#sms', '#features'] })
      y.send(own, { ...privacy, tags: ['#sms', '#labels'] })
      tf.dispose([x, y])
      console.log(`${worker.id} has ${owned[i]!.length} messages, ${owned[i]!.filter(isSpam).length} of them spam`)
      await own.flush()
    }),
  )
  console.log(`${held.length} messages are held out (${source})`)
  return { toy: toyErrors, ...(await research({ workers, held }, options)) }
}

/** Who has what: each worker the messages of its owner, the researcher some that nobody else has. */
export interface Cast {
  readonly workers: readonly Worker[]
  readonly held: readonly LabelledMessage[]
}

/** The researcher's part. */
export async function research({ workers, held }: Cast, options: TrainingOptions): Promise<TrainingResult> {
  const { rounds, dimension, seed } = options
  const found = await Promise.all(workers.map((worker) => findOwner(worker, '#sms')))
  const model = tf.sequential({
    layers: [tf.layers.dense({ units: 1, inputShape: [dimension], kernelInitializer: 'zeros' })],
  })
  const test = featuresOf(held, dimension)
  const labels = held.map(isSpam)
  const scores: Score[] = []
  const bar = progress(rounds, 'round {value}/{total} {bar} AUC {auc}')
  for (let round = 0; round < rounds; round++) {
    const trained = await Promise.all(
      found.map((owner, i) => {
        const remote = model.send(owner.worker)
        trainOnMessages(remote, owner, { ...options, seed: 1000 * seed + 10 * round + i })
        return remote.get()
      }),
    )
    averaged(trained, model)
    scores.push(
      scoreOf(
        tf.tidy(() => (model.apply(test.x) as tf.Tensor).dataSync()),
        labels,
      ),
    )
    bar.update(round + 1, { auc: scores.at(-1)!.auc.toFixed(4) })
  }
  bar.stop()
  printTable('Held-out messages, never seen in training', ['round', 'AUC', 'accuracy'], scoreRows(scores))
  const weights = weightsOf(model)
  tf.dispose([test.x, test.y])
  model.dispose()
  await printTraffic(workers)
  await whoSawWhat(workers)
  return { auc: scores.map(({ auc }) => auc), accuracy: scores.map(({ accuracy }) => accuracy), weights }
}

if (isMain(import.meta.url)) {
  const program = command('federated-spam', 'Three owners train a spam filter; models are averaged in clear.')
    .option('--rounds <n>', 'rounds of local training and averaging', wholeNumber, 10)
    .option('--batch-size <n>', 'messages per local step', wholeNumber, 32)
    .option('--learning-rate <rate>', 'local step size', positiveNumber, 10)
    .option('--dimension <n>', 'features that words are hashed into', wholeNumber, 4096)
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--limit <n>', 'use so many messages only; 0 for all', wholeNumber, 0)
    .addOption(workersOption())
    .parse()
  await federatedSpam(program.opts())
}
