/**
 * How do time and memory of a round of secure aggregation grow with its clients? 100, 300 and 1,000 of them, 100,000
 * parameters each, of whom 10 % drop out, some at each phase; clients in two threads, the server in a third. Each size is
 * a process of its own, whose memory at most is its own too. The sum must be that of the survivors' integers.
 */
import { spawnSync } from 'node:child_process'
import { on, once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Advert, Confirmation, MaskedInput, Reveal, Shares, Unmasking } from '../src/federated/secagg/messages.ts'
import { secAggParameters } from '../src/federated/secagg/parameters.ts'
import { type RevealsReply, type SecAggResult, SecAggServer } from '../src/federated/secagg/server.ts'
import { Identity } from '../src/worker/identity.ts'
import { type Answer, BITS, type Hosted, type Spent, type Told, vectorOf } from './lib/secagg-clients.ts'
import { median, report, rounded } from './measure.ts'

const SIZES = [100, 300, 1000]
const PARAMETERS = 100_000
const THREADS = 2
const MB = 2 ** 20
/** What a round may take of the processor, all threads together: on two free cores, half as long. */
const WANTED_SECONDS = 300

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const sumOf = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
function hold(what: string, isHeld: boolean): void {
  if (isHeld) return
  console.error(`${what}: missed`)
  process.exitCode = 1
}

/** After which step a client is gone, by the last two digits of its number: of a hundred clients, ten. */
const LAST: Readonly<Record<number, Told['step']>> = {
  11: 'advertise',
  22: 'roster',
  33: 'draws',
  34: 'draws',
  35: 'draws',
  36: 'draws',
  37: 'draws',
  38: 'draws',
  44: 'mask',
  55: 'confirm',
}
const lastOf = (client: number): Told['step'] => LAST[client % 100] ?? 'unmask'
const STEPS: readonly Told['step'][] = ['advertise', 'roster', 'draws', 'mask', 'confirm', 'unmask']

interface Measured {
  readonly clients: number
  readonly neighbours: number
  readonly threshold: number
  /** From the first advert to the sum: on the clock, and of the processor. */
  readonly seconds: number
  readonly cpuSeconds: number
  /** All clients together, and the median of those that stayed. */
  readonly clientSeconds: number
  readonly clientMs: number
  readonly serverSeconds: number
  readonly unmaskingSeconds: number
  /** Bytes of the whole process. */
  readonly peak: number
  /** What a client that stays sends. */
  readonly bytes: number
  /** Clients that gave shares and no vector, and streams that were expanded for all of them. */
  readonly dropped: number
  readonly streams: number
  readonly isRight: boolean
}

/** Threads do not inherit what makes a process read TypeScript. */
const FROM_SOURCE = `
  const entry = ${JSON.stringify(new URL('./lib/secagg-clients.ts', import.meta.url))}
  import('tsx/esm/api').then(({ register }) => register()).then(() => import(entry))
`

/** A whole round of n clients. */
async function round(n: number): Promise<Measured> {
  const identities = range(n).map(() => Identity.generate())
  const idOf = (i: number) => `client-${String(i).padStart(4, '0')}`
  const members = Object.freeze(Object.fromEntries(identities.map(({ key }, i) => [idOf(i), key])))
  const settings = Object.freeze({ session: crypto.randomUUID(), members, length: PARAMETERS })
  const threads = range(THREADS).map((thread) => {
    const numbers = range(n).filter((i) => i % THREADS === thread)
    const clients = numbers.map((number) => ({ number, id: idOf(number), secret: identities[number]!.secret() }))
    const hosted: Hosted = { settings, clients }
    return new Worker(FROM_SOURCE, { eval: true, workerData: hosted })
  })
  await Promise.all(threads.map((thread) => once(thread, 'message')))

  let serverMs = 0
  const atServer = <T>(work: () => T): T => {
    const begun = performance.now()
    const result = work()
    serverMs += performance.now() - begun
    return result
  }
  /** Tells it to all who are left, and gives the server what they answer, as it comes. */
  async function step<M>(name: Told['step'], toldTo: (to: readonly number[]) => object, take: (message: M) => void) {
    const left = range(n).filter((i) => STEPS.indexOf(lastOf(i)) >= STEPS.indexOf(name))
    const told = threads.map(async (thread, at) => {
      const to = left.filter((i) => i % THREADS === at)
      for await (const answer of exchange(thread, { told: { step: name, ...toldTo(to) }, to })) {
        if ('message' in answer) atServer(() => take(answer.message as M))
      }
    })
    await Promise.all(told)
  }

  const [start, used] = [performance.now(), process.cpuUsage()]
  const server = atServer(() => new SecAggServer(settings, 0))
  await step<Advert>(
    'advertise',
    () => ({}),
    (advert) => server.receiveAdvert(advert),
  )
  let reply: RevealsReply = { roster: atServer(() => server.closeAdverts()) }
  while ('roster' in reply) {
    const { roster } = reply
    await step<Reveal>(
      'roster',
      () => ({ roster }),
      (reveal) => server.receiveReveal(reveal),
    )
    reply = atServer(() => server.closeReveals())
  }
  const { draws } = reply
  await step<Shares>(
    'draws',
    () => ({ draws }),
    (shares) => server.receiveShares(shares),
  )
  const deliveries = atServer(() => server.closeShares())
  const deliveriesTo = (to: readonly number[]) => ({
    deliveries: new Map(to.map((i) => [i, deliveries.get(idOf(i))!])),
  })
  await step<MaskedInput>('mask', deliveriesTo, (input) => server.receiveInput(input))
  const survivors = atServer(() => server.closeInputs())
  await step<Confirmation>(
    'confirm',
    () => ({ survivors }),
    (confirmation) => server.receiveConfirmation(confirmation),
  )
  const quorum = atServer(() => server.closeConfirmations())
  await step<Unmasking>(
    'unmask',
    () => ({ quorum }),
    (unmasking) => server.receiveUnmasking(unmasking),
  )
  const before = serverMs
  const result = atServer(() => server.finish())
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(used)
  const peak = process.resourceUsage().maxRSS * 1024

  const spent: Spent[] = []
  for (const thread of threads) {
    for await (const answer of exchange(thread, { told: 'end', to: [] }))
      if ('spent' in answer) spent.push(...answer.spent)
  }
  const stayed = spent.filter(({ number }) => lastOf(number) === 'unmask')
  const { neighbours, threshold } = secAggParameters(draws.draws.length)
  return {
    clients: n,
    neighbours,
    threshold,
    seconds,
    cpuSeconds: (user + system) / 1e6,
    clientSeconds: sumOf(spent.map(({ ms }) => ms)) / 1000,
    clientMs: median(stayed.map(({ ms }) => ms)),
    serverSeconds: serverMs / 1000,
    unmaskingSeconds: (serverMs - before) / 1000,
    peak,
    bytes: median(stayed.map(({ bytes }) => bytes)),
    dropped: result.dropped.length,
    streams: result.streams.dropped,
    isRight: isSum(result, n, idOf),
  }
}

/** Sends a thread a message, and gives what it answers until it is done. */
async function* exchange(thread: Worker, message: object): AsyncGenerator<Answer> {
  thread.postMessage(message)
  for await (const [answer] of on(thread, 'message')) {
    if ('isDone' in answer) return
    yield answer
  }
}

/** Whether a sum is that of the integers of those who are to be in it: too small to wrap around, and exact in doubles. */
function isSum({ sum, survivors }: SecAggResult, n: number, idOf: (i: number) => string): boolean {
  const summed = range(n).filter((i) => STEPS.indexOf(lastOf(i)) >= STEPS.indexOf('mask'))
  if (survivors.length !== summed.length || !summed.every((i, at) => survivors[at] === idOf(i))) return false
  const exact = new Float64Array(PARAMETERS)
  for (const client of summed) {
    for (const [i, word] of vectorOf(client, PARAMETERS).entries()) exact[i]! += word | 0
  }
  return exact.every((value, i) => value === ((sum as Uint32Array)[i]! | 0))
}

const only = process.argv[2]
if (only !== undefined) {
  console.log(JSON.stringify(await round(Number(only))))
  process.exit()
}

const sizes = SIZES.map((n): Measured => {
  const { status, stdout } = spawnSync(process.execPath, [...process.execArgv, process.argv[1]!, String(n)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`the round of ${n} clients ended with ${status}`)
  return JSON.parse(stdout)
})
report(
  `A round: ${PARAMETERS} parameters of ${BITS} bits, 10 % of the clients dropping out, clients in ${THREADS} threads`,
  sizes.map((size) => ({
    clients: size.clients,
    'k, t': `${size.neighbours}, ${size.threshold}`,
    seconds: rounded(size.seconds),
    'of the processor': rounded(size.cpuSeconds),
    'of clients': rounded(size.clientSeconds),
    'one client, ms': rounded(size.clientMs),
    'of the server': rounded(size.serverSeconds),
    'removing masks': rounded(size.unmaskingSeconds),
    'MB at most': rounded(size.peak / MB),
    'bytes up': size.bytes,
    'of the model': rounded(size.bytes / (4 * PARAMETERS), 5),
    'dropped after shares': size.dropped,
    'streams for each': rounded(size.streams / size.dropped),
    sum: size.isRight ? 'exact' : 'WRONG',
  })),
)
report(
  'How it grows',
  sizes.slice(1).map((size, i) => {
    const before = sizes[i]!
    const times = (of: (size: Measured) => number) => rounded(of(size) / of(before))
    return {
      'clients, from': before.clients,
      to: size.clients,
      clients: times(({ clients }) => clients),
      neighbours: times(({ neighbours }) => neighbours),
      seconds: times(({ seconds }) => seconds),
      'of the processor': times(({ cpuSeconds }) => cpuSeconds),
      'one client': times(({ clientMs }) => clientMs),
      'removing masks': times(({ unmaskingSeconds }) => unmaskingSeconds),
      memory: times(({ peak }) => peak),
    }
  }),
)
for (const { clients, isRight, streams, dropped, neighbours, cpuSeconds, bytes } of sizes) {
  hold(`the sum of ${clients} clients`, isRight)
  hold(`k streams for each of ${clients} clients that dropped out`, streams <= dropped * neighbours)
  hold(`bytes up of ${clients} clients`, bytes <= 1.05 * 4 * PARAMETERS)
  hold(`${WANTED_SECONDS} seconds for ${clients} clients`, cpuSeconds <= WANTED_SECONDS)
}
