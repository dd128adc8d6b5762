/** The coordinator's end of masked sums of one group of workers: carries what clients and server say to each other. */
import { sottoError } from '../../errors.ts'
import { newId, type ObjectId } from '../../tensor/location.ts'
import { encodeValue } from '../../worker/codec.ts'
import type { Worker } from '../../worker/worker.ts'
import { type AggregationContext, askAll, because, type Mean, type Missing } from '../aggregation/aggregation.ts'
import type { Delivery, Roster } from '../secagg/messages.ts'
import { type PairwiseKey, sumOfPairwiseMasked } from '../secagg/pairwise.ts'
import type { Trust } from '../secagg/parameters.ts'
import { Quantiser } from '../secagg/quantise.ts'
import { SecAggServer } from '../secagg/server.ts'
import type { SecAggSettings } from '../secagg/settings.ts'
import { fromBytes, type Vector, type WordBits } from '../secagg/vectors.ts'
import { askMask, type Scheme, type Step, tellMask } from './messages.ts'

export interface MaskedSumOptions extends Trust {
  readonly scheme: Scheme
  /** Numbers of a contribution. */
  readonly length: number
  readonly clip: number
  readonly bits: number
  readonly modulus: WordBits | undefined
  readonly maxWeight: number
  readonly minimum: number
}

/** What a worker adds to the sum: objects there, and how much they count. */
export interface Part {
  readonly values: readonly ObjectId[]
  readonly weight: number
}

type Wait = Pick<AggregationContext, 'deadline' | 'signal'>

export class MaskedSum {
  readonly quantiser: Quantiser
  readonly #workers: readonly Worker[]
  readonly #scheme: Scheme
  readonly #settings: SecAggSettings
  #round = 0

  /** @throws RangeError `ERR_ARGUMENT_VALUE` for a sum that might wrap around */
  constructor(workers: readonly Worker[], options: MaskedSumOptions) {
    const { scheme, length, clip, bits, modulus, maxWeight, minimum, ...trust } = options
    this.#workers = workers
    this.#scheme = scheme
    this.quantiser = quantiserOf({ clip, bits, clients: workers.length, maxWeight }, modulus)
    this.#settings = {
      session: newId(),
      members: Object.fromEntries(workers.map(({ id, key }) => [id, key])),
      length: this.quantiser.words(length),
      modulus: this.quantiser.modulus,
      minimum,
      ...trust,
    }
    const { members, ...terms } = this.#settings
    // One that is gone is found to be missing in each round.
    const [first, ...others] = workers.filter(({ isClosed }) => !isClosed)
    first?.addWorkers(others)
    for (const worker of first === undefined ? [] : [first, ...others]) {
      tellMask(worker, 'maskJoin', { ...terms, scheme, members: Object.keys(members) })
    }
  }

  /** Who may take part: in another group, keys are others. */
  isOf(workers: readonly Worker[]): boolean {
    const known = new Set(this.#workers)
    return workers.length === known.size && workers.every((worker) => known.has(worker))
  }

  leave(): void {
    for (const worker of this.#workers) {
      if (!worker.isClosed) tellMask(worker, 'maskLeave', { session: this.#settings.session })
    }
  }

  /**
   * The weighted mean of the parts of those who stay.
   *
   * @throws StateError `ERR_COHORT` when too few are left; nothing is known of any part then
   */
  async mean(parts: ReadonlyMap<Worker, Part>, wait: Wait): Promise<Mean> {
    const round = new Round(this.#settings, this.#round++, parts, wait, this.quantiser)
    const { sum, contributors } =
      this.#scheme === 'pairs'
        ? await round.inPairs()
        : await round.bearingDropouts().catch((error) => round.explain(error))
    // Those whose values are no numbers add nothing, the weight at the end too.
    if (Number(sum.at(-1)) === 0) {
      throw sottoError('ERR_COHORT', 'no client has sent numbers: training may have diverged everywhere')
    }
    const { mean } = this.quantiser.decode(sum)
    return { mean, contributors, missing: round.missing, bytesUp: round.bytes / parts.size }
  }
}

/** Words of 32 bits where the sum fits, else of 64. */
function quantiserOf(
  options: { clip: number; bits: number; clients: number; maxWeight: number },
  modulus: WordBits | undefined,
): Quantiser {
  if (modulus !== undefined) return new Quantiser({ ...options, modulus })
  const { bits, clients, maxWeight } = options
  const fits = clients * maxWeight * 2 ** (bits - 1) < 2 ** 31
  return new Quantiser({ ...options, modulus: fits ? 32 : 64 })
}

interface Outcome {
  readonly sum: Vector
  readonly contributors: readonly string[]
}

class Round {
  readonly missing: Missing[] = []
  /** That clients sent. */
  bytes = 0
  readonly #settings: SecAggSettings
  readonly #number: number
  readonly #parts: ReadonlyMap<Worker, Part>
  readonly #wait: Wait
  readonly #quantiser: Quantiser

  constructor(
    settings: SecAggSettings,
    number: number,
    parts: ReadonlyMap<Worker, Part>,
    wait: Wait,
    quantiser: Quantiser,
  ) {
    this.#settings = settings
    this.#number = number
    this.#parts = parts
    this.#wait = wait
    this.#quantiser = quantiser
  }

  /** Gives each worker a message; takes the answers of those who answer in time, and as they must. */
  async #ask(
    workers: readonly Worker[],
    send: (worker: Worker, wait: { timeout: number; signal?: AbortSignal }) => Promise<unknown>,
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
    const { session } = this.#settings
    return (worker: Worker, wait: { timeout: number; signal?: AbortSignal }) =>
      askMask(worker, 'maskStep', { session, round: this.#number, step, message }, wait)
  }
  #mask(message: (worker: Worker) => unknown) {
    const { session } = this.#settings
    const { clip, bits, maxWeight } = this.#quantiser
    return (worker: Worker, wait: { timeout: number; signal?: AbortSignal }) => {
      const body = { session, round: this.#number, message: message(worker), quantiser: { clip, bits, maxWeight } }
      return askMask(worker, 'maskValues', { ...body, ...this.#parts.get(worker)! }, wait)
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
        (bytes: Uint8Array, { id }) => masked.set(id, fromBytes(bytes, this.#quantiser.modulus)),
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
