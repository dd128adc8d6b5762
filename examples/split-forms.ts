/**
 * Split learning on MNIST in all its forms: one network, whose segments, images and labels are with several owners. The
 * researcher who runs this script sees losses and accuracies, and neither an image nor a label; where owners have parts of
 * the same images, their ids too. docs/split.md tells what each party sees. Run with --help for the options.
 */
import { writeFile } from 'node:fs/promises'
import { Option } from 'commander'
import {
  type Compression,
  cutNoiseEpsilon,
  type Join,
  loadMnist,
  type MissingRows,
  type PointerTensor,
  ready,
  SplitFed,
  SplitNN,
  SplitTurns,
  tf,
  whoSawWhat,
} from 'sotto'
import { EpochBar } from './lib/epoch-bar.ts'
import { type FormName, forms, type Part, type Plan, planOf } from './lib/forms.ts'
import { command, isMain, numberFromZero, positiveNumber, printTable, wholeNumber } from './lib/options.ts'
import {
  bring,
  type Digits,
  type Found,
  findClients,
  findExamples,
  ownersOf,
  rowsOf,
  type Workers,
} from './lib/owners.ts'
import { chartSvg } from './lib/plot.ts'
import { LinkMeter, type LinkUse } from './lib/traffic.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface SplitFormsOptions {
  form: FormName
  epochs: number
  batchSize: number
  learningRate: number
  seed: number
  /** Training images used, and as many test images; 0 for all. */
  limit: number
  /** Batches that may be between the owners at once. */
  inFlight: number
  microBatches: number
  /** Form in which activations and gradients travel; float32 unless given. */
  compress?: Compression
  /** How activations of several owners meet. */
  join: Join
  /** Deviation of the noise on what owners of images give away, in units of `clip`; 0 for none. */
  noise: number
  /** Norm that a row of it keeps, where there is noise. */
  clip: number
  /** Weight of NoPeek's distance correlation in the loss. */
  noPeek: number
  /** File for the plot; null for none. */
  plot: string | null
  workers: WorkerKind
}

export interface SplitFormsResult {
  /** Mean training loss of each epoch. */
  losses: number[]
  /** Share of the test images that were recognised after each epoch. */
  accuracies: number[]
  /** Examples that it was trained on, and those that an owner did not have. */
  rows: number
  missing: readonly MissingRows[]
  /** What the links carried in all of the training, and its steps; of several clients, those of each. */
  links: readonly LinkUse[]
  steps: number
}

export async function splitForms(options: SplitFormsOptions): Promise<SplitFormsResult> {
  const { form, limit } = options
  console.log(`Split learning, ${form}: ${forms[form].title}; on the ${await ready()} backend`)
  const data = await loadMnist(limit > 0 ? { limit, testLimit: limit } : {})
  console.log(`${data.train.count} training and ${data.test.count} test images (${data.source})`)
  return await trainForm(data, options)
}

/** A form on images that are there. */
export async function trainForm(data: Digits, options: SplitFormsOptions): Promise<SplitFormsResult> {
  const plan = planOf(options.form, options)
  await using workers = await startWorkers(options.workers, ownersOf(plan), { codec: true })
  const at = new Map(workers.all.map((worker) => [worker.id, worker]))
  await bring(plan, at, data, options.seed)
  return await research(plan, at, options)
}

/** A network that is to be trained, whatever its form. */
interface Training extends Disposable {
  /** Examples that it is trained on: of several clients, those of each. */
  readonly train: readonly Found[]
  fit(callbacks: {
    onBatch(loss: PointerTensor): void
    onEpoch(loss: number, ms: number): Promise<void>
  }): Promise<unknown>
  /** The share of the test images that are recognised. */
  accuracy(): Promise<number>
}

/** The researcher's part: finds what there is, and may compute with it, but not look. */
async function research(plan: Plan, at: Workers, options: SplitFormsOptions): Promise<SplitFormsResult> {
  const { form, epochs, batchSize, noise, clip, plot } = options
  const workers = [...at.values()]
  for (const worker of workers) worker.addWorkers(workers.filter((other) => other !== worker))
  using training = plan.clients ? await trainClients(plan, at, options) : await trainNet(plan, at, options)
  const { train } = training
  const [images] = [train[0]!.x].flat(2)
  const refusal = await images!.fetch().then(
    () => 'nothing was refused',
    (error: Error) => error.message,
  )
  console.log(`The researcher asks for images: ${refusal}`)
  const missing = train.flatMap((found) => found.missing ?? [])
  for (const { worker, ids } of missing) console.log(`Left out, for ${worker} does not have it: row ${ids.join(', ')}`)

  const losses: number[] = []
  const accuracies: number[] = []
  const meter = new LinkMeter(workers)
  const stepsOf = train.map((own) => Math.ceil(rowsOf(own) / batchSize))
  const bar = new EpochBar(
    epochs,
    stepsOf.reduce((sum, steps) => sum + steps, 0),
  )
  await meter.start()
  await training.fit({
    onBatch: (loss) => bar.step(loss),
    async onEpoch(loss, ms) {
      bar.stop()
      await meter.stop()
      losses.push(loss)
      accuracies.push(await training.accuracy())
      const figures = `training loss ${loss.toFixed(4)}, test accuracy ${percent(accuracies.at(-1)!)}`
      console.log(`epoch ${losses.length}: ${figures}, ${(ms / 1000).toFixed(1)} s`)
      await meter.start()
    },
  })
  printTable(
    'Each epoch',
    ['epoch', 'training loss', 'test accuracy'],
    losses.map((loss, i) => [i + 1, loss.toFixed(4), percent(accuracies[i]!)]),
  )
  const steps = epochs * Math.max(...stepsOf)
  printLinks(plan, meter.uses, steps)
  // What passes from thread to thread is no bytes.
  if (options.workers === 'thread') console.log('Bytes are those of tensors alone: --workers socket counts all')
  if (noise > 0) {
    const { epsilon } = cutNoiseEpsilon({ noiseMultiplier: noise, clip, releases: epochs, delta: DELTA })
    console.log(`\nWhat left its owner of a row is (${epsilon.toFixed(1)}, ${DELTA})-private: see cutNoiseEpsilon`)
  }
  await whoSawWhat(workers)
  if (plot !== null) {
    await writeFile(plot, plotOf(form, losses, accuracies))
    console.log(`\nLosses and accuracies are drawn in ${plot}`)
  }
  return {
    losses,
    accuracies,
    rows: train.reduce((sum, own) => sum + rowsOf(own), 0),
    missing,
    links: meter.uses,
    steps,
  }
}

/** The part of all rows, at most, whose privacy may be lost altogether. */
const DELTA = 1e-5

/** One network, with one owner after the other. */
async function trainNet(plan: Plan, at: Workers, options: SplitFormsOptions): Promise<Training> {
  const { epochs, batchSize, seed, inFlight, join } = options
  const [train, test] = [await findExamples(plan, at, '#train'), await findExamples(plan, at, '#test')]
  const segments = plan.rest.map((part) => ({ ...segmentOf(part, options), worker: at.get(part.owner)! }))
  const firsts = plan.firsts.map((part) => ({ ...firstOf(part, options), worker: at.get(part.owner)! }))
  const net = new SplitNN([firsts, ...segments], { join, ...transferOf(options) })
  return {
    train: [train],
    fit: ({ onBatch, onEpoch }) =>
      net.fit(train, {
        epochs,
        batchSize,
        seed,
        inFlight,
        onBatch: ({ loss }) => onBatch(loss),
        onEpoch: ({ loss, ms }) => onEpoch(loss!, ms),
      }),
    accuracy: async () => (await net.evaluate(test)).accuracy!,
    [Symbol.dispose]: () => net.dispose(),
  }
}

/** Several clients with one server. */
async function trainClients(plan: Plan, at: Workers, options: SplitFormsOptions): Promise<Training> {
  const { epochs, batchSize, seed, inFlight } = options
  const [train, test] = [await findClients(plan, at, '#train'), await findClients(plan, at, '#test')]
  const clients = plan.firsts.map(({ owner }) => at.get(owner)!)
  const client = firstOf(plan.firsts[0]!, options)
  const [last] = plan.rest
  const server = { ...segmentOf(last!, options), worker: at.get(last!.owner)! }
  const aggregator = at.get(plan.clients?.aggregator ?? '')
  const net = aggregator
    ? new SplitFed(clients, client, server, { aggregator, ...transferOf(options) })
    : new SplitTurns(clients, client, server, transferOf(options))
  const rows = train.map(rowsOf)
  return {
    train,
    fit: ({ onBatch, onEpoch }) =>
      net.fit(train, {
        rounds: epochs,
        batchSize,
        seed,
        inFlight,
        onBatch: ({ loss }) => onBatch(loss),
        onRound: ({ losses, ms }) => onEpoch(meanBy(rows, losses as number[]), ms),
      }),
    async accuracy() {
      const shares: number[] = []
      for (const [i, own] of test.entries()) shares.push((await net.evaluate(i, own)).accuracy!)
      return meanBy(test.map(rowsOf), shares)
    },
    [Symbol.dispose]: () => net.dispose(),
  }
}

const meanBy = (weights: readonly number[], values: readonly number[]): number =>
  values.reduce((sum, value, i) => sum + value * weights[i]!, 0) / weights.reduce((sum, weight) => sum + weight, 0)

const segmentOf = ({ layers }: Part, { learningRate }: SplitFormsOptions) => ({
  model: tf.sequential({ layers: [...layers] }),
  optimizer: { kind: 'sgd', learningRate } as const,
})

/** How batches go from owner to owner. */
const transferOf = ({ microBatches, compress }: SplitFormsOptions) => ({
  microBatches,
  ...(compress === undefined ? {} : { compress }),
})

/** The segment of an owner of images, with what keeps them from those after it. */
const firstOf = (part: Part, options: SplitFormsOptions) => ({
  ...segmentOf(part, options),
  ...(options.noise > 0 ? { noise: { clip: options.clip, noiseMultiplier: options.noise } } : {}),
  noPeek: options.noPeek,
})

/** What a step costs: each link, both directions together. */
function printLinks({ clients }: Plan, links: readonly LinkUse[], steps: number): void {
  const perStep = (sum: number, digits = 0) => (sum / steps).toFixed(digits)
  printTable(
    clients ? 'Each step of each client, over each link' : 'Each step, over each link',
    ['link', 'messages', 'bytes', 'of these values', 'overhead', 'round trips'],
    links.map(({ ends, messages, bytes, values, roundTrips }) => [
      ends.join(' ⇄ '),
      perStep(messages, 1),
      perStep(bytes),
      values === 0 ? '' : perStep(values),
      values === 0 ? '' : percent(bytes / values - 1),
      roundTrips === 0 ? '' : perStep(roundTrips, 1),
    ]),
  )
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`

function plotOf(form: FormName, losses: readonly number[], accuracies: readonly number[]): string {
  const line = (name: string, values: readonly number[]) => ({
    title: name,
    series: [{ name, points: values.map((value, i) => [i + 1, value] as const) }],
  })
  return chartSvg({
    title: `Split learning on MNIST: ${form}`,
    x: 'epoch',
    panels: [
      { ...line('training loss', losses), include: [0] },
      line(
        'test accuracy, %',
        accuracies.map((share) => 100 * share),
      ),
    ],
  })
}

/** What flags say. */
export function optionsOf(flags: readonly string[]): SplitFormsOptions {
  const noPeek = new Option('--no-peek <weight>', 'weight of the distance correlation in the loss')
  // Commander takes it for the opposite of "--peek".
  noPeek.negate = false
  const program = command('split-forms', 'Split learning on MNIST, in all its forms.')
    .addOption(new Option('--form <form>', 'who holds what').choices(Object.keys(forms)).default('vanilla'))
    .option('--epochs <n>', 'passes over the training images', wholeNumber, 15)
    .option('--batch-size <n>', 'images per step', wholeNumber, 64)
    .option('--learning-rate <rate>', 'step size', positiveNumber, 0.03)
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--limit <n>', 'use so many images only; 0 for all', wholeNumber, 0)
    .option('--in-flight <n>', 'batches between the owners at once', wholeNumber, 1)
    .option('--micro-batches <n>', 'parts that each batch is trained on in', wholeNumber, 1)
    .addOption(
      new Option('--compress <form>', 'send activations and gradients in fewer bytes').choices(['float16', 'int8']),
    )
    .addOption(
      new Option('--join <way>', 'how activations of several owners meet')
        .choices(['concat', 'sum', 'mean', 'max'])
        .default('concat'),
    )
    .option('--noise <deviation>', 'noise on what owners of images give away, in clips', numberFromZero, 0)
    .option('--clip <norm>', 'norm that a row of it keeps, where there is noise', positiveNumber, 10)
    .addOption(noPeek.argParser(numberFromZero).default(0))
    .option('--plot <file>', 'SVG file for losses and accuracies (default: "split-<form>.svg")')
    .addOption(workersOption())
    .parse(flags, { from: 'user' })
  const options = program.opts<SplitFormsOptions>()
  return { ...options, plot: options.plot ?? `split-${options.form}.svg` }
}

if (isMain(import.meta.url)) await splitForms(optionsOf(process.argv.slice(2)))
