/**
 * Inference in secret: the owner of a model and the sender of an input show each other nothing, and only the sender learns
 * the verdict.
 *
 * First a spam filter: olga has trained one, sam has a message. Olga's worker shares the filter, sam's worker shares the
 * message, the two compute among themselves, and open the verdict to sam. Olga runs the script, and is refused when she
 * asks for the verdict herself. Then a network of three layers on images of MNIST: accuracy and seconds an image, beside
 * the same in clear.
 */
import {
  fixPrecision,
  hook,
  type LabelledImages,
  type LabelledMessage,
  loadMnist,
  loadSmsSpam,
  ready,
  type SharedModel,
  scope,
  tf,
  whoSawWhat,
} from 'sotto'
import { command, isMain, printTable, progress, wholeNumber } from './lib/options.ts'
import { refusalOf } from './lib/secrets.ts'
import { featuresOf, isSpam } from './lib/spam.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface SecretInferenceOptions {
  /** Parties that compute on images, besides the provider. */
  parties: number
  /** Test images; 0 for all. */
  images: number
  batchSize: number
  /** Passes over the training images. */
  epochs: number
  dimension: number
  seed: number
  /** Messages and training images used; 0 for all. */
  limit: number
  workers: WorkerKind
}

export interface SecretInferenceResult {
  /** What sam learnt of each message, and what it is. */
  verdicts: { isSpam: boolean; verdict: boolean }[]
  /** What olga was told when she asked for a verdict. */
  refusal: string
  /** Of the test images. */
  accuracy: { plain: number; secret: number }
  /** Seconds an image. */
  seconds: { plain: number; secret: number }
}

/** Olga's filter: a logistic regression, trained in clear on her own messages; in their order, to be the same each time. */
async function trainFilter(messages: readonly LabelledMessage[], dimension: number): Promise<tf.LayersModel> {
  const model = tf.sequential({
    layers: [tf.layers.dense({ units: 1, inputShape: [dimension], kernelInitializer: 'zeros', activation: 'sigmoid' })],
  })
  model.compile({ optimizer: tf.train.sgd(10), loss: 'binaryCrossentropy' })
  const { x, y } = featuresOf(messages, dimension)
  await model.fit(x, y, { epochs: 10, batchSize: 32, shuffle: false, verbose: 0 })
  tf.dispose([x, y])
  return model
}

/** Some messages of each kind. */
function picked(messages: readonly LabelledMessage[]): LabelledMessage[] {
  const of = (spam: number) => messages.filter((message) => isSpam(message) === spam).slice(0, 2)
  return [...of(1), ...of(0)]
}

async function spamInSecret(
  options: SecretInferenceOptions,
): Promise<Pick<SecretInferenceResult, 'verdicts' | 'refusal'>> {
  const { dimension, limit } = options
  const { messages, source } = await loadSmsSpam(limit > 0 ? { limit } : {})
  const cut = Math.floor(messages.length * 0.8)
  const filter = await trainFilter(messages.slice(0, cut), dimension)
  console.log(`olga has a filter, trained on ${cut} messages (${source}); sam has ${4} messages that it never saw`)

  await using workers = await startWorkers(options.workers, ['olga', 'sam', 'carol'], { identity: 'olga' })
  const [olga, sam, carol] = workers.all
  // Sam says on both workers whom he means by these names; so the others cannot put another worker in their place.
  for (const worker of [olga, sam]) {
    worker.as('sam').addWorkers([olga, sam, carol].filter((peer) => peer !== worker))
    worker.addWorkers([olga, sam, carol].filter((peer) => peer !== worker))
  }
  const chosen = picked(messages.slice(cut))
  const { x } = featuresOf(chosen, dimension)
  x.send(sam.as('sam'), { private: true, allowShares: ['olga', 'carol'], tags: ['#messages'] })
  // Olga's sessions do not wait for his.
  await Promise.all([olga.as('sam').flush(), sam.as('sam').flush()])

  // Olga's part: the filter goes to her own worker, which shares it; the messages she knows by their tag alone.
  const remote = filter.send(olga, { private: true, allowShares: ['sam', 'carol'], allowResults: ['sam'] })
  const secret = remote.share([olga, sam], { provider: carol })
  const [found] = await sam.search(['#messages'])
  const verdicts = secret.apply(found!.fixPrecision().share([olga, sam], { provider: carol }))
  verdicts.revealTo(sam, { tags: ['#verdicts'] })
  const refusal = await refusalOf(verdicts.reveal())
  await sam.flush()

  // Sam's part.
  const [mine] = await sam.as('sam').search(['#verdicts'])
  const probabilities = await mine!.fetch()
  const rows = [...probabilities.dataSync()].map((p, i) => ({ isSpam: isSpam(chosen[i]!) === 1, p }))
  printTable(
    'What sam learns, and nobody else',
    ['message', 'is', 'verdict', 'probability of spam'],
    rows.map((row, i) => [`${i + 1}`, row.isSpam ? 'spam' : 'ham', row.p > 0.5 ? 'spam' : 'ham', row.p.toFixed(4)]),
  )
  const { rounds, bytes } = verdicts.cost
  console.log(`For all of them: ${rounds} rounds, ${bytes} bytes from each of the two to the other`)
  console.log(`Olga asks for the verdicts too:\n${refusal}`)
  await whoSawWhat([olga, sam, carol])
  tf.dispose([x, probabilities])
  filter.dispose()
  return { verdicts: rows.map((row) => ({ isSpam: row.isSpam, verdict: row.p > 0.5 })), refusal }
}

/** 784-128-128-10, trained in clear. */
async function trainNetwork(images: tf.Tensor2D, labels: tf.Tensor1D, { epochs, seed }: SecretInferenceOptions) {
  const dense = (units: number, i: number, more: object = {}) =>
    tf.layers.dense({ units, kernelInitializer: tf.initializers.heNormal({ seed: seed + i }), ...more })
  const model = tf.sequential({
    layers: [
      dense(128, 0, { inputShape: [784], activation: 'relu' }),
      dense(128, 1, { activation: 'relu' }),
      dense(10, 2),
    ],
  })
  model.compile({
    optimizer: tf.train.adam(0.002),
    loss: (y, p) => tf.losses.softmaxCrossEntropy(y, p),
  })
  const oneHot = tf.oneHot(labels, 10)
  await model.fit(images, oneHot, { epochs, batchSize: 128, shuffle: false, verbose: 0 })
  oneHot.dispose()
  return model
}

async function imagesInSecret(
  options: SecretInferenceOptions,
): Promise<Pick<SecretInferenceResult, 'accuracy' | 'seconds'>> {
  const { parties, batchSize, limit } = options
  const { train, test, source } = await loadMnist(limit > 0 ? { limit } : {})
  const whole = tensorsOf(train)
  const model = await trainNetwork(whole.images, whole.labels, options)
  tf.dispose([whole.images, whole.labels])
  const count = options.images > 0 ? Math.min(options.images, test.count) : test.count
  const names = ['bob', 'alice', 'jane', 'dora', 'eric'].slice(0, parties)
  await using started = await startWorkers(options.workers, ['carol', ...names])
  const [provider, ...workers] = started.all
  const secret: SharedModel = model.share(workers, { provider })

  let [plainHits, secretHits, plainTime, secretTime] = [0, 0, 0, 0]
  let cost = { rounds: 0, bytes: 0, provider: 0 }
  const bar = progress(count, '{value}/{total} images {bar}')
  for (let at = 0; at < count; at += batchSize) {
    const { images, labels } = tensorsOf(test.slice(at, Math.min(count, at + batchSize)))
    const truth = labels.dataSync()
    const start = performance.now()
    const plain = tf.tidy(() => (model.predict(images) as tf.Tensor).argMax(1).dataSync())
    const middle = performance.now()
    const opened = await scope(async () => {
      const scores = secret.apply(fixPrecision(images).share(workers, { provider }))
      cost = scores.cost
      return scores.reveal()
    })
    const learnt = tf.tidy(() => opened.argMax(1).dataSync())
    secretTime += performance.now() - middle
    plainTime += middle - start
    plainHits += hits(plain, truth)
    secretHits += hits(learnt, truth)
    tf.dispose([images, labels, opened])
    bar.update(at, {})
  }
  bar.stop()
  const accuracy = { plain: plainHits / count, secret: secretHits / count }
  const seconds = { plain: plainTime / 1000 / count, secret: secretTime / 1000 / count }
  printTable(
    `784-128-128-10 on ${count} test images (${source}), batches of ${batchSize}, ${parties} parties and a provider`,
    ['', 'in clear', 'in secret'],
    [
      ['accuracy', accuracy.plain.toFixed(4), accuracy.secret.toFixed(4)],
      ['milliseconds an image', (1000 * seconds.plain).toFixed(3), (1000 * seconds.secret).toFixed(3)],
      ['rounds a batch', 0, cost.rounds],
      ['bytes of a batch, from each party to each other', 0, cost.bytes],
      ['bytes of a batch, from the provider', 0, cost.provider],
    ],
  )
  secret.dispose()
  model.dispose()
  return { accuracy, seconds }
}

const tensorsOf = (rows: LabelledImages) => ({ images: rows.images(), labels: rows.labelsTensor() })

const hits = (guesses: ArrayLike<number>, truth: ArrayLike<number>): number =>
  Array.from(guesses).filter((guess, i) => guess === truth[i]).length

export async function secretInference(options: SecretInferenceOptions): Promise<SecretInferenceResult> {
  console.log(`Inference in secret on the ${await ready()} backend`)
  hook()
  return { ...(await spamInSecret(options)), ...(await imagesInSecret(options)) }
}

if (isMain(import.meta.url)) {
  const program = command('secret-inference', 'A model and its inputs stay secret; only the sender learns the verdict.')
    .option('--parties <n>', 'parties that compute on images, 2 to 5', wholeNumber, 2)
    .option('--images <n>', 'test images; 0 for all', wholeNumber, 2000)
    .option('--batch-size <n>', 'images computed on together', wholeNumber, 128)
    .option('--epochs <n>', 'passes over the training images, in clear', wholeNumber, 2)
    .option('--dimension <n>', 'features that words are hashed into', wholeNumber, 4096)
    .option('--seed <n>', 'for weights', wholeNumber, 1)
    .option('--limit <n>', 'use so many messages and training images only; 0 for all', wholeNumber, 0)
    .addOption(workersOption())
    .parse()
  const options = program.opts<SecretInferenceOptions>()
  if (options.parties < 2 || options.parties > 5) program.error('--parties: from 2 to 5')
  await secretInference(options)
}
