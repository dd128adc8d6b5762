/**
 * Federated learning: many owners train one model, each on its own worker; whoever runs the federation learns the mean of
 * what they send, and with secure aggregation nothing else.
 */
import { isSottoError, sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { tf } from '../tensor/backend.ts'
import { scope } from '../tensor/context.ts'
import { type Loss, lossRow } from '../tensor/losses.ts'
import type { PointerTensor } from '../tensor/pointer.ts'
import {
  type Aggregation,
  type AggregationContext,
  askAll,
  type Contribution,
  checkEnough,
  type Mean,
  type Missing,
} from './aggregation/aggregation.ts'
import { type AggregationName, aggregationOf } from './aggregation/named.ts'
import { decodeState, encodeState, type FederationState } from './checkpoint.ts'
import { ClientPrivacy, type ClientPrivacyOptions } from './client-privacy.ts'
import { clippedAndNoisy } from './clipping.ts'
import {
  checkClient,
  checkLocal,
  countOf,
  evaluateLocally,
  type FederatedClient,
  type LocalTerms,
  type LocalTraining,
  trainLocally,
} from './local.ts'
import { type SamplingOptions, sampleClients } from './sampling.ts'
import { fedAvg } from './strategies/fed-avg.ts'
import { checkStrategy, type Strategy } from './strategies/strategy.ts'
import { setWeights, vectorOf, weightsOf } from './vectors.ts'

/** Who takes part in a round: by a draw from the seed, or by somebody else's. */
export interface FederationSampling extends Partial<SamplingOptions> {
  /**
   * Says who takes part, instead of the draw, of those who are clients. It may wait, and let clients join and leave before
   * it says so; `ERR_COHORT` that it throws fails the round. `minimum` holds for it too; with `privacy`, `fraction` and
   * `poisson` tell the accountant how it draws.
   */
  readonly draw?: (clients: readonly string[], round: number) => readonly string[] | Promise<readonly string[]>
}

/** Numbers that a round is judged by. */
export type Metrics = Readonly<Record<string, number>>

export interface FederationOptions {
  /** Trained in place, and the caller's to keep. */
  readonly model: tf.LayersModel
  readonly clients: readonly FederatedClient[]
  readonly loss: Loss
  /** Default: `fedAvg()`. */
  readonly strategy?: Strategy
  /** How the mean comes about: 'masks' (the default), 'shares', 'pairs' or 'clear', or what `masks(…)` and so on give. */
  readonly aggregation?: AggregationName | Aggregation
  /** Rounds in all. */
  readonly rounds: number
  /** Who takes part in a round: all, unless given. */
  readonly sampling?: FederationSampling
  readonly local?: LocalTraining
  /** Whether a client counts as its number of examples ('examples', the default), or as each other one ('equal'). */
  readonly weighting?: 'examples' | 'equal'
  /** Milliseconds for which each step of a round waits for clients. Default: 60,000. */
  readonly deadline?: number
  /** Client-level differential privacy: weighting is 'equal' then, and clients do not evaluate. */
  readonly privacy?: Pick<ClientPrivacyOptions, 'clip' | 'noiseMultiplier' | 'delta'>
  /** What whoever runs this finds of the model after a round, on data of its own. */
  readonly evaluate?: (model: tf.LayersModel, round: number) => Metrics | Promise<Metrics>
  /**
   * Whether clients evaluate the model too, after each round: `clientLoss` and `clientAccuracy` are weighted means over
   * those who took part, aggregated as updates are.
   */
  readonly evaluateAtClients?: boolean
  /** Ends training when a metric has not got better for so many rounds. */
  readonly earlyStop?: { readonly metric: string; readonly patience: number; readonly better?: 'lower' | 'higher' }
  /** Rounds in a row that may fail, with too few clients left, before `fit` throws. Default: 0. */
  readonly failures?: number
  /** For sampling and for the order of examples. Default: 0. */
  readonly seed?: number
  readonly onRound?: (result: RoundResult) => void | Promise<void>
  /** What `save` would give, after each round. */
  readonly onCheckpoint?: (bytes: Uint8Array, round: number) => void | Promise<void>
}

/** What a round came to: plain values, fit for a line of JSON. */
export interface RoundResult {
  /** From 1. */
  readonly round: number
  readonly rounds: number
  /** Who was asked, whose update is in the mean, and who is missing and why. */
  readonly asked: readonly string[]
  readonly contributors: readonly string[]
  readonly missing: readonly { readonly worker: string; readonly code: string; readonly reason: string }[]
  /** Why there is no mean; null where there is. */
  readonly failed: string | null
  readonly metrics: Metrics
  /** Bytes that a client sent for the mean, on average; the model that it gets are 4 bytes a weight. */
  readonly bytesUp: number
  readonly ms: number
  /** What all rounds so far cost in privacy. */
  readonly epsilon: number | null
}

export interface FederationResult {
  readonly rounds: readonly RoundResult[]
  /** Whether a metric that got no better ended it. */
  readonly stoppedEarly: boolean
}

const OPTIONS = [
  'model',
  'clients',
  'loss',
  'strategy',
  'aggregation',
  'rounds',
  'sampling',
  'local',
  'weighting',
  'deadline',
  'privacy',
  'evaluate',
  'evaluateAtClients',
  'earlyStop',
  'failures',
  'seed',
  'onRound',
  'onCheckpoint',
] as const

const DEADLINE = 60_000
/** Orders of examples: one for each pass of each turn of each seed. */
const PASSES = 2 ** 12
const TURNS = 2 ** 24
const MOST_SEED = 2 ** 16

/** How clients count. */
type Weighting = 'examples' | 'equal'

/**
 * Trains a model in rounds: clients are drawn, train where their data is, and the weighted mean of what they send moves
 * the model. A client that fails, or takes too long, costs the round its share, as long as enough are left.
 *
 * @example
 * const federation = new Federation({ model, clients, loss: 'softmaxCrossEntropy', rounds: 10, aggregation: 'masks' })
 * const { rounds } = await federation.fit()
 */
export class Federation {
  readonly model: tf.LayersModel
  readonly strategy: Strategy
  readonly aggregation: Aggregation
  readonly #options: FederationOptions
  readonly #row: ReturnType<typeof lossRow>
  readonly #local: LocalTerms
  readonly #weighting: Weighting
  readonly #deadline: number
  readonly #seed: number
  readonly #clients = new Map<string, FederatedClient>()
  #privacy: ClientPrivacy | null = null
  #round = 0
  #state: FederationState['state'] = {}
  #best: FederationState['best'] = null

  /** @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE`, `ERR_SHAPE`, `ERR_NOT_COLLOCATED` for options that do not fit */
  constructor(options: FederationOptions) {
    const entry = 'Federation'
    checkOptions(entry, options, OPTIONS)
    const { model, clients, loss, strategy = fedAvg(), aggregation = 'masks', rounds, weighting, privacy } = options
    const wrong = (message: string) => sottoError('ERR_ARGUMENT_VALUE', `${entry}: ${message}`, { entry })
    if (!(model instanceof tf.LayersModel)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "model" expected a tf.LayersModel`, { option: 'model' })
    }
    if (!Array.isArray(clients) || clients.length === 0) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "clients" expected a list of { worker, x, y }`, {
        option: 'clients',
      })
    }
    if (weighting !== undefined && weighting !== 'examples' && weighting !== 'equal') {
      throw wrong("\"weighting\" expected 'examples' or 'equal'")
    }
    if (privacy !== undefined && weighting === 'examples') throw wrong('with "privacy", clients count as \'equal\'')
    if (privacy !== undefined && options.evaluateAtClients) {
      throw wrong('with "privacy", clients do not evaluate: what they found would come without noise')
    }
    this.model = model
    this.strategy = checkStrategy(entry, strategy)
    this.#options = options
    this.#row = lossRow(entry, loss)
    this.#local = checkLocal(entry, options.local)
    this.#weighting = privacy !== undefined ? 'equal' : (weighting ?? 'examples')
    this.#deadline = numberOption(entry, 'deadline', options.deadline ?? DEADLINE, { above: 0 })
    this.#seed = numberOption(entry, 'seed', options.seed ?? 0, { from: 0, to: MOST_SEED, integer: true })
    numberOption(entry, 'rounds', rounds, { from: 0, integer: true })
    numberOption(entry, 'failures', options.failures ?? 0, { from: 0, integer: true })
    for (const client of clients) this.join(client)
    const workers = clients.map(({ worker }) => worker)
    this.aggregation = aggregationOf(entry, aggregation, workers)
    if (this.strategy.combine !== undefined && !this.aggregation.inClear) {
      throw wrong(
        `the strategy ${this.strategy.name} looks at what each client sends, which ${this.aggregation.name} hides; ` +
          "take aggregation: 'clear', or another strategy",
      )
    }
    this.aggregation.check?.(this.#context(undefined).clients)
    if (privacy !== undefined) this.#privacy = this.#privacyOf(privacy)
    const { draw } = options.sampling ?? {}
    if (draw !== undefined && typeof draw !== 'function') {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "draw" expected a function`, { entry, option: 'draw' })
    }
    // A sample that cannot be drawn is found out now.
    sampleClients(this.#sampling(), [...this.#clients.keys()], 0)
  }

  /** Rounds that are done. */
  get round(): number {
    return this.#round
  }
  /** Workers of the clients, by name. */
  get clients(): readonly string[] {
    return [...this.#clients.keys()]
  }

  /** Takes a client in, from the next round on. @throws StateError `ERR_ID_TAKEN` when there is one of that worker */
  join(client: FederatedClient): void {
    checkClient('Federation', client)
    const { id } = client.worker
    if (this.#clients.has(id)) throw sottoError('ERR_ID_TAKEN', `Federation: ${id} is a client already`, { id })
    this.#clients.set(id, client)
  }

  /** A client takes part no longer, from the next round on. */
  leave(id: string): void {
    if (!this.#clients.delete(id)) throw sottoError('ERR_NOT_FOUND', `Federation: ${id} is no client`, { id })
  }

  /**
   * Trains for as many rounds as are left.
   *
   * @throws StateError `ERR_COHORT` when rounds have failed, and more in a row than `failures`; the model is as it was
   *   before, and `fit` may be called again
   */
  async fit({ signal }: { readonly signal?: AbortSignal } = {}): Promise<FederationResult> {
    const results: RoundResult[] = []
    let failures = 0
    while (this.#round < this.#options.rounds) {
      const result = await this.#oneRound(signal)
      results.push(result)
      const isOver = this.#isOver(result)
      await this.#options.onRound?.(result)
      await this.#options.onCheckpoint?.(this.save(), this.#round)
      // A sample may come out too small where each client is drawn by itself: nothing has gone wrong then.
      const isDrawnSmall = this.#options.sampling?.poisson === true && result.asked.length < this.#minimum
      if (!isDrawnSmall) failures = result.failed === null ? 0 : failures + 1
      if (failures > (this.#options.failures ?? 0)) {
        throw sottoError('ERR_COHORT', `round ${result.round} failed: ${result.failed}`, { round: result.round })
      }
      if (isOver) return { rounds: results, stoppedEarly: true }
    }
    return { rounds: results, stoppedEarly: false }
  }

  /** Everything it takes to go on with another federation of the same options: see {@link restore}. */
  save(): Uint8Array {
    return encodeState({
      round: this.#round,
      strategy: this.strategy.name,
      weights: vectorOf(this.model.getWeights()),
      state: this.#state,
      spent: this.#privacy?.history ?? [],
      best: this.#best,
    })
  }

  /**
   * Goes on from what {@link save} gave. With the mean in clear, as if it had not been interrupted, bit for bit; masks
   * and shares round at random.
   *
   * @throws StateError `ERR_CHECKPOINT` for bytes that were changed, `ERR_CHECKPOINT_MISMATCH` for another strategy
   */
  restore(bytes: Uint8Array): void {
    const { round, strategy, weights, state, spent, best } = decodeState(bytes)
    if (strategy !== this.strategy.name) {
      throw sottoError('ERR_CHECKPOINT_MISMATCH', `the checkpoint is of ${strategy}, this is ${this.strategy.name}`)
    }
    setWeights(this.model, weights, false)
    if (this.#options.privacy !== undefined) this.#privacy = this.#privacyOf(this.#options.privacy, spent)
    this.#round = round
    this.#state = state
    this.#best = best
  }

  /** Frees what aggregation holds on workers. The model is the caller's. */
  dispose(): void {
    this.aggregation.dispose()
  }

  get #minimum(): number {
    return this.#options.sampling?.minimum ?? 1
  }
  #sampling(): SamplingOptions {
    const { draw: _, ...sampling } = this.#options.sampling ?? {}
    return { fraction: 1, seed: this.#seed, ...sampling }
  }

  /** @throws StateError `ERR_COHORT`, `ERR_NOT_FOUND`; `ERR_ARGUMENT_VALUE` for a client that is named twice */
  async #draw(number: number): Promise<readonly string[]> {
    const { draw } = this.#options.sampling ?? {}
    if (draw === undefined) return sampleClients(this.#sampling(), this.clients, number)
    const drawn = await draw(this.clients, number)
    for (const [i, id] of drawn.entries()) {
      if (!this.#clients.has(id))
        throw sottoError('ERR_NOT_FOUND', `Federation: ${id} was drawn, and is no client`, { id })
      if (drawn.indexOf(id) < i) throw sottoError('ERR_ARGUMENT_VALUE', `Federation: ${id} was drawn twice`, { id })
    }
    return drawn
  }

  #privacyOf(
    privacy: NonNullable<FederationOptions['privacy']>,
    history: FederationState['spent'] = [],
  ): ClientPrivacy {
    // Of a sample of a fixed size the accountant knows nothing: it counts as if all took part.
    const { fraction, poisson = false } = this.#sampling()
    const clients = this.#clients.size
    return new ClientPrivacy({ ...privacy, clients, ...(poisson ? { perRound: fraction * clients } : {}), history })
  }

  #context(signal: AbortSignal | undefined): AggregationContext {
    const clients = [...this.#clients.values()]
    return {
      clients: clients
        .filter(({ worker }) => !worker.isClosed)
        .map((client) => ({ worker: client.worker, weight: this.#weightOf(client) })),
      minimum: this.#minimum,
      deadline: this.#deadline,
      ...(signal ? { signal } : {}),
    }
  }

  #weightOf(client: FederatedClient): number {
    return this.#weighting === 'equal' ? 1 : countOf(client)
  }

  async #oneRound(signal: AbortSignal | undefined): Promise<RoundResult> {
    const start = performance.now()
    const number = this.#round
    const missing: Missing[] = []
    let asked: readonly string[] = []
    let context = this.#context(signal)
    let mean: Mean | null = null
    let failed: string | null = null
    try {
      asked = await this.#draw(number)
      // Those there are now.
      context = this.#context(signal)
      checkEnough(asked.length, context.minimum, missing)
      mean = await this.#train(asked, number, context, missing)
      // Noise was made for all who were asked.
      this.#privacy?.record(mean.contributors.length, asked.length)
      this.#step(mean.mean, number)
      missing.push(...mean.missing)
    } catch (error) {
      if (!isSottoError(error) || error.code !== 'ERR_COHORT') throw error
      failed = error.message
    }
    this.#round++
    const contributors = mean?.contributors ?? []
    const metrics = {
      ...(this.#options.evaluateAtClients && mean !== null ? await this.#evaluate(contributors, context) : {}),
      ...((await this.#options.evaluate?.(this.model, number + 1)) ?? {}),
    }
    return {
      round: number + 1,
      rounds: this.#options.rounds,
      asked,
      contributors,
      missing: missing.map(({ worker, reason }) => ({
        worker,
        code: isSottoError(reason) ? reason.code : 'ERR_OPERATION',
        reason: reason.message,
      })),
      failed,
      metrics,
      bytesUp: Math.round(mean?.bytesUp ?? 0),
      ms: performance.now() - start,
      epsilon: this.#privacy?.spent().epsilon ?? null,
    }
  }

  /** The mean of what clients send, who train at the same time. */
  #train(asked: readonly string[], number: number, context: AggregationContext, missing: Missing[]): Promise<Mean> {
    return scope(async () => {
      const contributions = asked.flatMap((id, i): Contribution[] => {
        const client = this.#clients.get(id)!
        try {
          const values = this.#part(client, number * this.#clients.size + i, asked.length)
          return [{ worker: client.worker, values, weight: this.#weightOf(client) }]
        } catch (error) {
          // A session that has ended takes no command.
          missing.push({ worker: id, reason: error as Error })
          return []
        }
      })
      const there = await this.#finished(contributions, context, missing)
      checkEnough(there.length, context.minimum, missing)
      const { combine } = this.strategy
      if (combine === undefined) return this.aggregation.mean(there, context)
      const { values, weights, ...rest } = await this.aggregation.each!(there, context)
      return { mean: combine(values, weights), ...rest }
    })
  }

  #part(client: FederatedClient, turn: number, taking: number): PointerTensor[] {
    const round = { model: this.model, row: this.#row, local: this.#local, strategy: this.strategy }
    const values = trainLocally(client, { ...round, seed: (this.#seed * TURNS + (turn % TURNS)) * PASSES })
    if (this.#privacy === null) return values
    return clippedAndNoisy(values, this.#privacy.clip, this.#privacy.noise(taking).each)
  }

  /** Those who have trained in time. */
  async #finished(
    contributions: readonly Contribution[],
    context: AggregationContext,
    missing: Missing[],
  ): Promise<Contribution[]> {
    const byWorker = new Map(contributions.map((contribution) => [contribution.worker, contribution]))
    const there = await askAll([...byWorker.keys()], context, missing, (worker, wait) => worker.flush(wait))
    return there.map(({ worker }) => byWorker.get(worker)!)
  }

  #step(mean: Float64Array, number: number): void {
    const isOfGradients = this.strategy.sends === 'gradient'
    const before = vectorOf(weightsOf(this.model, isOfGradients))
    const { weights, state } = this.strategy.step(before, mean, this.#state, number)
    setWeights(this.model, weights, isOfGradients)
    this.#state = state
  }

  async #evaluate(ids: readonly string[], context: AggregationContext): Promise<Metrics> {
    const clients = ids.map((id) => this.#clients.get(id)!)
    const [loss, accuracy] = await scope(async () => {
      const contributions = clients.map((client) => ({
        worker: client.worker,
        values: evaluateLocally(client, { model: this.model, row: this.#row }),
        weight: this.#weightOf(client),
      }))
      return [...(await this.aggregation.mean(contributions, context)).mean]
    })
    return { clientLoss: loss!, ...(accuracy === undefined ? {} : { clientAccuracy: accuracy }) }
  }

  /** Whether a metric has not got better for long enough. */
  #isOver({ round, metrics, failed }: RoundResult): boolean {
    const { earlyStop } = this.#options
    if (earlyStop === undefined || failed !== null) return false
    const { metric, patience, better = 'higher' } = earlyStop
    const value = metrics[metric]
    if (value === undefined) {
      const known = Object.keys(metrics).join(', ') || 'none'
      throw sottoError('ERR_ARGUMENT_VALUE', `Federation: there is no metric "${metric}"; there are ${known}`, {
        metric,
      })
    }
    const isBetter = this.#best === null || (better === 'higher' ? value > this.#best.value : value < this.#best.value)
    if (isBetter) this.#best = { value, round }
    return round - this.#best!.round >= patience
  }
}
