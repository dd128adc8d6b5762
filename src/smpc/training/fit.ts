/** Training of models in secret, over epochs; and how well they do, as one number. */
import { batches } from '../../data/batches.ts'
import { SeededRandom } from '../../data/random.ts'
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { noGrad, scope, unscoped } from '../../tensor/context.ts'
import { checkJobName } from '../consent.ts'
import { showEncoding } from '../encoding.ts'
import { sequenceOf } from '../layer-rules.ts'
import type { Cost } from '../protocols/protocol.ts'
import type { SharedTensor } from '../shared-tensor.ts'
import { type SecretCheckpointOptions, SecretCheckpoints, type SecretState } from './checkpoints.ts'
import type { SecretLoss } from './losses.ts'
import { ruleOf, type SecretOptimizer, type Slots } from './optimizers.ts'
import { pairedRows, rowsAt, type SecretRows } from './rows.ts'
import {
  type BatchResult,
  hitsOf,
  layersInRow,
  type ModelParts,
  measured,
  numberIn,
  type Opened,
  Stepper,
} from './step.ts'

export interface SecretBatchInfo {
  readonly epoch: number
  /** Number of the batch in its epoch, from 1, and of how many. */
  readonly batch: number
  readonly batches: number
  /** Its mean loss with the weights that it met; null unless the job opens it. */
  readonly loss: number | null
  /** The share of its rows that those weights got right; null unless the job opens it. */
  readonly accuracy: number | null
  /** What the batch cost: rounds that wait for one another, and bytes. */
  readonly cost: Cost
}

export interface SecretEpochInfo {
  readonly epoch: number
  /** Means of what was opened of each batch, over the rows trained on since fit began; null where nothing was. */
  readonly loss: number | null
  readonly accuracy: number | null
  /** Milliseconds that it took. */
  readonly ms: number
  /** Of all its batches. */
  readonly cost: Cost
}

export interface SecretFitOptions {
  /** By name and settings, as `{ kind: 'sgd', learningRate: 0.1 }`. */
  readonly optimizer: SecretOptimizer
  readonly loss: SecretLoss
  /** Passes over the examples; 1 unless given. */
  readonly epochs?: number
  /** 128 unless given; the last batch of an epoch has what is left. */
  readonly batchSize?: number
  /**
   * Whether each epoch has an order of its own, which follows from the seed and its number: everybody may know it, it is of
   * row numbers alone. Default: true.
   */
  readonly shuffle?: boolean
  /** From 0 to 2^40; 0 unless given. What dropout draws follows from it too. */
  readonly seed?: number
  /**
   * What is opened of each batch, to the caller and nobody else: its mean loss, the share of its rows that were got right.
   * Nothing, unless given. The rules of those whose data it is hold: where they refuse, the training ends with their refusal.
   */
  readonly opens?: readonly Opened[]
  /** Called in the order of the batches, once all parties have carried each out. A promise is waited for. */
  readonly onBatch?: (info: SecretBatchInfo) => void | Promise<void>
  readonly onEpoch?: (info: SecretEpochInfo) => void | Promise<void>
  /**
   * Who has to consent before anything that comes of this job is opened, the model too, besides those whose private data it is
   * made of: identities, each of which gives consent at all parties by `giveConsent`. Holds from now on, for as long as the
   * parties hold the shares, and for what is restored from checkpoints.
   */
  readonly consent?: {
    /** Name of the job, by which those who consent know it. */
    readonly job: string
    readonly of: readonly string[]
  }
  /**
   * Keeps the training where it is: each party keeps its own shares, of weights and of what the optimizer keeps, where its
   * worker keeps checkpoints. Nobody has a secret as a whole. Beside them stand the numbers of epoch, batch and update, the
   * seed and the settings, which are public.
   */
  readonly checkpoint?: SecretCheckpointOptions
  /** Ends the training with `ERR_ABORTED` between two batches: what was begun is carried out. */
  readonly signal?: AbortSignal
}

export interface SecretFitResult {
  /** Those that were trained on now. */
  readonly epochs: readonly SecretEpochInfo[]
  /** Updates that the weights have had. */
  readonly steps: number
}

/** Orders of epochs take a thousand seeds each. */
const LARGEST_SEED = 2 ** 40
/** Batches that the parties may be at before the next is issued: they need not wait for the caller. */
const IN_FLIGHT = 2

const names = [
  'optimizer',
  'loss',
  'epochs',
  'batchSize',
  'shuffle',
  'seed',
  'opens',
  'onBatch',
  'onEpoch',
  'consent',
  'checkpoint',
  'signal',
] as const satisfies readonly (keyof SecretFitOptions)[]

function checked(options: SecretFitOptions) {
  checkOptions('fit', options, names)
  const { epochs = 1, batchSize = 128, shuffle = true, seed = 0, opens = [], onBatch, onEpoch, signal } = options
  numberOption('fit', 'epochs', epochs, { integer: true, from: 1 })
  numberOption('fit', 'batchSize', batchSize, { integer: true, from: 1 })
  numberOption('fit', 'seed', seed, { integer: true, from: 0, to: LARGEST_SEED })
  if (typeof shuffle !== 'boolean') {
    throw sottoError('ERR_ARGUMENT_TYPE', 'fit: "shuffle" expected true or false', { option: 'shuffle' })
  }
  if (!Array.isArray(opens) || !opens.every((one) => one === 'loss' || one === 'accuracy')) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'fit: "opens" expected a list of loss and accuracy', { option: 'opens' })
  }
  const { consent } = options
  if (consent !== undefined) {
    checkOptions('fit: "consent"', consent, ['job', 'of'])
    checkJobName('fit: "consent"', consent.job)
    const isList = Array.isArray(consent.of) && consent.of.length > 0
    if (!isList || !consent.of.every((owner) => typeof owner === 'string' && owner !== '')) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'fit: "consent" expected { job, of } with a list of identities', {
        option: 'consent',
      })
    }
  }
  return { epochs, batchSize, shuffle, seed, opens: opens as readonly Opened[], onBatch, onEpoch, consent, signal }
}

/** A batch that the parties are at. */
interface Issued {
  readonly batch: number
  readonly rows: number
  readonly cost: Cost
  readonly done: Promise<{ readonly loss: number | null; readonly hits: number | null }>
}

const added = (a: Cost, b: Cost): Cost => ({
  rounds: a.rounds + b.rounds,
  bytes: a.bytes + b.bytes,
  provider: a.provider + b.provider,
})
const NOTHING: Cost = { rounds: 0, bytes: 0, provider: 0 }

/** Trains a model in secret; see `SharedModel.fit`. */
export async function fit(
  parts: ModelParts,
  x: SecretRows,
  y: SecretRows,
  options: SecretFitOptions,
): Promise<SecretFitResult> {
  const settings = checked(options)
  const rule = ruleOf(options.optimizer)
  const stepper = new Stepper(parts, rule, options.loss)
  const { examples, labels, count } = pairedRows('fit', x, y)
  const { batchSize, epochs, shuffle, seed, opens, onBatch, onEpoch, consent, signal } = settings
  const optimizer = { kind: rule.kind, ...rule.config }
  const encodings = parts.weights.map(({ tensor }) => showEncoding(tensor.encoding))
  const course = { batchSize, shuffle, seed, count, loss: options.loss, optimizer, encodings }
  const checkpoints = options.checkpoint && new SecretCheckpoints(parts, rule, course, options.checkpoint)
  const training = new Training(parts, stepper)
  const results: SecretEpochInfo[] = []
  try {
    const from = (await checkpoints?.restore(training)) ?? { epoch: 1, batch: 0 }
    if (consent !== undefined) training.guard(consent.job, consent.of)
    for (let { epoch } = from; epoch <= epochs; epoch++) {
      const began = performance.now()
      const order = 1000 * seed + epoch
      const all = [...batches(count, shuffle ? { batchSize, seed: order } : { batchSize })]
      const seeds = new SeededRandom(order)
      const sums = { loss: 0, hits: 0, rows: 0, cost: NOTHING }
      const issued: Issued[] = []
      const take = async (): Promise<void> => {
        const { batch, rows, cost, done } = issued.shift()!
        const { loss, hits } = await done
        sums.loss += (loss ?? 0) * rows
        sums.hits += hits ?? 0
        sums.rows += rows
        sums.cost = added(sums.cost, cost)
        const accuracy = hits === null ? null : hits / rows
        await onBatch?.({ epoch, batch, batches: all.length, loss, accuracy, cost })
      }
      const start = epoch === from.epoch ? from.batch : 0
      for (const [i, rows] of all.entries()) {
        const drawn = seeds.uint32()
        if (i < start) continue
        if (signal?.aborted) {
          while (issued.length > 0) await take()
          throw sottoError('ERR_ABORTED', 'fit: given up, by its signal', { epoch, batch: i }, signal.reason)
        }
        issued.push(training.issue({ examples, labels, rows, batch: i + 1, seed: drawn, opens }))
        if (issued.length > IN_FLIGHT) await take()
        if (checkpoints?.isDue(i + 1) && i + 1 < all.length) {
          while (issued.length > 0) await take()
          await checkpoints.save(training, { epoch, batch: i + 1 })
        }
      }
      while (issued.length > 0) await take()
      const mean = (what: Opened, sum: number): number | null => (opens.includes(what) ? sum / sums.rows : null)
      results.push({
        epoch,
        loss: mean('loss', sums.loss),
        accuracy: mean('accuracy', sums.hits),
        ms: performance.now() - began,
        cost: sums.cost,
      })
      await onEpoch?.(results.at(-1)!)
      await checkpoints?.save(training, { epoch: epoch + 1, batch: 0 })
    }
    return { epochs: results, steps: training.step }
  } finally {
    training.dispose()
  }
}

interface BatchOf {
  readonly examples: readonly SharedTensor[]
  readonly labels: readonly SharedTensor[]
  readonly rows: Int32Array
  readonly batch: number
  readonly seed: number
  readonly opens: readonly Opened[]
}

/** A model with what its optimizer keeps. */
class Training implements SecretState {
  readonly #parts: ModelParts
  readonly #stepper: Stepper
  readonly #slots = new Map<number, Slots>()
  step = 0

  get slots(): ReadonlyMap<number, Slots> {
    return this.#slots
  }

  constructor(parts: ModelParts, stepper: Stepper) {
    this.#parts = parts
    this.#stepper = stepper
  }

  /** Issues one batch: the weights are those after it from now on. */
  issue({ examples, labels, rows, batch, seed, opens }: BatchOf): Issued {
    const { weights } = this.#parts
    return unscoped(() =>
      scope(() => {
        const [x, y] = [rowsAt(examples, rows), rowsAt(labels, rows)]
        const kept = [...this.#slots.values()].flatMap((slots) => Object.values(slots))
        const operands = [x, y, ...weights.map(({ tensor }) => tensor), ...kept]
        const input = { x, y, slots: this.#slots, step: ++this.step, seed, opens }
        const { result, cost } = measured(() => this.#stepper.run(input), operands)
        this.#keep(result)
        return { batch, rows: rows.length, cost, done: this.#done(result) }
      }),
    )
  }

  /** Has owners consent before anything that comes of this is opened. */
  guard(job: string, owners: readonly string[]): void {
    const secrets = [
      ...this.#parts.weights.map(({ tensor }) => tensor),
      ...[...this.#slots.values()].flatMap(Object.values),
    ]
    const { group } = secrets[0]!
    group.tell('secretGuard', () => ({ group: group.id, ids: secrets.map(({ id }) => id), job, owners }))
  }

  /** Puts what was restored in the place of what is there. */
  replace(state: Pick<BatchResult, 'values' | 'slots'> & { readonly step: number }): void {
    this.#keep(state)
    this.step = state.step
  }

  /** Takes the weights and slots over. */
  #keep({ values, slots }: Pick<BatchResult, 'values' | 'slots'>): void {
    for (const [at, value] of values) this.#parts.weights[at]!.tensor.assign(value)
    for (const [at, next] of slots) {
      const before = Object.values(this.#slots.get(at) ?? {})
      this.#slots.set(at, Object.fromEntries(Object.entries(next).map(([name, slot]) => [name, slot.alias()])))
      for (const slot of before) slot.dispose()
    }
  }

  /** Waits until all parties have carried it out. */
  #done({ loss, hits }: BatchResult): Issued['done'] {
    const [kept] = this.#parts.weights
    const flushed = kept!.tensor.parties.map((party) => party.flush())
    const opened = [loss, hits].map((secret) => (secret === null ? null : numberIn(secret)))
    const done = Promise.all([...opened, ...flushed]).then(([first, second]) => ({
      loss: (first ?? null) as number | null,
      hits: (second ?? null) as number | null,
    }))
    // It is looked at later.
    done.catch(() => {})
    return done
  }

  dispose(): void {
    for (const slots of this.#slots.values()) for (const slot of Object.values(slots)) slot.dispose()
    this.#slots.clear()
  }
}

export interface SecretEvaluateOptions {
  /** Rows computed on together; 256 unless given. */
  readonly batchSize?: number
  /** Of models with one output: above it, it says yes. 0 unless given, and of one that ends in sigmoid 1/2. */
  readonly threshold?: number
}

/** How many rows a model gets right: all that is opened. */
export interface SecretEvaluation {
  readonly hits: number
  readonly count: number
  readonly accuracy: number
}

/** Counts in secret; see `SharedModel.evaluate`. */
export async function evaluate(
  parts: ModelParts,
  x: SecretRows,
  y: SecretRows,
  scoresOf: (x: SharedTensor, isLastStep: boolean) => SharedTensor,
  options: SecretEvaluateOptions = {},
): Promise<SecretEvaluation> {
  checkOptions('evaluate', options, ['batchSize', 'threshold'])
  const { batchSize = 256, threshold } = options
  numberOption('evaluate', 'batchSize', batchSize, { integer: true, from: 1 })
  if (threshold !== undefined) numberOption('evaluate', 'threshold', threshold)
  const { examples, labels, count } = pairedRows('evaluate', x, y)
  // What keeps the order of scores need not be computed.
  const ending = sequenceOf(layersInRow('evaluate', parts)).at(-1)?.activation ?? null
  const isLeftOut = ending === 'softmax' || (ending === 'sigmoid' && threshold === undefined)
  let total: SharedTensor | undefined
  const add = (rows: Int32Array, before: SharedTensor | undefined): SharedTensor => {
    const scores = scoresOf(rowsAt(examples, rows), isLeftOut)
    const hits = hitsOf(scores, rowsAt(labels, rows), threshold ?? 0)
    return before === undefined ? hits : before.add(hits)
  }
  try {
    for (const rows of batches(count, { batchSize })) {
      const before: SharedTensor | undefined = total
      const sum = unscoped(() => scope(() => noGrad(() => add(rows, before))))
      before?.dispose()
      total = sum
      await Promise.all(sum.parties.map((party) => party.flush()))
    }
    const hits = await numberIn(total!)
    return { hits, count, accuracy: hits / count }
  } finally {
    total?.dispose()
  }
}
