/** The coordinator's end of masked sums of one group of workers: carries what clients and server say to each other. */
import { sottoError } from '../../errors.ts'
import { newId, type WaitOptions } from '../../tensor/location.ts'
import type { PointerTensor } from '../../tensor/pointer.ts'
import { encodeValue } from '../../worker/codec.ts'
import type { Worker } from '../../worker/worker.ts'
import { type AggregationContext, askAll, because, type Mean, type Missing } from '../aggregation/aggregation.ts'
import type { Delivery, Roster } from '../secagg/messages.ts'
import { type PairwiseKey, sumOfPairwiseMasked } from '../secagg/pairwise.ts'
import type { Trust } from '../secagg/parameters.ts'
import type { Quantiser } from '../secagg/quantise.ts'
import { SecAggServer } from '../secagg/server.ts'
import type { SecAggSettings } from '../secagg/settings.ts'
import { fromBytes, type Vector, type WordBits } from '../secagg/vectors.ts'
import { askMask, type Scheme, type Step, type SumTerms, tellMask } from './messages.ts'
import { boundSession, checkTerms, type Numbers, quantiserOf } from './terms.ts'

export interface MaskedSumOptions extends Trust {
  readonly scheme: Scheme
  /** Numbers of a contribution. */
  readonly length: number
  readonly clip: number
  readonly bits: number
  /** Unless given, the shortest words in which sums fit. */
  readonly modulus: WordBits | undefined
  readonly minimum: number
  /** Whether all values are private, to others than this coordinator. */
  readonly hidden: boolean
}

/** A worker that may take part, and how much its values count. */
export interface Weighted {
  readonly worker: Worker
  readonly weight: number
}

/** Of each worker that takes part, pointers to what it adds: as long as they are held, the objects are there. */
export type Parts = ReadonlyMap<Worker, readonly PointerTensor[]>

type Wait = Pick<AggregationContext, 'deadline' | 'signal'>

export class MaskedSum {
  readonly quantiser: Quantiser
  readonly #clients: readonly Weighted[]
  readonly #terms: SumTerms
  readonly #settings: SecAggSettings
  #round = 0

  /** @throws RangeError `ERR_ARGUMENT_VALUE` for a sum that might wrap around, or would hide nothing */
  constructor(clients: readonly Weighted[], options: MaskedSumOptions) {
    const { scheme, length, clip, bits, modulus, minimum, hidden, ...trust } = options
    this.#clients = clients
    const weights = clients.map(({ weight }) => weight)
    const members = clients.map(({ worker }) => worker.id)
    const common = { session: newId(), scheme, members, weights, clip, bits, hidden, minimum, ...trust }
    this.quantiser = quantiserFor({ clip, bits, modulus, weights })
    this.#terms = { ...common, modulus: this.quantiser.modulus, length: this.quantiser.words(length) }
    checkTerms(this.#terms)
    this.#settings = {
      session: boundSession(this.#terms),
      members: Object.fromEntries(clients.map(({ worker: { id, key } }) => [id, key])),
      length: this.#terms.length,
      modulus: this.quantiser.modulus,
      minimum,
      ...trust,
    }
    // One that is gone is found to be missing in each round.
    const [first, ...others] = clients.map(({ worker }) => worker).filter(({ isClosed }) => !isClosed)
    first?.addWorkers(others)
    for (const worker of first === undefined ? [] : [first, ...others]) tellMask(worker, 'maskJoin', this.#terms)
  }

  /** Whether these may take part, and count so much: among others, keys and weights are others. */
  isOf(clients: readonly Weighted[]): boolean {
    const known = new Map(this.#clients.map(({ worker, weight }) => [worker, weight]))
    return clients.length === known.size && clients.every(({ worker, weight }) => known.get(worker) === weight)
  }

  leave(): void {
    for (const { worker } of this.#clients) {
      if (!worker.isClosed) tellMask(worker, 'maskLeave', { session: this.#terms.session })
    }
  }

  /**
   * The weighted mean of the parts of those who stay.
   *
   * @throws StateError `ERR_COHORT` when too few are left; nothing is known of any part then
   */
  async mean(parts: Parts, wait: Wait): Promise<Mean> {
    const round = new Round(this.#terms.session, this.#settings, this.#round++, parts, wait)
    const { sum, contributors } =
      this.#terms.scheme === 'pairs'
        ? await round.inPairs()
        : await round.bearingDropouts().catch((error) => round.explain(error))
    const { mean } = this.quantiser.decode(sum)
    return { mean, contributors, missing: round.missing, bytesUp: round.bytes / parts.size }
  }
}

/** @throws RangeError `ERR_ARGUMENT_VALUE` for a sum that might wrap around */
export function quantiserFor({
  modulus,
  ...numbers
}: Omit<Numbers, 'modulus'> & { readonly modulus: WordBits | undefined }): Quantiser {
  const { weights, bits } = numbers
  return quantiserOf({ ...numbers, modulus: modulus ?? wordsFor(weights.length, Math.max(...weights), bits) })
}

/** The shortest words in which the values of all fit, and their weights. */
const wordsFor = (clients: number, maxWeight: number, bits: number): WordBits =>
  clients * Math.max(maxWeight, 2 ** (bits - 1)) < 2 ** 31 ? 32 : 64

interface Outcome {
  readonly sum: Vector
  readonly contributors: readonly string[]
}

class Round {
  readonly missing: Missing[] = []
  /** That clients sent. */
  bytes = 0
  /** The name under which workers know the session. */
  readonly #session: string
  readonly #settings: SecAggSettings
  readonly #number: number
  readonly #parts: Parts
  readonly #wait: Wait

  constructor(session: string, settings: SecAggSettings, number: number, parts: Parts, wait: Wait) {
    this.#session = session
    this.#settings = settings
    this.#number = number
    this.#parts = parts
    this.#wait = wait
  }

  /** Gives each worker a message; takes the answers of those who answer in time, and as they must. */
  async #ask(
    workers: readonly Worker[],
    send: (worker: Worker, wait: WaitOptions) => Promise<unknown>,
    take: (answer: never, worker: Worker) => void,
  ): Promise<Worker[]> {
    const answers = await askAll(workers, this.#wait, this.missing, send)
    return answers.flatMap(({ worker, answer }) => {
      this.bytes += encodeValue(answer).length
      try {
        take(answer as never, worker)
        return [worker]
      } catch (error) {
        this.missing.push({ worker: worker.id, reason: error as Error })
        return []
      }
    })
  }
  #step(step: Step, message: unknown) {
    const session = this.#session
    return (worker: Worker, wait: WaitOptions) =>
      askMask(worker, 'maskStep', { session, round: this.#number, step, message }, wait)
  }
  #mask(message: (worker: Worker) => unknown) {
    const [session, round] = [this.#session, this.#number]
    return (worker: Worker, wait: WaitOptions) => {
      const values = this.#parts.get(worker)!.map(({ id }) => id)
      return askMask(worker, 'maskValues', { session, round, message: message(worker), values }, wait)
    }
  }

  /** Bonawitz et al., CCS '17, figure 4; see `secagg/messages.ts` for the steps. */
  async bearingDropouts(): Promise<Outcome> {
    const server = new SecAggServer(this.#settings, this.#number)
    const all = [...this.#parts.keys()]
    let left = await this.#ask(all, this.#step('advertise', null), (advert) => server.receiveAdvert(advert))
    left = await this.#shared(server, server.closeAdverts(), left)
    const deliveries: ReadonlyMap<string, Delivery> = server.closeShares()
    const delivered = this.#mask(({ id }) => deliveries.get(id))
    left = await this.#ask(left, delivered, (input) => server.receiveInput(input))
    const survivors = this.#step('survivors', server.closeInputs())
    left = await this.#ask(left, survivors, (confirmation) => server.receiveConfirmation(confirmation))
    const quorum = this.#step('quorum', server.closeConfirmations())
    await this.#ask(left, quorum, (unmasking) => server.receiveUnmasking(unmasking))
    const { sum, survivors: contributors } = server.finish()
    return { sum, contributors }
  }

  /** Places and shares: above 64 clients, places are drawn first, perhaps more than once. */
  async #shared(server: SecAggServer, first: Roster, clients: readonly Worker[]): Promise<Worker[]> {
    let [roster, left] = [first, [...clients]]
    for (;;) {
      left = await this.#ask(left, this.#step('roster', roster), (reply: { reveal: never } | { shares: never }) => {
        if ('reveal' in reply) server.receiveReveal(reply.reveal)
        else server.receiveShares(reply.shares)
      })
      if (server.phase === 'shares') return left
      const reply = server.closeReveals()
      if ('draws' in reply) {
        return this.#ask(left, this.#step('draws', reply.draws), (shares) => server.receiveShares(shares))
      }
      roster = reply.roster
    }
  }

  /** Bonawitz et al., CCS '17, §4: every one of them must stay until the end. */
  async inPairs(): Promise<Outcome> {
    const all = [...this.#parts.keys()]
    const members = Object.keys(this.#settings.members)
    const keys: PairwiseKey[] = []
    if (all.length === members.length) {
      await this.#ask(all, this.#step('advertise', null), (key) => keys.push(key))
    }
    const masked = new Map<string, Vector>()
    if (keys.length === members.length) {
      await this.#ask(
        all,
        this.#mask(() => keys),
        (bytes: Uint8Array, { id }) => masked.set(id, fromBytes(bytes, this.#settings.modulus!)),
      )
    }
    if (masked.size < members.length) {
      this.explain(
        sottoError('ERR_COHORT', `masks in pairs take all ${members.length} members, and not all have sent a vector`),
      )
    }
    const { members: parties, session, length, modulus = 32 } = this.#settings
    return { sum: sumOfPairwiseMasked({ session, parties, length, modulus }, masked), contributors: members }
  }

  /** Throws an error again, with why clients are missing. */
  explain(error: unknown): never {
    const { code, message } = error as { code?: string; message: string }
    if (code !== 'ERR_COHORT' || this.missing.length === 0) throw error
    throw sottoError('ERR_COHORT', `${message}${because(this.missing)}`, { round: this.#number })
  }
}
