/** Training of models in secret, over epochs; and how well they do, as one number. */
import { batches } from '../../data/batches.ts'
import { SeededRandom } from '../../data/random.ts'
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { noGrad, scope, unscoped } from '../../tensor/context.ts'
import { sequenceOf } from '../layer-rules.ts'
import type { Cost } from '../protocols/protocol.ts'
import type { SharedTensor } from '../shared-tensor.ts'
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
  /** Means over its rows of what was opened of each batch; null where nothing was. */
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
  return { epochs, batchSize, shuffle, seed, opens: opens as readonly Opened[], onBatch, onEpoch, signal }
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
  const training = new Training(parts, stepper)
  const { batchSize, epochs, shuffle, seed, opens, onBatch, onEpoch, signal } = settings
  const results: SecretEpochInfo[] = []
  try {
    for (let epoch = 1; epoch <= epochs; epoch++) {
      const began = performance.now()
      const order = 1000 * seed + epoch
      const all = [...batches(count, shuffle ? { batchSize, seed: order } : { batchSize })]
      const seeds = new SeededRandom(order)
      const sums = { loss: 0, hits: 0, cost: NOTHING }
      const issued: Issued[] = []
      const take = async (): Promise<void> => {
        const { batch, rows, cost, done } = issued.shift()!
        const { loss, hits } = await done
        sums.loss += (loss ?? 0) * rows
        sums.hits += hits ?? 0
        sums.cost = added(sums.cost, cost)
        const accuracy = hits === null ? null : hits / rows
        await onBatch?.({ epoch, batch, batches: all.length, loss, accuracy, cost })
      }
      for (const [i, rows] of all.entries()) {
        if (signal?.aborted) {
          while (issued.length > 0) await take()
          throw sottoError('ERR_ABORTED', 'fit: given up, by its signal', { epoch, batch: i }, signal.reason)
        }
        issued.push(training.issue({ examples, labels, rows, batch: i + 1, seed: seeds.uint32(), opens }))
        if (issued.length > IN_FLIGHT) await take()
      }
      while (issued.length > 0) await take()
      const mean = (what: Opened, sum: number): number | null => (opens.includes(what) ? sum / count : null)
      results.push({
        epoch,
        loss: mean('loss', sums.loss),
        accuracy: mean('accuracy', sums.hits),
        ms: performance.now() - began,
        cost: sums.cost,
      })
      await onEpoch?.(results.at(-1)!)
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
class Training {
  readonly #parts: ModelParts
  readonly #stepper: Stepper
  readonly #slots = new Map<number, Slots>()
  step = 0

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

  /** Takes the weights and slots over. */
  #keep({ values, slots }: BatchResult): void {
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
