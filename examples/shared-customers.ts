/**
 * A bank and a shop find which customers they share, and show each other no other: then a mean over the shared rows, whose
 * columns lie on either side, without bringing them together.
 */
import { hook, idTensor, intersect, isSottoError, ready, scope, tf, whoSawWhat } from 'sotto'
import { command, isMain } from './lib/options.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface SharedCustomersOptions {
  workers: WorkerKind
}

export interface SharedCustomersResult {
  /** How many customers both have. */
  shared: number
  /** Mean income, and mean spending, of those. */
  income: number
  spending: number
  /** What a stranger is told who asks the same. */
  refusal: string
}

/** The bank's customers; the shop writes some of the same addresses in another way. */
const bankRows = [
  ['ada@example.org', 52_000],
  ['alan@example.org', 61_000],
  ['grace@example.org', 74_000],
  ['edsger@example.org', 48_000],
  ['barbara@example.org', 83_000],
] as const
const shopRows = [
  [' Grace@Example.org', 310],
  ['linus@example.org', 95],
  ['ADA@example.org ', 120],
  ['barbara@example.org', 205],
  ['margaret@example.org', 77],
  ['ada@example.org', 999],
] as const

export async function sharedCustomers(options: SharedCustomersOptions): Promise<SharedCustomersResult> {
  console.log(`Sotto on the ${await ready()} backend`)
  hook()
  await using workers = await startWorkers(options.workers, ['bank', 'shop'])
  const [bank, shop] = workers.all

  // Each owner sends its own, under an identity of its own, and says whom it means by the other's name.
  const [bankOwner, shopOwner] = [bank.as('banker'), shop.as('shopkeeper')]
  bankOwner.addWorkers([shopOwner])
  const mine = { private: true, allowResults: ['me'] }
  const owned = scope(() => [
    idTensor(bankRows.map(([id]) => id)).send(bankOwner, {
      private: true,
      tags: ['#ids'],
      allowMatches: ['shop', 'me'],
    }),
    tf.tensor1d(bankRows.map(([, income]) => income)).send(bankOwner, { ...mine, tags: ['#income'] }),
    idTensor(shopRows.map(([id]) => id)).send(shopOwner, {
      private: true,
      tags: ['#ids'],
      allowMatches: ['bank', 'me'],
    }),
    tf.tensor1d(shopRows.map(([, spent]) => spent)).send(shopOwner, { ...mine, tags: ['#spending'] }),
  ])
  await Promise.all([bankOwner.flush(), shopOwner.flush()])

  // I have neither table. I ask both for what they share.
  const ids = [(await bank.search(['#ids']))[0]!, (await shop.search(['#ids']))[0]!]
  const { size, rows } = await intersect(ids, { reveal: 'both' })
  console.log(
    `The bank has ${bankRows.length} customers, the shop ${shopRows.length} rows; ${size} customers are shared`,
  )

  // Rows are where they were; they line up.
  const [incomes] = await bank.search(['#income'])
  const [spent] = await shop.search(['#spending'])
  const income = (await incomes!.gather(rows[0]!).mean().get()).dataSync()[0]!
  const spending = (await spent!.gather(rows[1]!).mean().get()).dataSync()[0]!
  console.log(`Their mean income is ${income.toFixed(0)}, and they spent ${spending.toFixed(2)} on average`)

  const stranger = [(await bank.as('eve').search(['#ids']))[0]!, (await shop.as('eve').search(['#ids']))[0]!]
  const refusal = await intersect(stranger).then(
    () => {
      throw new Error('this was to fail')
    },
    (error: unknown) => (isSottoError(error) ? error.message : String(error)),
  )
  console.log(`A stranger who asks the same: ${refusal}`)
  await whoSawWhat([bankOwner, shopOwner])
  for (const pointer of owned) pointer.dispose()
  return { shared: size, income, spending, refusal }
}

if (isMain(import.meta.url)) {
  const program = command('shared-customers', 'Finds the customers that two owners share, in private.')
  await sharedCustomers(program.addOption(workersOption()).parse().opts())
}
