/**
 * Training in secret: olga has images of digits, three computing parties train a network on them, and none of them, nor
 * whoever runs the script, sees an image, a label, a weight or a gradient.
 *
 * Olga's worker shares her images and labels among the three; she has said beforehand that these may have shares. Dana runs
 * the training. What comes of it is opened to her when olga consents: first the number of test images that the network gets
 * right, after each epoch, and in the end the network itself.
 */

import { Option } from 'commander'
import {
  type Cost,
  fixPrecision,
  giveConsent,
  hook,
  type LabelledImages,
  loadMnist,
  ready,
  type SecretOptimizer,
  type SharedTensor,
  tf,
  type Worker,
  whoSawWhat,
} from 'sotto'
import { accuracyInClear, tensorsOf, trainInClear } from './lib/digits.ts'
import { type NetworkName, networks } from './lib/networks.ts'
import { command, isMain, numberFromZero, positiveNumber, printTable, progress, wholeNumber } from './lib/options.ts'
import { introduce, type ProtocolName, protocolOption, refusalOf, sentByAParty, serversOf } from './lib/secrets.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface EncryptedTrainingOptions {
  network: NetworkName
  protocol: ProtocolName
  epochs: number
  batchSize: number
  optimizer: SecretOptimizer['kind']
  /** That of the network unless given; of adam and amsgrad 0.001. */
  learningRate?: number
  momentum: number
  seed: number
  /** Training images; 0 for all. */
  limit: number
  /** Test images that accuracy is counted on in secret; 0 for all. */
  test: number
  /** Whether the same network is trained in clear besides, on the same batches. */
  plain?: boolean
  workers: WorkerKind
}

export interface EncryptedTrainingResult {
  /** After each epoch, counted in secret. */
  accuracy: number[]
  /** What dana was told before olga had consented. */
  refusal: string
  /** Of the network that was opened in the end, in clear, on the same images. */
  opened: number
  /** Of one that was trained in clear, if that was asked for. */
  plain: number | null
  seconds: { batch: number }
  /** Of one full batch: rounds that wait for one another, and bytes that a party sends. */
  batch: { rounds: number; bytes: number }
}

const JOB = 'digits'
/** Images that are shared together: as floats 19 MB, as shares twice as much. */
const TOGETHER = 6000

/** Rows, a few thousand at a time. */
function* blocks(rows: LabelledImages): Iterable<LabelledImages> {
  for (let at = 0; at < rows.count; at += TOGETHER) yield rows.slice(at, Math.min(rows.count, at + TOGETHER))
}

/** Olga's part: her images and labels go to her own worker, from which only the parties may have shares. */
async function bring(olga: Worker, train: LabelledImages, network: NetworkName, parties: readonly string[]) {
  let block = 0
  for (const rows of blocks(train)) {
    const { x, y } = tensorsOf(rows, network)
    const rights = { private: true, allowShares: [...parties] }
    x.send(olga, { ...rights, tags: ['#images', `#block-${block}`] })
    y.send(olga, { ...rights, tags: ['#labels', `#block-${block}`] })
    tf.dispose([x, y])
    await olga.flush()
    block++
  }
  return block
}

export async function encryptedTraining(options: EncryptedTrainingOptions): Promise<EncryptedTrainingResult> {
  const { network, protocol, batchSize, epochs, seed, limit } = options
  const { of, loss, make } = networks[network]
  console.log(`Training in secret on the ${await ready()} backend: network ${network}, ${of}`)
  hook()
  const { train, test, source } = await loadMnist(limit > 0 ? { limit } : {})
  const tested = options.test > 0 ? test.slice(0, Math.min(options.test, test.count)) : test

  await using workers = await startWorkers(options.workers, ['olga', 'server0', 'server1', 'server2', 'dealer'], {
    identity: 'dana',
  })
  const [home, ...others] = workers.all
  const servers = serversOf(protocol, others)
  const { parties, members, sharing } = servers
  introduce([home, ...members], ['olga'])
  const names = members.map(({ id }) => id)
  const count = await bring(home.as('olga'), train, network, names)
  console.log(`olga has ${train.count} images (${source}); ${names.join(', ')} may have shares of them`)

  // Dana's part: she knows the tags, and commands.
  const rows: { x: SharedTensor[]; y: SharedTensor[] } = { x: [], y: [] }
  for (let block = 0; block < count; block++) {
    for (const [tag, list] of [
      ['#images', rows.x],
      ['#labels', rows.y],
    ] as const) {
      const [found] = await home.search([tag, `#block-${block}`])
      const fixed = found!.fixPrecision()
      list.push(fixed.share(parties, sharing))
      fixed.dispose()
    }
    await Promise.all(parties.map((party) => party.flush()))
  }
  const model = make(seed)
  const secret = model.share(parties, sharing)
  const own = tensorsOf(tested, network)
  const [x, y] = [own.x, own.y].map((tensor) => fixPrecision(tensor).share(parties, sharing)) as [
    SharedTensor,
    SharedTensor,
  ]

  const accuracy: number[] = []
  let [refusal, seconds, steps] = ['', 0, 0]
  let cost: Cost | null = null
  let bar = null as ReturnType<typeof progress> | null
  await secret.fit(rows.x, rows.y, {
    optimizer: optimizerOf(options),
    loss,
    epochs,
    batchSize,
    seed,
    consent: { job: JOB, of: ['olga'] },
    onBatch(info) {
      cost ??= info.cost
      bar ??= progress(info.batches, `epoch ${info.epoch}/${epochs} {bar} {percentage}%  {eta_formatted} left`)
      bar.update(info.batch, {})
    },
    async onEpoch({ epoch, ms }) {
      bar?.stop()
      bar = null
      const perEpoch = Math.ceil(train.count / batchSize)
      seconds += ms / 1000
      steps += perEpoch
      if (refusal === '') {
        refusal = await refusalOf(secret.evaluate(x, y))
        console.log(`Dana asks how well the network does, and olga has not consented:\n${refusal}`)
        const parts = parties.map((party) => party.as('olga'))
        giveConsent(parts, { job: JOB, to: 'dana' })
        await Promise.all(parts.map((part) => part.flush()))
      }
      const found = await secret.evaluate(x, y)
      accuracy.push(found.accuracy)
      const each = (ms / perEpoch / 1000).toFixed(3)
      console.log(`epoch ${epoch}: ${found.hits} of ${found.count} test images right, ${each} s a batch`)
    },
  })
  const trained = await secret.get()
  const opened = accuracyInClear(trained, own, network)
  const plain = options.plain === true ? await plainAccuracy(train, own, options) : null
  const { rounds } = cost!
  const bytes = sentByAParty(cost!, servers)
  printTable(
    `Network ${network} on ${train.count} images (${source}), batches of ${batchSize}, ${protocol}`,
    ['', 'in secret'],
    [
      ['accuracy after each epoch', accuracy.map((value) => value.toFixed(4)).join(', ')],
      ['of the network that was opened, in clear', opened.toFixed(4)],
      ...(plain === null ? [] : [['of the same network, trained in clear', plain.toFixed(4)]]),
      ['seconds a batch', (seconds / steps).toFixed(3)],
      ['rounds a batch', rounds],
      ['MB a batch that a party sends', (bytes / 1e6).toFixed(2)],
    ],
  )
  await whoSawWhat([home, ...members])
  tf.dispose([own.x, own.y])
  for (const shared of [...rows.x, ...rows.y, x, y]) shared.dispose()
  secret.dispose()
  model.dispose()
  trained.dispose()
  return { accuracy, refusal, opened, plain, seconds: { batch: seconds / steps }, batch: { rounds, bytes } }
}

function optimizerOf({ network, optimizer: kind, momentum, ...options }: EncryptedTrainingOptions): SecretOptimizer {
  const { learningRate = kind === 'sgd' ? networks[network].learningRate : 0.001 } = options
  return kind === 'sgd' ? { kind, learningRate, momentum } : { kind, learningRate }
}

/** Of the same weights, trained in clear on the same batches in the same order. */
async function plainAccuracy(
  train: LabelledImages,
  tested: { x: tf.Tensor; y: tf.Tensor },
  options: EncryptedTrainingOptions,
): Promise<number> {
  const { network, epochs, batchSize, seed } = options
  const model = networks[network].make(seed)
  const { kind, learningRate, momentum = 0 } = { momentum: 0, ...optimizerOf(options) }
  const descent = momentum > 0 ? tf.train.momentum(learningRate!, momentum) : tf.train.sgd(learningRate!)
  const optimizer = kind === 'sgd' ? descent : tf.train.adam(learningRate)
  await trainInClear(model, train, network, { optimizer, epochs, batchSize, seed })
  const accuracy = accuracyInClear(model, tested, network)
  model.dispose()
  return accuracy
}

if (isMain(import.meta.url)) {
  const program = command('encrypted-training', 'Three parties train a network on images that none of them sees.')
    .addOption(
      new Option('--network <letter>', 'see examples/lib/networks.ts').choices(Object.keys(networks)).default('A'),
    )
    .addOption(protocolOption())
    .option('--epochs <n>', 'passes over the images', wholeNumber, 5)
    .option('--batch-size <n>', 'images trained on together', wholeNumber, 128)
    .addOption(new Option('--optimizer <name>', 'the rule').choices(['sgd', 'adam', 'amsgrad']).default('sgd'))
    .option('--learning-rate <x>', 'of each step', positiveNumber)
    .option('--momentum <x>', 'of sgd', numberFromZero, 0)
    .option('--seed <n>', 'for weights and orders', wholeNumber, 1)
    .option('--limit <n>', 'use so many training images only; 0 for all', wholeNumber, 0)
    .option('--test <n>', 'count on so many test images; 0 for all', wholeNumber, 2000)
    .option('--plain', 'train the same network in clear besides', false)
    .addOption(workersOption().default('socket'))
    .parse()
  const options = program.opts<EncryptedTrainingOptions>()
  if (options.epochs < 1 || options.batchSize < 1) program.error('--epochs and --batch-size: from 1')
  await encryptedTraining(options)
}
