/**
 * A spam filter that three owners train together, and no one sees another's messages, weights or gradients: neither the
 * other owners, nor the provider, nor whoever runs this script.
 *
 * First the toy: owners with two rows each. Then real messages: each owner hashes the words of their own messages into
 * features and trains a logistic regression where the messages are. After each round every owner's worker encodes what
 * its model has learnt, makes shares of it and hands them to the other owners' workers; these compute the mean in secret,
 * and open the mean alone. The owners' workers hold everybody to it: a look at one owner's update is refused.
 *
 * `--aggregation masks` has the workers mask their updates instead, so that the masks vanish in the sum (secure
 * aggregation); `--insecure`, or `--aggregation clear`, averages in clear, to compare: then whoever runs this sees every
 * update.
 */
import { Option } from 'commander'
import {
  type Aggregation,
  type FixedPrecisionPointer,
  hook,
  isSottoError,
  type LabelledMessage,
  loadSmsSpam,
  meanOf,
  type PointerTensor,
  ready,
  type SharedTensor,
  scope,
  tf,
  type Worker,
  whoSawWhat,
} from 'sotto'
import { aggregationBy, aggregationOption, RESEARCHER, type Way } from './lib/federated.ts'
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

const spamWays = ['shares', 'masks', 'clear'] as const satisfies readonly Way[]
type SpamWay = (typeof spamWays)[number]

export interface TrainingOptions {
  rounds: number
  batchSize: number
  learningRate: number
  dimension: number
  /** Fractional bits in which updates are shared or masked. */
  precision: number
  seed: number
  /** How the mean comes about: in shares among the owners, by secure aggregation, or in clear. */
  aggregation: SpamWay
}

export interface SecretSpamOptions extends TrainingOptions {
  /** Owners, each with a worker that is also a party of the secret computation. */
  parties: number
  /** Messages used; 0 for all. */
  limit: number
  workers: WorkerKind
}

export interface TrainingResult {
  /** Area under the ROC curve, and accuracy, on the held-out messages after each round. */
  auc: number[]
  accuracy: number[]
  /** What was said to whoever asked to see one owner's update. */
  refusal: string
  weights: Weight[]
}

export interface SecretSpamResult extends TrainingResult {
  /** Sum of squared errors of the toy after each of its rounds. */
  toy: number[]
}

const howSaid: Readonly<Record<SpamWay, string>> = {
  shares: 'the mean of what they learn is all that is opened',
  masks: 'what they learn is masked, and the masks vanish in the mean',
  clear: 'averaging is IN CLEAR',
}

const names = ['bob', 'alice', 'jane', 'dora', 'eric', 'fay', 'gus', 'hal', 'ida', 'joe'] as const
const PROVIDER = 'carol'
/** Owners whose mean may be known. */
const FEWEST = 3

/** Owners' workers, and the one that deals randomness to them and holds nothing. */
interface Cast {
  readonly workers: readonly Worker[]
  readonly provider: Worker
  readonly options: TrainingOptions
}

/** Those, and what adds up what owners mask. */
interface Study extends Cast {
  readonly masking: Aggregation
}
const studyOf = (cast: Cast): Study => ({
  ...cast,
  masking: aggregationBy('masks', { compute: [] }, cast.options.precision),
})

/** An owner puts rows on their worker: for nobody to see, to be shared among the owners, the mean of all for the researcher. */
async function bring(cast: Cast, i: number, rows: { x: tf.Tensor; y: tf.Tensor }, tag: string): Promise<void> {
  const { workers, provider, options } = cast
  const own = workers[i]!.as(workers[i]!.id)
  // Whom the owner means by these names, the owner says.
  own.addWorkers([...workers.filter((worker) => worker.id !== own.id), provider])
  const peers = options.aggregation === 'shares' ? [...workers, provider] : workers
  const others = peers.map(({ id }) => id).filter((id) => id !== own.id)
  const rights =
    options.aggregation === 'clear'
      ? { private: true, allowResults: [RESEARCHER] }
      : { private: true, allowShares: others, allowTotals: [RESEARCHER] }
  rows.x.send(own, { ...rights, tags: [tag, '#features'] })
  rows.y.send(own, { ...rights, tags: [tag, '#labels'] })
  tf.dispose([rows.x, rows.y])
  await own.flush()
}

const find = ({ workers }: Cast, tag: string): Promise<Owner[]> =>
  Promise.all(workers.map((worker) => findOwner(worker, tag)))

type Update = readonly PointerTensor[]

/** Every owner trains a copy of the model; gives what each weight has moved by, where it is. */
function train(model: tf.LayersModel, owners: readonly Owner[], locally: TrainingOf): Update[] {
  return owners.map((owner, i) => {
    const remote = model.send(owner.worker)
    const before = remote.parameters().map((parameter) => parameter.detach())
    locally(remote, owner, i)
    return remote.parameters().map((parameter, at) => parameter.detach().sub(before[at]!))
  })
}
type TrainingOf = (remote: ReturnType<tf.LayersModel['send']>, owner: Owner, index: number) => void

/** The mean of the owners' updates, weight by weight. */
async function meanUpdate(study: Study, updates: readonly Update[]): Promise<tf.Tensor[]> {
  const { workers: parties, provider, options } = study
  if (options.aggregation === 'masks') return maskedMean(study, updates)
  if (options.aggregation === 'clear') {
    const inClear = await Promise.all(updates.map((update) => Promise.all(update.map((part) => part.get()))))
    return inClear[0]!.map((_, at) => tf.tidy(() => tf.mean(tf.stack(inClear.map((update) => update[at]!)), 0)))
  }
  const precision = { base: 2, precisionFractional: options.precision }
  const means = updates[0]!.map((_, at) => {
    const secrets = updates.map((update): SharedTensor => {
      const fixed: FixedPrecisionPointer = update[at]!.fixPrecision(precision)
      return fixed.share(parties, { provider })
    })
    return meanOf(secrets)
  })
  return Promise.all(means.map((mean) => mean.reveal()))
}

/** All count the same. */
const alike = (workers: readonly Worker[]) => workers.map((worker) => ({ worker, weight: 1 }))

/** The same by secure aggregation, which has all weights in one vector. */
async function maskedMean({ workers, masking }: Study, updates: readonly Update[]): Promise<tf.Tensor[]> {
  const parts = updates.map((values, i) => ({ worker: workers[i]!, values, weight: 1 }))
  const { mean } = await masking.mean(parts, {
    clients: alike(workers),
    minimum: FEWEST,
    deadline: 60_000,
  })
  let at = 0
  return updates[0]!.map(({ shape, size }) => {
    const part = Float32Array.from(mean.subarray(at, at + size))
    at += size
    return tf.tensor(part, [...shape])
  })
}

/** One round: everyone trains, the mean is opened, the model moves by it. */
async function round(
  study: Study,
  model: tf.LayersModel,
  owners: readonly Owner[],
  locally: TrainingOf,
): Promise<void> {
  await scope(async () => {
    const means = await meanUpdate(study, train(model, owners, locally))
    const weights = tf.tidy(() => model.getWeights().map((weight, i) => weight.add(means[i]!)))
    model.setWeights(weights)
    tf.dispose([means, weights])
  })
}

/** Owners with two rows each (all with the same two, past the third), Linear(3→1), 5 rounds of 5 local steps. */
async function toy(cast: Cast): Promise<number[]> {
  await Promise.all(
    cast.workers.map((_, i) => {
      const at = (2 * i) % TOY.data.length
      const rows = { x: tf.tensor(TOY.data.slice(at, at + 2)), y: tf.tensor(TOY.targets.slice(at, at + 2)) }
      return bring(cast, i, rows, '#toy')
    }),
  )
  const owners = await find(cast, '#toy')
  const kernelInitializer = tf.initializers.glorotUniform({ seed: cast.options.seed })
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [3], kernelInitializer })] })
  const errors: number[] = []
  const study = studyOf(cast)
  for (let i = 0; i < 5; i++) {
    await round(study, model, owners, (remote, owner) => trainOnToy(remote, owner, 5))
    errors.push(
      tf.tidy(() => {
        const predicted = model.apply(tf.tensor(TOY.data)) as tf.Tensor
        return predicted.sub(tf.tensor(TOY.targets)).square().sum().dataSync()[0]!
      }),
    )
  }
  study.masking.dispose()
  model.dispose()
  printTable(
    `The toy: ${cast.workers.length} owners, two rows each`,
    ['round', 'sum of squared errors'],
    errors.map((e, i) => [i + 1, e.toFixed(4)]),
  )
  return errors
}

/** Tries to see one owner's update, itself and past what hides it, and tells what came of it. */
async function peek(
  { workers, provider, masking, options }: Study,
  model: tf.LayersModel,
  [owner]: readonly Owner[],
  locally: TrainingOf,
): Promise<string> {
  return scope(async () => {
    const [update] = train(model, [owner!], locally)
    const values = update!
    const past = (): Promise<unknown> =>
      options.aggregation === 'masks'
        ? masking.mean([{ worker: owner!.worker, values, weight: 1 }], {
            clients: alike(workers),
            minimum: 1,
            deadline: 60_000,
          })
        : values[0]!.fixPrecision().share(workers, { provider }).get()
    const answers = await Promise.all(
      [values[0]!.fetch(), past()].map((answer: Promise<unknown>) =>
        answer.then(
          () => 'seen in clear',
          (error: unknown) => (isSottoError(error) ? `${error.code}: ${error.message.split(';')[0]}` : String(error)),
        ),
      ),
    )
    return answers.join('\n')
  })
}

export async function secretSpam(options: SecretSpamOptions): Promise<SecretSpamResult> {
  const { parties, dimension, seed, limit, aggregation } = options
  console.log(`${parties} owners train a spam filter on the ${await ready()} backend; ${howSaid[aggregation]}`)
  hook()
  await using started = await startWorkers(options.workers, [PROVIDER, ...names.slice(0, parties)])
  const [provider, ...workers] = started.all
  const cast: Cast = { workers, provider, options }
  const toyErrors = await toy(cast)

  const { messages, source } = await loadSmsSpam(limit > 0 ? { limit } : {})
  const { owned, held } = dealt(messages, parties, seed)
  await Promise.all(
    workers.map(({ id }, i) => {
      console.log(`${id} has ${owned[i]!.length} messages, ${owned[i]!.filter(isSpam).length} of them spam`)
      return bring(cast, i, featuresOf(owned[i]!, dimension), '#sms')
    }),
  )
  console.log(`${held.length} messages are held out (${source})`)
  return { toy: toyErrors, ...(await research(cast, held)) }
}

/** The researcher's part, who has some messages that nobody else has. */
export async function research(cast: Cast, held: readonly LabelledMessage[]): Promise<TrainingResult> {
  const { workers, provider, options } = cast
  const { rounds, dimension, seed, aggregation } = options
  const study = studyOf(cast)
  const owners = await find(cast, '#sms')
  const model = tf.sequential({
    layers: [tf.layers.dense({ units: 1, inputShape: [dimension], kernelInitializer: 'zeros' })],
  })
  const test = featuresOf(held, dimension)
  const labels = held.map(isSpam)
  const scores: Score[] = []
  const bar = progress(rounds, 'round {value}/{total} {bar} AUC {auc}')
  for (let i = 0; i < rounds; i++) {
    await round(study, model, owners, (remote, owner, at) =>
      trainOnMessages(remote, owner, { ...options, seed: 1000 * seed + 10 * i + at }),
    )
    scores.push(
      scoreOf(
        tf.tidy(() => (model.apply(test.x) as tf.Tensor).dataSync()),
        labels,
      ),
    )
    bar.update(i + 1, { auc: scores.at(-1)!.auc.toFixed(4) })
  }
  bar.stop()
  printTable('Held-out messages, never seen in training', ['round', 'AUC', 'accuracy'], scoreRows(scores))

  const isClear = aggregation === 'clear'
  const refusal = isClear
    ? ''
    : await peek(study, model, owners, (remote, owner) => trainOnMessages(remote, owner, { ...options, seed }))
  const hidden = aggregation === 'masks' ? 'a sum of it alone' : 'what is shared of it'
  if (!isClear) console.log(`\nWhoever runs this asks to see bob's update, and then ${hidden}:\n${refusal}`)
  study.masking.dispose()
  const weights = weightsOf(model)
  tf.dispose([test.x, test.y])
  model.dispose()
  await printTraffic([...workers, provider])
  await whoSawWhat([...workers, provider])
  return { auc: scores.map(({ auc }) => auc), accuracy: scores.map(({ accuracy }) => accuracy), refusal, weights }
}

if (isMain(import.meta.url)) {
  const program = command(
    'secret-spam',
    'Owners train a spam filter; all that is opened is the mean of what they learn.',
  )
    .option('--parties <n>', `owners, from ${FEWEST} to ${names.length}`, wholeNumber, FEWEST)
    .option('--rounds <n>', 'rounds of local training and averaging', wholeNumber, 10)
    .option('--batch-size <n>', 'messages per local step', wholeNumber, 32)
    .option('--learning-rate <rate>', 'local step size', positiveNumber, 10)
    .option('--dimension <n>', 'features that words are hashed into', wholeNumber, 4096)
    .addOption(aggregationOption(spamWays, 'shares'))
    .option('--precision <bits>', 'fractional bits in which updates are shared or masked', wholeNumber, 16)
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--limit <n>', 'use so many messages only; 0 for all', wholeNumber, 0)
    .addOption(
      new Option('--insecure', 'average in clear, to compare: whoever runs this sees every update').implies({
        aggregation: 'clear',
      }),
    )
    .addOption(workersOption())
    .parse()
  const options = program.opts<SecretSpamOptions>()
  if (options.parties < FEWEST || options.parties > names.length) {
    program.error(
      `--parties: from ${FEWEST} (of two, either could tell the other's update from the mean) to ${names.length}`,
    )
  }
  await secretSpam(options)
}
