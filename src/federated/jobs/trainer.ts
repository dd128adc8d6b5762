/**
 * A trainer of a job: a worker with its owner's data, which dials out to the server. What may be done with the data follows
 * from the job's aggregation, and where that is more than sums of three, the owner must say so.
 */
import { sottoError } from '../../errors.ts'
import { ready } from '../../tensor/backend.ts'
import type { Identity } from '../../worker/identity.ts'
import type { LedgerEntry } from '../../worker/ledger.ts'
import { type OfferedWorker, offerWorker } from '../../worker/offer-worker.ts'
import type { CompiledJob } from './compiled.ts'
import { type JobTerms, SERVER, trainerName, trainersOf } from './definition.ts'
import { checkExamples, type Values } from './examples.ts'
import type { Ending, Keys } from './messages.ts'
import { modelOf } from './model-files.ts'
import { type SchedulerAt, SchedulerLink } from './scheduler-link.ts'

export interface TrainerOptions {
  readonly job: CompiledJob
  /** From 1. */
  readonly id: number
  readonly identity: Identity
  readonly scheduler: SchedulerAt
  /** URL of the server. */
  readonly server: string
  /** Authorities to trust when dialling the server and other trainers, in PEM. */
  readonly ca?: string
  /** `x` and `y`, and perhaps `test-x` and `test-y`. */
  readonly data: Readonly<Record<string, Values>>
  /** Keys of the parties, by their names; without them the scheduler is taken at its word. */
  readonly peers?: Keys
  /** Lets the server learn sums of two, in which each trainer knows the other's part. */
  readonly allowPairs?: boolean
  /** Lets the server see whatever is computed from the data. */
  readonly allowClear?: boolean
  /** Milliseconds for all to be there. */
  readonly wait: number
  readonly signal?: AbortSignal
  readonly print: (line: string) => void
}

export interface TrainerEnding extends Ending {
  /** What left the worker, or came to be known there. */
  readonly ledger: readonly LedgerEntry[]
}

/**
 * Takes part in a job, to its end.
 *
 * @throws PermissionError `ERR_PERMISSION` for a job that asks for more than the owner allows; AccessError
 *   `ERR_IDENTITY` when parties are not who they should be; SessionError when the scheduler or the server is lost
 */
export async function runTrainer(options: TrainerOptions): Promise<TrainerEnding> {
  const { job, id, identity, wait, print, signal } = options
  const { terms } = job
  const name = trainerName(id)
  const all = trainersOf(terms)
  if (!all.includes(name)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `--id expected 1 to ${terms.trainers}, the trainers of this job`, { id })
  }
  checkAllowed(terms, options)
  await ready()
  const model = await modelOf(job.model)
  const sets = checkExamples(terms, model, options.data)
  model.dispose()
  if (sets.x === undefined) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'a trainer has data: --data x=examples.npy --data y=labels.npy')
  }
  const party = { name, identity, job: job.id, wait, grace: terms.grace, ...(signal ? { signal } : {}) }
  const scheduler = await SchedulerLink.connect(options.scheduler, party)
  let worker: OfferedWorker | null = null
  try {
    print(`${name} is registered at ${options.scheduler.url}, key ${identity.key}`)
    const roster = checkRoster(terms, name, identity, await scheduler.ask('roster', {}, wait), options.peers)
    const { [SERVER]: serverKey, ...keys } = roster
    if (options.peers === undefined) {
      print('takes the scheduler at its word as to whose keys these are; --peers pins them')
    }
    const others = all.filter((other) => other !== name)
    const rights = rightsOf(terms, others)
    worker = await offerWorker(options.server, {
      id: name,
      identity,
      pin: serverKey!,
      caller: SERVER,
      data: Object.fromEntries(Object.entries(sets).map(([set, values]) => [set, { ...values, ...rights }])),
      peers: Object.fromEntries(others.map((other) => [other, keys[other]!])),
      // The worker holds the server to it. In clear there are no totals.
      fewestOwners: Math.max(2, terms.minimum),
      grace: terms.grace,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    })
    print(`${name} is at the server, with ${sets.x.shape[0]} examples; ${promiseOf(terms)}`)
    const ending = await scheduler.ask('ended', {}, 0)
    return { ...ending, ledger: worker.host.ledger.entries() }
  } finally {
    await worker?.close()
    scheduler.close()
  }
}

/** @throws PermissionError `ERR_PERMISSION` that says what the owner would have to allow, and what it means */
function checkAllowed(
  { aggregation, minimum }: JobTerms,
  { allowPairs = false, allowClear = false }: Pick<TrainerOptions, 'allowPairs' | 'allowClear'>,
): void {
  if (aggregation.kind === 'clear') {
    if (allowClear) return
    throw sottoError(
      'ERR_PERMISSION',
      'this job shows the server each update in clear, and whatever else it computes from the data; if it may: --allow-clear',
    )
  }
  if (minimum < 3 && !allowPairs) {
    throw sottoError(
      'ERR_PERMISSION',
      'this job has sums of two trainers, from which the other one knows this one’s part, and the server with its ' +
        'help; if they may: --allow-pairs',
    )
  }
}

/** The rights that a job needs on its trainers' data, and no other. */
function rightsOf({ aggregation }: JobTerms, others: readonly string[]) {
  if (aggregation.kind === 'clear') return { allowResults: [SERVER] }
  return { allowShares: others, allowTotals: [SERVER] }
}

/** What holds for the data, for its owner to read. */
function promiseOf({ aggregation, minimum }: JobTerms): string {
  if (aggregation.kind === 'clear') return 'the server may see whatever is computed from them'
  return `the server may see sums over ${minimum} trainers or more, and nothing of one`
}

/** @throws AccessError `ERR_IDENTITY` */
function checkRoster(
  terms: JobTerms,
  name: string,
  { key: own }: Identity,
  roster: Keys,
  peers: Keys | undefined,
): Keys {
  const wrong = (message: string) => sottoError('ERR_IDENTITY', message)
  if (roster[name] !== own) throw wrong(`the scheduler says that ${name} has another key`)
  const parties = [...trainersOf(terms), SERVER]
  if (parties.length !== Object.keys(roster).length || parties.some((party) => !Object.hasOwn(roster, party))) {
    throw wrong('the scheduler names other parties than the job has')
  }
  // In two names with one key, somebody would be counted twice.
  if (new Set(Object.values(roster)).size !== parties.length) throw wrong('the scheduler gives one key to two parties')
  for (const party of peers === undefined ? [] : parties) {
    if (party === name || peers![party] === roster[party]) continue
    throw wrong(
      Object.hasOwn(peers!, party)
        ? `the scheduler says that ${party} has the key ${roster[party]}, and --peers another`
        : `--peers does not say which key ${party} has`,
    )
  }
  return roster
}
