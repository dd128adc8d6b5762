/**
 * A shop and a bank know partly the same people, and each knows other things of them. Together they learn who pays
 * back: whom they share they find out by private set intersection, and train on the joined rows without joining them, a
 * network that is split between them, and a logistic regression whose every sum is secret. The table at the end tells
 * who saw what; docs/vertical.md, what each form gives away.
 *
 * The customers are made up here. So the tables can be joined here too, to compare: nothing else does that.
 */
import { Option } from 'commander'
import {
  type AlignedDataset,
  alignedDataset,
  idTensor,
  isSottoError,
  type PointerTensor,
  ready,
  type SecretSigmoid,
  SplitNN,
  send,
  tf,
  VerticalLogisticRegression,
  type Worker,
  whoSawWhat,
} from 'sotto'
import { COLUMNS, type Customers, cutInTwo, drawCustomers, type Table } from './lib/customers.ts'
import { command, isMain, numberFromZero, positiveNumber, printTable, wholeNumber } from './lib/options.ts'
import {
  bottom,
  type Columns,
  type Course,
  type Figures,
  figuresOf,
  network,
  regression,
  top,
  trainPlain,
} from './lib/plain-columns.ts'
import { printTraffic } from './lib/traffic.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface VerticalOptions {
  /** Customers in all, and the part of either's whom the other does not know. */
  people: number
  unshared: number
  epochs: number
  batchSize: number
  /** Of the network, and of the regression. */
  learningRate: number
  regressionRate: number
  sigmoid: SecretSigmoid
  seed: number
  workers: WorkerKind
}

const ways = ['joined', 'vertical', 'shop', 'bank'] as const
export type ByWay = Record<(typeof ways)[number], Figures>

export interface VerticalResult {
  /** Whom both know. */
  shared: number
  /** On customers that were left out of training. */
  network: ByWay
  regression: ByWay
  /** What was said to the bank, which asked for the shop's rows and for its ids. */
  refusals: string[]
}

const SHOP = 'shop'
const BANK = 'bank'
/** Deals randomness for what is secret, and holds nothing. */
const PROVIDER = 'carol'
/** Part of the shared customers that is left out of training. */
const HELD_OUT = 0.25

/** An owner brings a table to its worker: ids for the other to match, columns and labels to compute with. */
async function bring(own: Worker, other: string, { ids, x, y }: Table, hasLabels: boolean): Promise<void> {
  const list = idTensor(ids)
  const rights = { private: true, allowResults: [other], allowShares: [SHOP, BANK, PROVIDER] }
  send(list, own, { private: true, allowMatches: [other], tags: ['#customers', '#ids'] })
  send(x, own, { ...rights, tags: ['#customers', '#features'] })
  if (hasLabels) send(y, own, { ...rights, tags: ['#customers', '#labels'] })
  list.dispose()
  await own.flush()
}

const find = async (worker: Worker, what: string): Promise<PointerTensor> =>
  (await worker.search(['#customers', what]))[0]!

const answerOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'seen in clear',
    (error: unknown) => (isSottoError(error) ? `${error.code}: ${error.message.split(';')[0]}` : String(error)),
  )

/** The first rows, or those from there on: the order is a random one. */
const cut = ({ x, y }: AlignedDataset, from: number, rows: number) => ({
  x: x.map((own) => own.slice([from, 0], [rows, COLUMNS])),
  y: y.slice([from, 0], [rows, 1]),
})

export async function vertical(options: VerticalOptions): Promise<VerticalResult> {
  const { people, unshared, seed } = options
  console.log(`A shop and a bank learn together, on the ${await ready()} backend`)
  const all = drawCustomers(people, seed)
  const tables = cutInTwo(all, unshared, seed)
  // The bank runs this, and is who it says it is.
  await using started = await startWorkers(options.workers, [SHOP, BANK, PROVIDER], { identity: BANK })
  const [shop, bank, carol] = started.all
  for (const worker of started.all) {
    const others = started.all.filter((other) => other !== worker)
    // Both say at every worker whom they mean by these names: where their data is, and where what comes of it goes.
    worker.addWorkers(others)
    worker.as(SHOP).addWorkers(others)
  }
  await bring(shop.as(SHOP), BANK, tables.shop, false)
  await bring(bank, SHOP, tables.bank, true)
  await Promise.all(started.all.map((worker) => worker.as(SHOP).flush()))
  console.log(`The shop has ${tables.shop.ids.length} customers, the bank ${tables.bank.ids.length}`)

  const began = performance.now()
  const shopIds = await find(shop, '#ids')
  const data = await alignedDataset(
    [
      { ids: shopIds, x: await find(shop, '#features') },
      { ids: await find(bank, '#ids'), x: await find(bank, '#features'), y: await find(bank, '#labels') },
    ],
    { tags: ['#aligned'] },
  )
  console.log(`They share ${data.size}, which took ${Math.round(performance.now() - began)} ms to find out`)
  const refusals = [await answerOf(data.x[0]!.fetch()), await answerOf(shopIds.mul(1).fetch())]
  console.log(`The bank asks for the shop's rows, and then for what is computed of its ids:\n${refusals.join('\n')}`)

  const held = Math.round(HELD_OUT * data.size)
  const [train, test] = [cut(data, 0, data.size - held), cut(data, data.size - held, held)]
  const split = await trainSplit(shop, bank, train, test, options)
  const secret = await trainSecret([shop, bank], carol, train, test, options)

  // The bank looks at its own rows, whose they are; nobody else could join the tables.
  const own = await data.x[1]!.fetch()
  const joined = columnsOf(all, whoseRows(all, own))
  const plain = comparedInClear(joined, data.size - held, options)
  const result = {
    shared: data.size,
    network: { ...plain.network, vertical: split },
    regression: { ...plain.regression, vertical: secret },
    refusals,
  }
  printFigures(result, held)
  await printTraffic(started.all)
  await whoSawWhat(started.all)
  tf.dispose([own, all.x, all.y, tables.shop.x, tables.shop.y, tables.bank.x, tables.bank.y, joined.x, joined.y])
  return result
}

type Aligned = ReturnType<typeof cut>

/** A first layer at each of the two, and the last at the bank, which has the labels. */
async function trainSplit(
  shop: Worker,
  bank: Worker,
  train: Aligned,
  test: Aligned,
  { epochs, batchSize, learningRate, seed }: VerticalOptions,
): Promise<Figures> {
  const optimizer = { kind: 'sgd', learningRate } as const
  const models = [bottom(COLUMNS, 0, seed), bottom(COLUMNS, 1, seed), top(2, seed)] as const
  using net = new SplitNN(
    [
      [
        { model: models[0], worker: shop, optimizer },
        { model: models[1], worker: bank, optimizer },
      ],
      { model: models[2], worker: bank, optimizer },
    ],
    { loss: 'sigmoidCrossEntropy' },
  )
  const { epochs: done } = await net.fit(train, { epochs, batchSize, seed })
  const ms = done.reduce((sum, epoch) => sum + epoch.ms, 0)
  console.log(
    `The network took ${epochs} epochs of ${Math.round(ms / epochs)} ms, loss ${done.at(-1)!.loss!.toFixed(4)}`,
  )
  for (const model of models) model.dispose()
  const { loss, accuracy } = await net.evaluate(test)
  return { loss, accuracy: accuracy! }
}

/** Weights are shares, and stay so; the bank learns the two sums of an evaluation. */
async function trainSecret(
  parties: readonly Worker[],
  provider: Worker,
  train: Aligned,
  test: Aligned,
  { epochs, batchSize, regressionRate, sigmoid, seed }: VerticalOptions,
): Promise<Figures> {
  using model = new VerticalLogisticRegression(parties, { provider, sigmoid })
  const course = { epochs, batchSize, learningRate: regressionRate, seed }
  const { epochs: done } = await model.fit(train, course)
  const ms = done.reduce((sum, epoch) => sum + epoch.ms, 0)
  const { rounds, bytes } = done[0]!.cost
  console.log(
    `The regression took ${epochs} epochs of ${Math.round(ms / epochs)} ms; a batch of ${batchSize}: ${rounds} rounds, ${bytes} bytes from each to the other`,
  )
  model.weights({ tags: ['#weights'] })
  await Promise.all(parties.map((party) => party.flush()))
  return await model.evaluate(test)
}

/** Which customers rows of the bank's columns are about. */
function whoseRows({ x }: Customers, rows: tf.Tensor): number[] {
  const columns = tf.tidy(() => x.slice([0, COLUMNS], [x.shape[0], COLUMNS]).arraySync() as number[][])
  const known = new Map(columns.map((row, i) => [row.join(), i]))
  return (rows.arraySync() as number[][]).map((row) => known.get(row.join())!)
}

/** The joined table of some customers. */
function columnsOf({ x, y }: Customers, who: readonly number[]): { x: tf.Tensor2D; y: tf.Tensor2D } {
  return tf.tidy(() => {
    const rows = tf.tensor1d([...who], 'int32')
    return { x: tf.gather(x, rows), y: tf.gather(y, rows) }
  })
}

/** The same on the joined table, and on either's columns alone, as if each had the labels. */
function comparedInClear(
  joined: { x: tf.Tensor2D; y: tf.Tensor2D },
  count: number,
  { epochs, batchSize, learningRate, regressionRate, seed }: VerticalOptions,
): Record<'network' | 'regression', Record<'joined' | 'shop' | 'bank', Figures>> {
  const blocks = { joined: [0, 1], shop: [0], bank: [1] } as const
  const course: Course = { epochs, batchSize, learningRate, seed }
  const rowsOf = (which: readonly number[], from: number, rows: number): Columns => ({
    x: which.map((block) => joined.x.slice([from, block * COLUMNS], [rows, COLUMNS])),
    y: joined.y.slice([from, 0], [rows, 1]),
  })
  const figures = (way: keyof typeof blocks) => {
    const which = blocks[way]
    const [train, test] = [rowsOf(which, 0, count), rowsOf(which, count, joined.y.shape[0] - count)]
    const models = [...which.map((block) => bottom(COLUMNS, block, seed)), top(which.length, seed)]
    const net = network(models)
    trainPlain(net, train, course)
    const { scorer, dispose } = regression(COLUMNS * which.length)
    trainPlain(scorer, train, { ...course, learningRate: regressionRate })
    const both = { network: figuresOf(net, test), regression: figuresOf(scorer, test) }
    for (const model of models) model.dispose()
    dispose()
    tf.dispose([train.x, train.y, test.x, test.y].flat())
    return both
  }
  const [whole, shop, bank] = [figures('joined'), figures('shop'), figures('bank')]
  return {
    network: { joined: whole.network, shop: shop.network, bank: bank.network },
    regression: { joined: whole.regression, shop: shop.regression, bank: bank.regression },
  }
}

const titles: Readonly<Record<(typeof ways)[number], string>> = {
  joined: 'the joined table, in clear',
  vertical: 'vertically, nothing joined',
  shop: "the shop's columns alone, with the labels",
  bank: "the bank's columns alone",
}

function printFigures({ network: net, regression: logistic }: VerticalResult, held: number): void {
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`
  printTable(
    `On ${held} shared customers left out of training`,
    ['trained on', 'network: loss', 'accuracy', 'regression: loss', 'accuracy'],
    ways.map((way) => [
      titles[way],
      net[way].loss.toFixed(5),
      percent(net[way].accuracy),
      logistic[way].loss.toFixed(5),
      percent(logistic[way].accuracy),
    ]),
  )
}

if (isMain(import.meta.url)) {
  const program = command('vertical', 'Two owners of different columns train together, on whom they share.')
    .option('--people <n>', 'customers in all', wholeNumber, 4000)
    .option('--unshared <part>', "of either's customers, whom the other does not know; below 1", numberFromZero, 0.3)
    .option('--epochs <n>', 'passes over the shared rows', wholeNumber, 20)
    .option('--batch-size <n>', 'rows of a step', wholeNumber, 64)
    .option('--learning-rate <rate>', 'of the network', positiveNumber, 0.1)
    .option('--regression-rate <rate>', 'of the regression', positiveNumber, 0.2)
    .addOption(
      new Option('--sigmoid <form>', 'of the regression: smooth, or in three straight pieces')
        .choices(['smooth', 'piecewise'])
        .default('smooth'),
    )
    .option('--seed <n>', 'for customers, weights and orders', wholeNumber, 1)
    .addOption(workersOption())
    .parse()
  const options = program.opts<VerticalOptions>()
  if (options.unshared >= 1) program.error('--unshared: below 1; with nobody in common there is nothing to learn')
  if (options.epochs < 1 || options.batchSize < 1) program.error('--epochs, --batch-size: from 1')
  await vertical(options)
}
