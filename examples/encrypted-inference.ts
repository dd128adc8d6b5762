/**
 * Inference in secret among three: the owner of a network and the owner of images show nothing of them to each other, nor
 * to the three that compute, nor to whoever runs the script. What the network makes of the images is opened to their owner
 * alone.
 *
 * The owner of the network trains it in clear on a machine of its own, and its worker shares the weights; the worker of the
 * other shares the images. Dana runs the script: she knows the layers, which are public, and the tags, and commands. Beside
 * what she may do, the script plays the owners, and holds what one of them learns to the model in clear.
 */
import { Option } from 'commander'
import {
  type Cost,
  hook,
  loadMnist,
  type PointerTensor,
  ready,
  type SharedModel,
  type SharedTensor,
  scope,
  tf,
  type Worker,
  whoSawWhat,
} from 'sotto'
import { picturesOf, tensorsOf, trainInClear } from './lib/digits.ts'
import { type NetworkName, networks } from './lib/networks.ts'
import { command, isMain, printTable, progress, wholeNumber } from './lib/options.ts'
import {
  introduce,
  type ProtocolName,
  protocolOption,
  refusalOf,
  type Servers,
  sentByAParty,
  serversOf,
} from './lib/secrets.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

const opened = ['class', 'scores'] as const

export interface EncryptedInferenceOptions {
  network: Exclude<NetworkName, 'logistic'>
  protocol: ProtocolName
  /** What the owner of the images learns of each: its class, or the ten numbers of which that is the largest. */
  opens: (typeof opened)[number]
  /** Test images; 0 for all. */
  images: number
  batchSize: number
  /** Passes over the training images, in clear. */
  epochs: number
  /** Training images; 0 for all. */
  limit: number
  seed: number
  workers: WorkerKind
}

export interface EncryptedInferenceResult {
  accuracy: { plain: number; secret: number }
  /** Images of which the model in clear says something else. */
  otherClasses: number
  /** What those were told who asked for what is not for them. */
  refusals: { dana: string; modelOwner: string }
  seconds: { batch: number }
  /** Of one full batch: rounds that wait for one another, and bytes that a party sends. */
  batch: { rounds: number; bytes: number }
}

const [MODEL_OWNER, IMAGE_OWNER] = ['model-owner', 'image-owner'] as const
/** Images that are shown. */
const SHOWN = 5

/** The part of the owner of the network: it is trained in clear, and its weights go to the owner's own worker. */
async function bringModel(
  home: Worker,
  model: tf.LayersModel,
  train: Parameters<typeof trainInClear>[1],
  servers: readonly string[],
  { network, epochs, seed }: EncryptedInferenceOptions,
): Promise<void> {
  const optimizer = tf.train.adam(0.002)
  await trainInClear(model, train, network, { optimizer, epochs, batchSize: 128, seed })
  optimizer.dispose()
  const rights = { private: true, allowShares: [...servers], allowResults: [IMAGE_OWNER] }
  model.getWeights().forEach((weight, i) => {
    weight.send(home, { ...rights, tags: ['#weights', `#weight-${i}`] })
  })
  await home.flush()
}

/** That of the owner of the images. */
async function bringImages(home: Worker, batches: readonly tf.Tensor[], servers: readonly string[]): Promise<void> {
  batches.forEach((images, i) => {
    images.send(home, { private: true, allowShares: [...servers], tags: ['#images', `#batch-${i}`] })
  })
  await home.flush()
}

async function found(home: Worker, ...tags: string[]): Promise<PointerTensor> {
  const [pointer] = await home.search(tags)
  return pointer!
}

/** Dana's part: the layers go to where the weights are, take these, and are shared from there. */
async function shareModel(home: Worker, layers: tf.LayersModel, { parties, sharing }: Servers): Promise<SharedModel> {
  const weights = await Promise.all(layers.getWeights().map((_, i) => found(home, '#weights', `#weight-${i}`)))
  const remote = layers.send(home)
  remote.assign(weights)
  const secret = remote.share(parties, sharing)
  remote.dispose()
  return secret
}

const sum = (a: Cost, b: Cost): Cost => ({
  rounds: a.rounds + b.rounds,
  bytes: a.bytes + b.bytes,
  provider: a.provider + b.provider,
})

/** What is to be opened of some images, and what it cost. */
function answered(
  secret: SharedModel,
  images: SharedTensor,
  { opens }: EncryptedInferenceOptions,
): { answer: SharedTensor; cost: Cost } {
  const scores = secret.apply(images)
  if (opens === 'scores') return { answer: scores, cost: scores.cost }
  const answer = scores.argMax(1)
  return { answer, cost: sum(scores.cost, answer.cost) }
}

/** Classes, of what was opened to the owner of the images. */
async function classesIn(home: Worker, batch: number, { opens }: EncryptedInferenceOptions): Promise<number[]> {
  const learnt = await (await found(home, '#answers', `#batch-${batch}`)).fetch()
  const classes = tf.tidy(() => [...(opens === 'class' ? learnt : learnt.argMax(1)).dataSync()])
  learnt.dispose()
  return classes
}

export async function encryptedInference(options: EncryptedInferenceOptions): Promise<EncryptedInferenceResult> {
  const { network, protocol, opens, batchSize, limit, seed } = options
  const { of, make } = networks[network]
  console.log(`Inference in secret on the ${await ready()} backend: network ${network}, ${of}`)
  hook()
  const { train, test, source } = await loadMnist(limit > 0 ? { limit } : {})
  const rows = test.slice(0, options.images > 0 ? Math.min(options.images, test.count) : test.count)
  const batches = Array.from({ length: Math.ceil(rows.count / batchSize) }, (_, i) => {
    const { x, y } = tensorsOf(rows.slice(i * batchSize, Math.min(rows.count, (i + 1) * batchSize)), network)
    y.dispose()
    return x
  })

  await using workers = await startWorkers(
    options.workers,
    [MODEL_OWNER, IMAGE_OWNER, 'server0', 'server1', 'server2', ...(protocol === 'additive' ? ['dealer'] : [])],
    { identity: 'dana' },
  )
  const [modelHome, imageHome, ...others] = workers.all as readonly [Worker, Worker, ...Worker[]]
  const servers = serversOf(protocol, others)
  const all = [modelHome, imageHome, ...servers.members]
  introduce(all, [MODEL_OWNER, IMAGE_OWNER])
  const names = servers.members.map(({ id }) => id)

  const model = make(seed)
  await bringModel(modelHome.as(MODEL_OWNER), model, train, names, options)
  console.log(`${MODEL_OWNER} has a network, trained on ${train.count} images (${source}) in clear`)
  await bringImages(imageHome.as(IMAGE_OWNER), batches, names)
  console.log(`${IMAGE_OWNER} has ${rows.count} others; ${names.join(', ')} may have shares of both`)

  // Layers alone: their weights are other ones.
  const layers = make(seed + 1)
  const secret = await shareModel(modelHome, layers, servers)
  await Promise.all(servers.members.map((server) => server.flush()))
  const images = await Promise.all(batches.map((_, i) => found(imageHome, '#images', `#batch-${i}`)))
  let cost: Cost | null = null
  let danasRefusal = ''
  const bar = progress(batches.length, '{value}/{total} batches {bar}')
  const started = performance.now()
  for (const [i, batch] of images.entries()) {
    await scope(async () => {
      const { answer, cost: ofBatch } = answered(
        secret,
        batch.fixPrecision().share(servers.parties, servers.sharing),
        options,
      )
      cost ??= ofBatch
      answer.revealTo(imageHome, { tags: ['#answers', `#batch-${i}`] })
      if (i === 0) danasRefusal = await refusalOf(answer.reveal())
      await imageHome.flush()
    })
    bar.update(i + 1, {})
  }
  const seconds = (performance.now() - started) / 1000 / batches.length
  bar.stop()
  const asked = await found(imageHome.as(MODEL_OWNER), '#answers', '#batch-0')
  const refusals = { dana: danasRefusal, modelOwner: await refusalOf(asked.fetch()) }

  // Now the owner of the images looks.
  const learnt = (await Promise.all(batches.map((_, i) => classesIn(imageHome.as(IMAGE_OWNER), i, options)))).flat()
  const shown = batches[0]!.slice(0, Math.min(SHOWN, batches[0]!.shape[0]!))
  console.log(`\nWhat ${IMAGE_OWNER} learns, and nobody else\n`)
  console.log(
    picturesOf(
      shown,
      learnt.slice(0, shown.shape[0]).map((digit) => `a ${digit}`),
    ),
  )
  console.log(`\nDana asks for it too:\n${refusals.dana}\nSo does ${MODEL_OWNER}:\n${refusals.modelOwner}`)

  const plain = batches.flatMap((x) => tf.tidy(() => [...(model.predict(x) as tf.Tensor).argMax(1).dataSync()]))
  const right = (classes: readonly number[]) =>
    classes.filter((digit, i) => digit === rows.labels[i]).length / rows.count
  const accuracy = { plain: right(plain), secret: right(learnt) }
  const otherClasses = learnt.filter((digit, i) => digit !== plain[i]).length
  const [{ rounds }, bytes] = [cost!, sentByAParty(cost!, servers)] as [Cost, number]
  printTable(
    `Network ${network} on ${rows.count} test images (${source}), batches of ${Math.min(batchSize, rows.count)}, ${protocol}; opened: ${opens}`,
    ['', 'in clear', 'in secret'],
    [
      ['accuracy', accuracy.plain.toFixed(4), accuracy.secret.toFixed(4)],
      ['other classes than in clear', '', otherClasses],
      ['seconds a batch', '', seconds.toFixed(3)],
      ['rounds a batch', '', rounds],
      ['MB a batch that a party sends', '', (bytes / 1e6).toFixed(2)],
    ],
  )
  await whoSawWhat(all)
  tf.dispose([...batches, shown])
  secret.dispose()
  model.dispose()
  layers.dispose()
  return { accuracy, otherClasses, refusals, seconds: { batch: seconds }, batch: { rounds, bytes } }
}

if (isMain(import.meta.url)) {
  const letters = Object.keys(networks).filter((name) => name !== 'logistic')
  const program = command(
    'encrypted-inference',
    'Three parties run a network that they do not see on images that they do not see.',
  )
    .addOption(new Option('--network <letter>', 'see examples/lib/networks.ts').choices(letters).default('A'))
    .addOption(protocolOption())
    .addOption(new Option('--opens <what>', 'what the owner of the images learns').choices(opened).default('class'))
    .option('--images <n>', 'test images; 0 for all', wholeNumber, 512)
    .option('--batch-size <n>', 'images computed on together', wholeNumber, 128)
    .option('--epochs <n>', 'passes over the training images, in clear', wholeNumber, 1)
    .option('--limit <n>', 'train on so many images only; 0 for all', wholeNumber, 12_000)
    .option('--seed <n>', 'for weights and orders', wholeNumber, 1)
    .addOption(workersOption().default('socket'))
    .parse()
  const options = program.opts<EncryptedInferenceOptions>()
  if (options.batchSize < 1) program.error('--batch-size: from 1')
  await encryptedInference(options)
}
