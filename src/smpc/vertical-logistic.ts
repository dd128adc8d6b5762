/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Logistic regression on a table whose columns are with several owners, in secret from the first sum to the last.
 *
 * With the columns X_k of owner k and the weights w_k that belong to them, a batch of b rows is one step of gradient
 * descent:
 *
 *     u = Σ_k X_k·w_k + c,   p = σ(u),   r = p − y,   w_k ← w_k − η·(X_kᵀ·r / b + λ·w_k),   c ← c − η·Σr / b
 *
 * as in S. Hardy et al., "Private federated learning on vertically partitioned data via entity resolution and additively
 * homomorphic encryption", arXiv:1711.10677, which encrypts what passes under the key of a coordinator. Here nobody has a
 * key: columns and labels are shared by their owners' workers, weights are shares from the start, and no sum, prediction,
 * residual or gradient is opened. What a step opened would tell something of the labels: d_k numbers of X_kᵀ·r a step, for
 * an owner who knows X_k, are equations for r.
 */
import { batches } from '../data/batches.ts'
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { noGrad, scope, unscoped } from '../tensor/context.ts'
import type { Location } from '../tensor/location.ts'
import { numberOf } from '../tensor/losses.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import { showShape } from '../tensor/shape.ts'
import { Worker } from '../worker/worker.ts'
import { fixedEncoding, type PrecisionOptions } from './encoding.ts'
import { Group, type GroupOptions, type GroupStats } from './group.ts'
import type { Cost } from './protocols/protocol.ts'
import { fixPrecision, share, sharedZeros } from './share.ts'
import { SharedTensor } from './shared-tensor.ts'

/** Row i of every tensor is about the same one; see `alignedDataset`. */
export interface VerticalData {
  /** Columns of each owner, `[rows, columns]` each, of numbers of the size of 1: standardised, say. */
  readonly x: readonly PointerTensor[]
  /** Labels of one owner, each 0 or 1: `[rows]` or `[rows, 1]`. */
  readonly y: PointerTensor
}

type Activation = (u: SharedTensor) => SharedTensor

/** What stands for 1 / (1 + e^−u). */
const sigmoids = {
  /** The function itself, within 1.5 units: see `functions.ts`. */
  smooth: (u) => u.sigmoid(),
  /**
   * u + 1/2, cut to [0, 1] (P. Mohassel, Y. Zhang, "SecureML", S&P 2017): two comparisons in place of twenty.
   * Weights become others.
   */
  piecewise: (u) => {
    const [above, beyond] = u.add(0.5).stack(u.sub(0.5)).relu().unstack(0)
    return above!.sub(beyond!)
  },
} as const satisfies Record<string, Activation>

export type SecretSigmoid = keyof typeof sigmoids

export interface VerticalLogisticOptions extends GroupOptions, PrecisionOptions {
  /** `smooth`: within 1.5 units of the sigmoid; `piecewise`: three straight pieces, cheaper. `smooth` unless given. */
  readonly sigmoid?: SecretSigmoid
}

export interface VerticalFitOptions {
  readonly learningRate: number
  /** Passes over the rows; 1 unless given. */
  readonly epochs?: number
  /** 64 unless given; the last batch of an epoch has what is left. */
  readonly batchSize?: number
  /**
   * Whether each epoch has an order of its own, which follows from the seed and its number, as that of `SplitNN.fit`.
   */
  readonly shuffle?: boolean
  /** From 0 to 2^40; 0 unless given. */
  readonly seed?: number
  /** λ of λ/2·|w|², without c. 0 unless given. */
  readonly l2?: number
  /** Called after each epoch. A promise is waited for. */
  readonly onEpoch?: (info: VerticalEpochInfo) => void | Promise<void>
  /** Ends the training with `ERR_ABORTED` between two batches: what was begun is carried out. */
  readonly signal?: AbortSignal
}

export interface VerticalEpochInfo {
  readonly epoch: number
  /** Milliseconds that it took. */
  readonly ms: number
  /** What its first batch cost: rounds that wait for one another, and bytes. */
  readonly cost: Cost
}

export interface VerticalEvaluation {
  /** Mean cross entropy over the rows. */
  readonly loss: number
  /** Part of the rows whose label was hit. */
  readonly accuracy: number
  readonly rows: number
}

/** Orders of epochs take a thousand seeds each. */
const LARGEST_SEED = 2 ** 40
/** Batches that the parties may be at before the next is issued: they need not wait for the caller. */
const IN_FLIGHT = 2
/** Rows computed on together, where nothing is learnt. */
const CHUNK = 512

const GROUP = ['provider', 'protocol'] as const
const PRECISION = ['base', 'precisionFractional'] as const

/** Those of the names that were given. */
const picked = <T extends object, N extends keyof T>(from: T, names: readonly N[]): Pick<T, N> =>
  Object.fromEntries(names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]))) as Pick<T, N>

/** One owner's weights: which rows of all the weights they are. */
interface Block {
  readonly owner: Location
  readonly from: number
  readonly columns: number
}

/**
 * A logistic regression whose weights are secret, and belong to the owners of the columns.
 *
 * Who learns what: parties and provider learn shapes and the public settings (order of batches, learning rate), and
 * nothing of a value. An owner learns its own weights once `weights()` opens them to it, to nobody else. The owner of
 * the labels learns c from `bias()`, and from each `evaluate` the mean loss and the share of hits. The caller learns
 * what the owners' policies let it `fetch`. Semi-honest; see `SharedTensor`.
 *
 * Values that are private go along with their owners' policies: each must name the parties and the provider in
 * `allowShares`, and the other owners, to whom weights are opened that its data has a part in, in `allowResults`.
 */
export class VerticalLogisticRegression {
  readonly #parties: readonly Location[]
  readonly #group: GroupOptions
  readonly #precision: PrecisionOptions
  readonly #activation: Activation
  #blocks: readonly Block[] = []
  #labelOwner: Location | null = null
  /** All weights one below the other, `[columns, 1]`, and c, `[1, 1]`. */
  #weights: SharedTensor | null = null
  #bias: SharedTensor | null = null

  /**
   * @param parties who holds the shares: of additive sharing two workers or more, with a provider; of replicated
   *   sharing three. The owners, or others
   * @throws PlacementError `ERR_PARTIES`, as `share` does
   */
  constructor(parties: readonly Location[], options: VerticalLogisticOptions = {}) {
    const entry = 'VerticalLogisticRegression'
    checkOptions(entry, options, [...GROUP, ...PRECISION, 'sigmoid'])
    const { sigmoid = 'smooth' } = options
    if (!Object.hasOwn(sigmoids, sigmoid)) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `${entry}: "sigmoid" expected one of ${Object.keys(sigmoids).join(', ')}`,
        {
          option: 'sigmoid',
        },
      )
    }
    this.#parties = parties
    this.#group = picked(options, GROUP)
    this.#precision = picked(options, PRECISION)
    this.#activation = sigmoids[sigmoid]
    this.#meet(entry)
  }

  /** Brings the parties together, or finds them together. */
  #meet(entry: string): Group {
    return Group.of(entry, this.#parties, this.#group, fixedEncoding(entry, this.#precision).ring)
  }

  /**
   * Trains on rows, batch by batch, from zeros, or from where an earlier call has ended. Rounds of a batch, of additive
   * sharing: 17, or 13 with the sigmoid in three pieces; as many however many owners there are.
   *
   * @throws RangeError `ERR_SHAPE` when owners have different numbers of rows, or other columns than before; and what
   *   owners refuse: PermissionError
   */
  async fit(
    data: VerticalData,
    options: VerticalFitOptions,
  ): Promise<{ readonly epochs: readonly VerticalEpochInfo[] }> {
    const settings = checkedFit(options)
    const { epochs, batchSize, shuffle, seed, onEpoch, signal } = settings
    const count = this.#check('fit', data)
    this.#begin(data)
    const owners = [...data.x, data.y].map(({ location }) => location)
    const places = [...new Set([...this.#weights!.parties, ...owners.filter((owner) => owner instanceof Worker)])]
    const { x, y } = unscoped(() => scope(() => ({ x: this.#shared(data.x), y: this.#labels(data.y) })))
    const results: VerticalEpochInfo[] = []
    const issued: Promise<unknown>[] = []
    try {
      for (let epoch = 1; epoch <= epochs; epoch++) {
        const began = performance.now()
        let cost: Cost | undefined
        for (const rows of batches(count, shuffle ? { batchSize, seed: 1000 * seed + epoch } : { batchSize })) {
          if (signal?.aborted) {
            await Promise.all(issued.splice(0))
            throw sottoError('ERR_ABORTED', 'fit: given up, by its signal', { epoch }, signal.reason)
          }
          const spent = unscoped(() => scope(() => noGrad(() => this.#step(x.gather(rows), y.gather(rows), settings))))
          cost ??= spent
          const done = Promise.all(places.map((place) => place.flush()))
          // It is looked at later.
          done.catch(() => {})
          issued.push(done)
          if (issued.length > IN_FLIGHT) await issued.shift()
        }
        await Promise.all(issued.splice(0))
        results.push({ epoch, ms: performance.now() - began, cost: cost! })
        await onEpoch?.(results.at(-1)!)
      }
      return { epochs: results }
    } finally {
      x.dispose()
      y.dispose()
    }
  }

  /** One step of descent; the weights are those after it from now on. */
  #step(x: SharedTensor, y: SharedTensor, { learningRate, l2 }: { learningRate: number; l2: number }): Cost {
    const [w, c] = [this.#weights!, this.#bias!]
    const rate = learningRate / x.shape[0]!
    const [nextWeights, nextBias] = SharedTensor.measured(() => {
      const residual = this.#activation(this.#predictor(x)).sub(y)
      const moved = w.sub(x.matMul(residual, true).mul(rate))
      const decayed = l2 === 0 ? moved : moved.sub(w.mul(learningRate * l2))
      return [decayed, c.sub(residual.sum(0, true).mul(rate))]
    }, [x, y, w, c])
    w.assign(nextWeights!)
    c.assign(nextBias!)
    return nextWeights!.cost
  }

  /**
   * How well it does on rows. Computed in secret, and two sums are opened, to the owner of the labels: of the losses,
   * and of the hits.
   *
   * @param options.batchSize rows computed on together; 512 unless given
   * @returns both by the number of rows
   * @throws PermissionError when the caller may not see what is computed from the owners' data; or the owner of the
   *   labels may not
   */
  async evaluate(data: VerticalData, options: { batchSize?: number } = {}): Promise<VerticalEvaluation> {
    checkOptions('evaluate', options, ['batchSize'])
    const { batchSize = CHUNK } = options
    numberOption('evaluate', 'batchSize', batchSize, { integer: true, from: 1 })
    const count = this.#check('evaluate', data)
    this.#checkFitted('evaluate')
    const sums: { loss: SharedTensor; hits: SharedTensor }[] = []
    try {
      for (let at = 0; at < count; at += batchSize) {
        const rows = Math.min(batchSize, count - at)
        const sum = unscoped(() =>
          scope(() =>
            noGrad(() => {
              const { x, y } = this.#rowsOf(data, at, rows)
              const scored = scoredOn(this.#predictor(x), y)
              const before = sums.at(-1)
              return before === undefined
                ? scored
                : { loss: before.loss.add(scored.loss), hits: before.hits.add(scored.hits) }
            }),
          ),
        )
        for (const { loss, hits } of sums.splice(0)) for (const secret of [loss, hits]) secret.dispose()
        sums.push(sum)
        await Promise.all(sum.loss.parties.map((party) => party.flush()))
      }
      const opened = unscoped(() => [sums[0]!.loss, sums[0]!.hits].map((sum) => sum.revealTo(data.y.location)))
      try {
        const [loss, hits] = await Promise.all(opened.map(numberOf))
        return { loss: loss! / count, accuracy: hits! / count, rows: count }
      } finally {
        for (const pointer of opened) pointer.dispose()
      }
    } finally {
      for (const { loss, hits } of sums) for (const secret of [loss, hits]) secret.dispose()
    }
  }

  /**
   * The probabilities of 1 for rows, `[rows, 1]`, as a secret that no one knows: `revealTo` opens it to somebody.
   * Returns at once. Of `piecewise`, its three straight pieces.
   */
  predict(x: readonly PointerTensor[]): SharedTensor {
    this.#checkColumns('predict', x)
    this.#checkFitted('predict')
    return scope(() => noGrad(() => this.#activation(this.#predictor(this.#shared(x)))))
  }

  /**
   * Opens to each owner its own weights, to nobody else: of X_k, `[columns, 1]`, a pointer at its owner. What the data
   * of others has a part in is as private as theirs. Returns at once.
   *
   * @param options tags by which owners find them
   */
  weights(options: { tags?: readonly string[] } = {}): PointerTensor[] {
    this.#checkFitted('weights')
    return this.#blocks.map(({ owner, from, columns }) =>
      scope(() => this.#weights!.slice([from, 0], [columns, 1]).revealTo(owner, options)),
    )
  }

  /** Opens c to the owner of the labels, to nobody else: `[1, 1]`. */
  bias(options: { tags?: readonly string[] } = {}): PointerTensor {
    this.#checkFitted('bias')
    return this.#bias!.revealTo(this.#labelOwner!, options)
  }

  /** What the parties and the provider counted since they came together. */
  traffic(): Promise<GroupStats> {
    return this.#meet('traffic').stats()
  }

  /** Frees the shares of the weights. */
  dispose(): void {
    this.#weights?.dispose()
    this.#bias?.dispose()
    this.#weights = null
    this.#bias = null
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Parties and columns; never weights. */
  toString(): string {
    const columns = this.#blocks.map((block) => `${block.columns} columns of ${block.owner.id}`)
    const parties = this.#parties.map(({ id }) => id).join(', ')
    return `VerticalLogisticRegression on ${columns.join(' and ') || 'nothing yet'} among ${parties}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  /** u, of rows. */
  #predictor(x: SharedTensor): SharedTensor {
    return x.matMul(this.#weights!).add(this.#bias!)
  }

  /** Columns of all owners side by side, shared by their workers. */
  #shared(x: readonly PointerTensor[]): SharedTensor {
    const [first, ...rest] = x.map((own) => share(fixPrecision(own, this.#precision), this.#parties, this.#group))
    return rest.length === 0 ? first! : noGrad(() => first!.concat(rest, 1))
  }

  /** Labels as integers, `[rows, 1]`: differences to them are exact, and products take no rounding. */
  #labels(y: PointerTensor): SharedTensor {
    const whole = y.reshape([y.shape[0]!, 1]).cast('int32')
    return share(whole, this.#parties, this.#group)
  }

  #rowsOf({ x, y }: VerticalData, at: number, rows: number): { x: SharedTensor; y: SharedTensor } {
    const own = x.map((columns) => columns.slice([at, 0], [rows, columns.shape[1]!]))
    return { x: this.#shared(own), y: this.#labels(y.reshape([y.shape[0]!]).slice([at], [rows])) }
  }

  /** Zeros, the first time. */
  #begin({ x, y }: VerticalData): void {
    if (this.#weights !== null) return
    let from = 0
    this.#blocks = x.map(({ location, shape }) => {
      const block = { owner: location, from, columns: shape[1]! }
      from += block.columns
      return block
    })
    this.#labelOwner = y.location
    const options = { ...this.#group, ...this.#precision }
    this.#weights = unscoped(() => sharedZeros([from, 1], this.#parties, options))
    this.#bias = unscoped(() => sharedZeros([1, 1], this.#parties, options))
  }

  /** @returns how many rows there are */
  #check(entry: string, { x, y }: VerticalData): number {
    this.#checkColumns(entry, x)
    if (!(y instanceof PointerTensor)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "y" expected a pointer to labels`, { option: 'y' })
    }
    const [count] = x[0]!.shape
    if (y.shape[0] !== count || y.size !== count) {
      throw sottoError(
        'ERR_SHAPE',
        `${entry}: labels of shape ${showShape(y.shape)}, of ${count} rows; align tables by their ids: alignedDataset(…)`,
      )
    }
    if (count === 0) throw sottoError('ERR_SHAPE', `${entry}: there are no rows`)
    return count!
  }

  #checkColumns(entry: string, x: readonly PointerTensor[]): void {
    if (!Array.isArray(x) || x.length === 0 || !x.every((own) => own instanceof PointerTensor)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "x" expected a list of pointers, one of each owner`, {
        option: 'x',
      })
    }
    const shapes = x.map(({ shape }) => shape)
    const shown = shapes.map(showShape).join(', ')
    if (shapes.some((shape) => shape.length !== 2 || shape[0] !== shapes[0]![0])) {
      throw sottoError(
        'ERR_SHAPE',
        `${entry}: columns of shape ${shown}; expected [rows, columns], of the same rows: alignedDataset(…)`,
      )
    }
    if (this.#weights === null) return
    const isSame = ({ columns }: Block, i: number): boolean => columns === shapes[i]?.[1]
    if (shapes.length !== this.#blocks.length || !this.#blocks.every(isSame)) {
      const columns = this.#blocks.map((block) => block.columns).join(', ')
      throw sottoError('ERR_SHAPE', `${entry}: columns of shape ${shown}; it has weights for ${columns} columns`)
    }
  }

  #checkFitted(entry: string): void {
    if (this.#weights !== null) return
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: there are no weights yet, or no longer; fit() makes them`)
  }
}

/**
 * From u and labels, sums over rows: of −ln σ(m) with m = u where the label is 1, −u where it is 0; and of the rows
 * where u > 0 says what the label does. With k = max(−m, 0), |m| = m + 2k and −ln σ(m) = k + ln(1 + e^−|m|): nothing
 * overflows. Error of each loss: 3 units and 2^−23.
 */
function scoredOn(u: SharedTensor, y: SharedTensor): { loss: SharedTensor; hits: SharedTensor } {
  const m = u.mul(y.mul(2).sub(1))
  const k = m.neg().relu()
  const tail = m.add(k.mul(2)).neg().exp().add(1).log()
  const missed = u.greater(0).sub(y).square().sum()
  return { loss: k.add(tail).sum(), hits: missed.neg().add(u.shape[0]!) }
}

function checkedFit(options: VerticalFitOptions) {
  checkOptions('fit', options, ['learningRate', 'epochs', 'batchSize', 'shuffle', 'seed', 'l2', 'onEpoch', 'signal'])
  const { learningRate, epochs = 1, batchSize = 64, shuffle = true, seed = 0, l2 = 0, onEpoch, signal } = options
  numberOption('fit', 'learningRate', learningRate, { above: 0 })
  numberOption('fit', 'epochs', epochs, { integer: true, from: 0 })
  numberOption('fit', 'batchSize', batchSize, { integer: true, from: 1 })
  numberOption('fit', 'seed', seed, { integer: true, from: 0, to: LARGEST_SEED })
  numberOption('fit', 'l2', l2, { from: 0 })
  return { learningRate, epochs, batchSize, shuffle, seed, l2, onEpoch, signal }
}
