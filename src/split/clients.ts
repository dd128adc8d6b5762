/**
 * Several clients with data of their own, and one server: the clients have the first segment in common, one after the
 * other or each with a copy.
 */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { tf } from '../tensor/backend.ts'
import { scope } from '../tensor/context.ts'
import type { RemoteModel } from '../tensor/model.ts'
import { Optimizer } from '../tensor/optim.ts'
import type { PointerTensor } from '../tensor/pointer.ts'
import { Worker } from '../worker/worker.ts'
import type { BatchInfo, FitOptions } from './fit.ts'
import { countOf, inputsOf, type SplitData } from './rows.ts'
import type { SegmentOptions } from './segment.ts'
import { type EvaluateOptions, type Evaluation, SplitNN, type SplitNNOptions } from './split-nn.ts'

/** A segment that is sent out: a model that is here, and what makes an optimizer for it. */
export type OwnSegment = Omit<SegmentOptions, 'model' | 'optimizer'> & {
  readonly model: tf.LayersModel
  readonly optimizer?: Exclude<SegmentOptions['optimizer'], Optimizer>
}

/** What is the same for every client: the segment that stays with the data. */
export type ClientSegment = Omit<OwnSegment, 'worker'>

export interface RoundOptions extends Pick<FitOptions, 'batchSize' | 'shuffle' | 'seed' | 'inFlight' | 'signal'> {
  /** 1 unless given. */
  readonly rounds?: number
  /** Passes of each client over its own data, in a round; 1 unless given. */
  readonly epochs?: number
  /** As `onBatch` of `SplitNN.fit`, for each client's batches; the epoch is that of the client's turn, or round. */
  readonly onBatch?: (info: BatchInfo, client: number) => void | Promise<void>
  readonly onRound?: (info: RoundInfo) => void | Promise<void>
}

export interface RoundInfo {
  /** From 1. */
  readonly round: number
  /** Of each client, the mean loss of its last epoch; null where the caller may not see it. */
  readonly losses: readonly (number | null)[]
  readonly ms: number
}

const OPTIONS = [
  'rounds',
  'epochs',
  'batchSize',
  'shuffle',
  'seed',
  'inFlight',
  'signal',
  'onBatch',
  'onRound',
] as const

/** Every client of every round has orders of its own. */
const seedOf = (seed: number, round: number, client: number, clients: number): number =>
  seed * SEEDS + (round - 1) * clients + client
const SEEDS = 1e6
const MOST_SEED = 2 ** 20

function checked(entry: string, clients: readonly Worker[], data: readonly SplitData[], options: RoundOptions) {
  checkOptions(entry, options, OPTIONS)
  const { rounds = 1, epochs = 1, seed = 0, onBatch, onRound, ...rest } = options
  numberOption(entry, 'rounds', rounds, { integer: true, from: 0 })
  numberOption(entry, 'epochs', epochs, { integer: true, from: 1 })
  numberOption(entry, 'seed', seed, { integer: true, from: 0, to: MOST_SEED })
  if (!Array.isArray(data) || data.length !== clients.length) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: expected data of each of the ${clients.length} clients`, {
      clients: clients.length,
    })
  }
  /** What `SplitNN.fit` is to do for a client in a round. */
  const own = (round: number, client: number): FitOptions => ({
    ...rest,
    epochs,
    seed: seedOf(seed, round, client, clients.length),
    ...(onBatch ? { onBatch: (info: BatchInfo) => onBatch(info, client) } : {}),
  })
  return { rounds, own, onRound }
}

function checkClients(entry: string, clients: unknown): asserts clients is readonly Worker[] {
  const right = Array.isArray(clients) && clients.length > 0 && clients.every((client) => client instanceof Worker)
  if (!right) throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: expected a list of workers, the clients`)
  if (new Set(clients).size !== clients.length)
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: a client stands twice`)
}

/**
 * Clients that take turns: one trains with the server on its own data, then hands its segment, with the state of the
 * optimizer, on to the next (Gupta and Raskar 2018, arXiv 1810.06060, §3.2, peer to peer). The weights go from client to
 * client directly; each sees what the ones before it made of them.
 */
export class SplitTurns {
  readonly clients: readonly Worker[]
  readonly #net: SplitNN
  /** Who has the segment now. */
  #at = 0

  /**
   * @param clients workers of the owners of data, in their order
   * @param segment of the clients; it is sent to the first of them
   * @param server of the rest
   */
  constructor(
    clients: readonly Worker[],
    segment: ClientSegment,
    server: SegmentOptions,
    options: SplitNNOptions = {},
  ) {
    checkClients('SplitTurns', clients)
    this.clients = [...clients]
    this.#net = new SplitNN([{ ...segment, worker: clients[0]! }, server], options)
  }

  /** The network, its first segment with the client whose turn it was last. */
  get net(): SplitNN {
    return this.#net
  }

  /**
   * Trains in rounds: each client in its turn, for so many epochs.
   *
   * @param data of each client: features with it, labels with the server
   */
  async fit(data: readonly SplitData[], options: RoundOptions = {}): Promise<readonly RoundInfo[]> {
    const { rounds, own, onRound } = checked('fit', this.clients, data, options)
    const history: RoundInfo[] = []
    for (let round = 1; round <= rounds; round++) {
      const began = performance.now()
      const losses: (number | null)[] = []
      for (const client of this.clients.keys()) {
        this.#handTo(client)
        losses.push((await this.#net.fit(data[client]!, own(round, client))).epochs.at(-1)!.loss)
      }
      history.push({ round, losses, ms: performance.now() - began })
      await onRound?.(history.at(-1)!)
    }
    return history
  }

  /** Loss and accuracy on one client's examples, to whom the segment is handed for it. */
  async evaluate(client: number, data: SplitData, options?: EvaluateOptions): Promise<Evaluation> {
    this.#handTo(client)
    return await this.#net.evaluate(data, options)
  }

  #handTo(client: number): void {
    const to = this.clients[client]
    if (to === undefined) throw sottoError('ERR_ARGUMENT_VALUE', `there is no client ${client}`, { client })
    if (client === this.#at) return
    this.#net.moveFirst(to)
    this.#at = client
  }

  dispose(): void {
    this.#net.dispose()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * Clients that train at the same time, each with a copy of the network, whose parts are averaged after every round, by
 * the rows that each client has: SplitFed (Thapa et al., AAAI '22, arXiv 2004.12088, SFLV1).
 *
 * The mean is made in clear by the aggregator, which sees the weights of every client's part: the paper has it apart from
 * the server, who sees their activations. The copies of the server's part are averaged by the server.
 */
export class SplitFed {
  readonly clients: readonly Worker[]
  readonly aggregator: Worker
  readonly #nets: readonly SplitNN[]

  /**
   * @param clients workers of the owners of data
   * @param segment of the clients; each gets a copy
   * @param server of the rest; it holds a copy for each client
   * @param options.aggregator worker that makes the mean of the clients' parts
   */
  constructor(
    clients: readonly Worker[],
    segment: ClientSegment,
    server: OwnSegment,
    options: SplitNNOptions & { readonly aggregator: Worker },
  ) {
    checkClients('SplitFed', clients)
    const { aggregator, ...rest } = options ?? {}
    if (!(aggregator instanceof Worker)) {
      throw sottoError(
        'ERR_ARGUMENT_TYPE',
        'SplitFed: "aggregator" expected a worker: it sees the weights of every client; better not the server',
        { option: 'aggregator' },
      )
    }
    for (const { model, optimizer } of [segment, server] as { model: unknown; optimizer?: unknown }[]) {
      if (model instanceof tf.LayersModel && !(optimizer instanceof Optimizer)) continue
      throw sottoError(
        'ERR_ARGUMENT_TYPE',
        'SplitFed: expected models that are here, and optimizers by name or by a function: each client gets its own',
      )
    }
    this.clients = [...clients]
    this.aggregator = aggregator
    const nets: SplitNN[] = []
    try {
      for (const worker of clients) nets.push(new SplitNN([{ ...segment, worker }, server], rest))
    } catch (error) {
      for (const net of nets) net.dispose()
      throw error
    }
    this.#nets = nets
  }

  /** A network for each client; after a round, all are the same. */
  get nets(): readonly SplitNN[] {
    return this.#nets
  }

  /**
   * Trains in rounds: all clients at once, for so many epochs, then the mean.
   *
   * @param data of each client: features with it, labels with the server
   */
  async fit(data: readonly SplitData[], options: RoundOptions = {}): Promise<readonly RoundInfo[]> {
    const { rounds, own, onRound } = checked('fit', this.clients, data, options)
    const counts = data.map((each) => countOf('fit', inputsOf('fit', each.x, 1), each))
    const total = counts.reduce((sum, count) => sum + count, 0)
    const parts = counts.map((count) => count / total)
    const history: RoundInfo[] = []
    for (let round = 1; round <= rounds; round++) {
      const began = performance.now()
      // All are waited for: what one client began is over before the round fails with another.
      const trained = await Promise.allSettled(
        this.#nets.map((net, client) => net.fit(data[client]!, own(round, client))),
      )
      const losses = trained.map((outcome) => {
        if (outcome.status === 'rejected') throw outcome.reason
        return outcome.value.epochs.at(-1)!.loss
      })
      this.#average(parts)
      await Promise.all(
        [...new Set([this.aggregator, ...this.#nets.flatMap(({ workers }) => workers)])].map((worker) =>
          worker.flush(),
        ),
      )
      history.push({ round, losses, ms: performance.now() - began })
      await onRound?.(history.at(-1)!)
    }
    return history
  }

  /** Loss and accuracy on one client's examples. */
  async evaluate(client: number, data: SplitData, options?: EvaluateOptions): Promise<Evaluation> {
    const net = this.#nets[client]
    if (net === undefined) throw sottoError('ERR_ARGUMENT_VALUE', `there is no client ${client}`, { client })
    return await net.evaluate(data, options)
  }

  #average(parts: readonly number[]): void {
    for (const stage of this.#nets[0]!.segments.keys()) {
      const models = this.#nets.map(({ segments }) => segments[stage]!.model)
      averageAt(stage === 0 ? this.aggregator : (models[0]!.location as Worker), models, parts)
    }
  }

  dispose(): void {
    for (const net of this.#nets) net.dispose()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** Gives models the mean of their weights, each for its part; made by one worker, who sees them all. */
function averageAt(worker: Worker, models: readonly RemoteModel[], parts: readonly number[]): void {
  scope(() => {
    const cross = (pointer: PointerTensor, to: PointerTensor['location']): PointerTensor =>
      pointer.location === to ? pointer : pointer.detach().move(to)
    const means = models[0]!.weights().map((_, i) => {
      const [first, ...rest] = models.map((model, k) => cross(model.weights()[i]!, worker).detach().mul(parts[k]!))
      return rest.reduce((sum, weight) => sum.add(weight), first!)
    })
    for (const model of models) model.assign(means.map((mean) => cross(mean, model.location)))
  })
}
