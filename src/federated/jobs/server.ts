/**
 * The server of a job: it waits for trainers that dial in, runs the federation over their workers, and keeps the model.
 * With masks it learns sums over trainers, and nothing of a single one.
 */
import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { isSottoError, sottoError } from '../../errors.ts'
import { ready, tf } from '../../tensor/backend.ts'
import { scope } from '../../tensor/context.ts'
import { lossRow, numberOf } from '../../tensor/losses.ts'
import { sendTensor } from '../../tensor/pointer.ts'
import { type Hub, listenForWorkers } from '../../worker/hub.ts'
import type { Identity } from '../../worker/identity.ts'
import type { ServerTls } from '../../worker/server.ts'
import { VirtualWorker } from '../../worker/virtual-worker.ts'
import { whoSawWhat } from '../../worker/who-saw-what.ts'
import type { Worker } from '../../worker/worker.ts'
import { Federation, type Metrics, type RoundResult } from '../federation.ts'
import { jsonLines } from '../json-lines.ts'
import { type Examples, evaluateLocally, type FederatedClient } from '../local.ts'
import { roundLine } from '../round-line.ts'
import type { CompiledJob } from './compiled.ts'
import { SERVER } from './definition.ts'
import { checkExamples, type Values } from './examples.ts'
import { readIfThere, replaceFile } from './folder.ts'
import type { Ending, Keys } from './messages.ts'
import { modelFilesOf, modelOf } from './model-files.ts'
import { aggregationNamed, strategyNamed } from './named.ts'
import { type SchedulerAt, SchedulerLink } from './scheduler-link.ts'

export interface JobServerOptions {
  readonly job: CompiledJob
  readonly scheduler: SchedulerAt
  readonly identity: Identity
  /** Where it listens for trainers. */
  readonly host: string
  readonly port: number
  readonly tls?: ServerTls
  /** Folder for the model, the metrics and checkpoints. */
  readonly output: string
  /** Goes on from the checkpoint there; else there must be none. */
  readonly resume?: boolean
  /** Keys that trainers must hold, whatever the scheduler says. */
  readonly peers?: Keys
  /** Examples of its own, `x` and `y`, on which it evaluates the model after each round. */
  readonly data?: Readonly<Record<string, Values>>
  /** Milliseconds for all to be there. */
  readonly wait: number
  readonly signal?: AbortSignal
  readonly print: (line: string) => void
}

const METRICS = 'metrics.jsonl'

/**
 * Runs a job as its server, to the end. Ended by its signal, it leaves the others waiting for it to come back.
 *
 * @throws what ends it before; then the checkpoint of the last round is there, and the scheduler tells the trainers
 */
export async function runJobServer(options: JobServerOptions): Promise<readonly RoundResult[]> {
  const { job, identity, wait, print, output, signal } = options
  await ready()
  const home = await OutputFolder.open(output, job, options.resume ?? false)
  const model = await modelOf(job.model)
  const evaluation = await Evaluation.of(job, model, options.data)
  const party = { name: SERVER, identity, job: job.id, wait, grace: job.terms.grace, ...(signal ? { signal } : {}) }
  const scheduler = await SchedulerLink.connect(options.scheduler, party)
  let hub: Hub | null = null
  let ending: Ending | null = null
  try {
    const roster = checkRoster(job, await scheduler.ask('roster', {}, wait), options.peers)
    const { host, port, tls } = options
    const { grace } = job.terms
    hub = await listenForWorkers({ host, port, identity, workers: { ...roster }, grace, ...(tls ? { tls } : {}) })
    print(`server is ready at ${hub.url}, key ${hub.key}`)
    await scheduler.ask('listening', {})
    const rounds = await new Run(options, { home, model, evaluation, scheduler, hub }).all(Object.keys(roster))
    ending = { ok: true, message: '' }
    return rounds
  } catch (error) {
    if (signal?.aborted) {
      // The others wait for it to come back.
      print('stopped; --resume goes on')
      throw error
    }
    ending = { ok: false, message: `the server has failed: ${(error as Error).message}`.slice(0, 1000) }
    throw error
  } finally {
    // Who is lost hears nothing.
    if (ending !== null) await scheduler.ask('finish', ending).catch(() => {})
    scheduler.close()
    await hub?.close()
    await evaluation?.close()
    model.dispose()
  }
}

function checkRoster({ terms }: CompiledJob, roster: Keys, peers: Keys | undefined): Keys {
  const wrong = (message: string) => sottoError('ERR_IDENTITY', message)
  if (Object.keys(roster).length !== terms.trainers) throw wrong('the scheduler names other trainers than the job has')
  for (const [name, key] of Object.entries(roster)) {
    if (peers !== undefined && peers[name] !== key) {
      throw wrong(`the scheduler says that ${name} has the key ${key}, which is not the one in --peers`)
    }
  }
  return roster
}

interface Parts {
  readonly home: OutputFolder
  readonly model: tf.LayersModel
  readonly evaluation: Evaluation | null
  readonly scheduler: SchedulerLink
  readonly hub: Hub
}

/** The rounds of a job, among trainers that come and go. */
class Run {
  readonly #options: JobServerOptions
  readonly #parts: Parts
  /** Trainers that the federation has, or had: their workers, by name. */
  readonly #workers = new Map<string, Worker>()
  #federation: Federation | null = null

  constructor(options: JobServerOptions, parts: Parts) {
    this.#options = options
    this.#parts = parts
  }

  async all(names: readonly string[]): Promise<readonly RoundResult[]> {
    const { job, print, signal } = this.#options
    const { home, model } = this.#parts
    const { terms } = job
    const clients = await this.#arrivals(names)
    signal?.throwIfAborted()
    if (clients.length < terms.minimum) {
      throw sottoError('ERR_COHORT', `${clients.length} trainers have come, and ${terms.minimum} are the least`)
    }
    const federation = this.#federationOf(clients)
    this.#federation = federation
    if (home.checkpoint !== null) {
      federation.restore(home.checkpoint)
      await home.forgetAfter(federation.round)
      print(`goes on after round ${federation.round}`)
    }
    try {
      const { rounds, stoppedEarly } = await federation.fit(signal ? { signal } : {})
      if (stoppedEarly) print(`${terms.earlyStop!.metric} gets no better: stopped early`)
      await home.saveModel(model)
      await this.#printLedgers()
      print(`the model is in ${home.path}: model.json and weights.bin`)
      return rounds
    } finally {
      federation.dispose()
    }
  }

  async #printLedgers(): Promise<void> {
    const { print } = this.#options
    const open = [...this.#workers.values()].filter((worker) => !worker.isClosed)
    // The model is there, whoever leaves now.
    await whoSawWhat(open, { print: (text) => print(`\n${text}\n`) }).catch((error: Error) =>
      print(`there is no table of who saw what: ${error.message}`),
    )
  }

  /** The trainers that come in time. */
  async #arrivals(names: readonly string[]): Promise<FederatedClient[]> {
    const { wait, print } = this.#options
    const settled = await Promise.all(
      names.map((name) =>
        this.#arrival(name, wait).catch((error: Error) => {
          print(`${name} is not there: ${error.message}`)
          return null
        }),
      ),
    )
    return settled.filter((client) => client !== null)
  }

  async #arrival(name: string, timeout: number): Promise<FederatedClient> {
    const { signal } = this.#options
    const worker = await this.#parts.hub.worker(name, { identity: SERVER, timeout, ...(signal ? { signal } : {}) })
    const examples = async (x: string, y: string): Promise<Examples | null> => {
      const [[found], [labels]] = await Promise.all([worker.search([`#${x}`]), worker.search([`#${y}`])])
      return found === undefined || labels === undefined ? null : { x: found, y: labels }
    }
    const [own, test] = [await examples('x', 'y'), await examples('test-x', 'test-y')]
    if (own === null) throw sottoError('ERR_NOT_FOUND', `${name} has no data x and y`)
    this.#workers.set(name, worker)
    return { worker, ...own, ...(test ? { test } : {}) }
  }

  #federationOf(clients: readonly FederatedClient[]): Federation {
    const { job, print } = this.#options
    const { home, model, evaluation } = this.#parts
    const { strategy, aggregation, minimum, evaluateAtTrainers, earlyStop, loss, rounds, local, ...rest } = job.terms
    const { weighting, deadline, failures, seed } = rest
    return new Federation({
      model,
      clients,
      loss,
      strategy: strategyNamed(strategy),
      aggregation: aggregationNamed(aggregation, minimum),
      rounds,
      local,
      sampling: { minimum, draw: (_, round) => this.#draw(round) },
      weighting,
      deadline,
      failures,
      seed,
      evaluateAtClients: evaluateAtTrainers,
      ...(earlyStop === null ? {} : { earlyStop }),
      ...(evaluation === null ? {} : { evaluate: () => evaluation.metrics(model) }),
      async onRound(result) {
        print(roundLine(result))
        await home.addMetrics(result)
      },
      onCheckpoint: (bytes) => home.saveCheckpoint(bytes),
    })
  }

  /**
   * Lets go of trainers that are gone, takes in those that are back, and asks the scheduler. With too few it waits for
   * others to come back, as long as for a step of a round.
   */
  async #draw(round: number): Promise<readonly string[]> {
    const federation = this.#federation!
    const until = performance.now() + this.#options.job.terms.deadline
    for (;;) {
      await this.#look(federation)
      try {
        return await this.#parts.scheduler.ask('sample', { round, clients: federation.clients })
      } catch (error) {
        // The scheduler may know of somebody who has gone before the server does.
        const isTooFew = isSottoError(error) && error.code === 'ERR_COHORT'
        if (!isTooFew || performance.now() > until) throw error
      }
      await pause(LOOK, undefined, { signal: this.#options.signal }).catch(() => this.#options.signal?.throwIfAborted())
    }
  }

  async #look(federation: Federation): Promise<void> {
    const { hub } = this.#parts
    const { print, job } = this.#options
    for (const name of hub.waiting) {
      try {
        // It was there, and came again: its process is another.
        const client = await this.#arrival(name, job.terms.deadline)
        if (federation.clients.includes(name)) federation.leave(name)
        federation.join(client)
        print(`${name} is back`)
      } catch (error) {
        print(`${name} is not there: ${(error as Error).message}`)
      }
    }
    for (const name of federation.clients) {
      if (!this.#workers.get(name)!.isClosed) continue
      federation.leave(name)
      print(`${name} is gone`)
    }
  }
}

/** Milliseconds between two looks at who is there. */
const LOOK = 100
/** The server's own examples, and how good the model is on them. */
class Evaluation {
  readonly #worker: VirtualWorker
  readonly #row: ReturnType<typeof lossRow>
  readonly #client: FederatedClient

  static async of(
    { terms }: CompiledJob,
    model: tf.LayersModel,
    data: Readonly<Record<string, Values>> | undefined,
  ): Promise<Evaluation | null> {
    const { x, y } = checkExamples(terms, model, data ?? {})
    if (x === undefined || y === undefined) return null
    return new Evaluation(lossRow(SERVER, terms.loss), x, y)
  }

  private constructor(row: ReturnType<typeof lossRow>, x: Values, y: Values) {
    this.#worker = new VirtualWorker(`evaluation-${randomUUID()}`)
    this.#row = row
    const send = ({ shape, dtype, data }: Values) => {
      const tensor = tf.tensor(data, [...shape], dtype)
      const pointer = sendTensor(tensor, this.#worker)
      tensor.dispose()
      return pointer
    }
    this.#client = { worker: this.#worker, x: send(x), y: send(y) }
  }

  async metrics(model: tf.LayersModel): Promise<Metrics> {
    return scope(async () => {
      const values = evaluateLocally(this.#client, { model, row: this.#row })
      const [loss, accuracy] = await Promise.all(values.map(numberOf))
      return { loss: loss!, ...(accuracy === undefined ? {} : { accuracy }) }
    })
  }

  close(): Promise<void> {
    return this.#worker.close()
  }
}

/** What a server keeps: the model, a line of JSON for each round, and what it takes to go on. */
class OutputFolder {
  readonly path: string
  readonly checkpoint: Uint8Array | null
  /** Adds a line of JSON for a round. */
  readonly addMetrics: (result: RoundResult) => Promise<void>
  readonly #checkpointPath: string

  /** @throws StateError `ERR_ID_TAKEN`, `ERR_UNKNOWN_CHECKPOINT` for a checkpoint that is there and should not be, or not there */
  static async open(path: string, { id }: CompiledJob, resume: boolean): Promise<OutputFolder> {
    await mkdir(path, { recursive: true })
    // Of this job and no other.
    const checkpointPath = join(path, `${id.slice(0, 16)}.checkpoint`)
    const checkpoint = await readIfThere(checkpointPath)
    if (checkpoint !== null && !resume) {
      throw sottoError(
        'ERR_ID_TAKEN',
        `${path}: there is a checkpoint of this job; --resume goes on from it, --output keeps another run elsewhere`,
      )
    }
    if (checkpoint === null && resume) {
      throw sottoError('ERR_UNKNOWN_CHECKPOINT', `${path}: there is no checkpoint of this job to go on from`)
    }
    return new OutputFolder(path, checkpointPath, checkpoint)
  }

  private constructor(path: string, checkpointPath: string, checkpoint: Uint8Array | null) {
    this.path = path
    this.addMetrics = jsonLines(join(path, METRICS))
    this.#checkpointPath = checkpointPath
    this.checkpoint = checkpoint
  }

  /** Drops lines of rounds that are to be done again. */
  async forgetAfter(round: number): Promise<void> {
    const path = join(this.path, METRICS)
    const text = new TextDecoder().decode((await readIfThere(path)) ?? new Uint8Array(0))
    const lines = text.split('\n').filter((line) => line !== '' && roundOf(line) <= round)
    await replaceFile(path, lines.map((line) => `${line}\n`).join(''))
  }

  saveCheckpoint(bytes: Uint8Array): Promise<void> {
    return replaceFile(this.#checkpointPath, bytes)
  }

  async saveModel(model: tf.LayersModel): Promise<void> {
    for (const [name, bytes] of Object.entries(await modelFilesOf(model)))
      await replaceFile(join(this.path, name), bytes)
  }
}

/** Of a line that was cut when the process ended, none. */
function roundOf(line: string): number {
  try {
    return (JSON.parse(line) as RoundResult).round
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
