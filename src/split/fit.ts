/** Training of a split network over epochs: batches in flight, progress, checkpoints. */
import { batches } from '../data/batches.ts'
import { isSottoError, sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { scope, unscoped } from '../tensor/context.ts'
import { lossOfParts, numberOf } from '../tensor/losses.ts'
import type { PointerTensor } from '../tensor/pointer.ts'
import { lagsOf, Pipeline } from './pipeline.ts'
import { gathered, partsOf, type SplitData } from './rows.ts'
import type { SplitCheckpoint } from './saved.ts'
import type { Course, Stages } from './stages.ts'

/** How far a training has come. */
export interface FitProgress {
  /** The epoch that is under way, from 1. */
  readonly epoch: number
  /** Batches of it that have been trained on. */
  readonly batch: number
  /** Sum of the losses of its rows so far; null where the caller may not see it. */
  readonly lossSum: number | null
}

export interface BatchInfo {
  readonly epoch: number
  /** Number of the batch in its epoch, from 1, and of how many. */
  readonly batch: number
  readonly batches: number
  /**
   * Its mean loss, at the owner of the last segment: free after the callback, and after what it returns. Whoever waits
   * for it in the callback waits with the training.
   */
  readonly loss: PointerTensor
}

export interface EpochInfo {
  readonly epoch: number
  /** Mean loss over its rows, each with the weights that its batch met; null where the caller may not see losses. */
  readonly loss: number | null
  /** Milliseconds that it took. */
  readonly ms: number
}

export interface FitOptions {
  /** Passes over the examples; 1 unless given. */
  readonly epochs?: number
  /** 64 unless given; the last batch of an epoch has what is left. */
  readonly batchSize?: number
  /** Whether each epoch has an order of its own, which follows from the seed and its number. Default: true. */
  readonly shuffle?: boolean
  /** From 0 to 2^40; 0 unless given. */
  readonly seed?: number
  /**
   * Batches that may be between the owners at once. 1, as long as it is not given: each batch meets the weights that the
   * one before it left, and costs a round trip. With k, a batch meets at the first owner weights that up to k − 1 batches
   * have not changed yet, and its gradient is that of the very weights that it met (weight stashing: Narayanan et al.,
   * PipeDream, SOSP '19, §3.3): nothing waits for the network, and the result is another.
   */
  readonly inFlight?: number
  /**
   * Batches of the first epoch after which one more may be in flight, until there are `inFlight`: weights that still change
   * much are not to be met late. 32 unless given; 0 begins with all of them.
   */
  readonly rampUp?: number
  /** Where to go on, as a checkpoint says. */
  readonly from?: FitProgress
  /** Called in the order of the batches, when the loss of each has been asked for. A promise is waited for. */
  readonly onBatch?: (info: BatchInfo) => void | Promise<void>
  readonly onEpoch?: (info: EpochInfo) => void | Promise<void>
  /** Checkpoints while it trains; see `SplitNN.save`. */
  readonly checkpoint?: {
    /** Name of the training. Each checkpoint has a name of its own, which begins with it. */
    readonly name: string
    /** Batches from one to the next, besides the one at the end of each epoch. None besides, unless given. */
    readonly every?: number
    /** Called with each when all owners have it; once it is done, the one before is removed. */
    readonly onSave?: (checkpoint: SplitCheckpoint) => void | Promise<void>
  }
  /** Ends the training with `ERR_ABORTED` between two batches: what was begun is carried out. */
  readonly signal?: AbortSignal
}

export interface FitResult {
  readonly epochs: readonly EpochInfo[]
}

export interface Job {
  readonly data: SplitData
  readonly x: readonly PointerTensor[][]
  readonly count: number
  readonly microBatches: number
  save(name: string, progress: FitProgress): Promise<SplitCheckpoint>
  remove(checkpoint: SplitCheckpoint): Promise<void>
}

/** Batches between questions whether the workers are still there and done; and questions that may be unanswered. */
const ASK_EVERY = 8
/** See `rampUp`. With 8 in flight on MNIST, five epochs end within 0.3 % of exact training's accuracy; without, they did not. */
const RAMP_UP = 32
const UNANSWERED = 4
/** What a seed may be at most: the orders of its epochs take a thousand seeds each. */
const LARGEST_SEED = 2 ** 40

/** A batch under way, with the losses of its parts that are known. */
interface Batch {
  readonly number: number
  readonly rows: number
  readonly losses: PointerTensor[]
  readonly weights: number[]
}

export async function fit(stages: Stages, job: Job, options: FitOptions): Promise<FitResult> {
  const { epochs, batchSize, shuffle, seed, inFlight, rampUp, from, onEpoch, checkpoint, signal } = checked(options)
  const results: EpochInfo[] = []
  let saved: SplitCheckpoint | null = null
  const save = async (progress: FitProgress): Promise<void> => {
    if (checkpoint === undefined) return
    const before = saved
    saved = await job.save(`${checkpoint.name}.${progress.epoch}.${progress.batch}`, progress)
    await checkpoint.onSave?.(saved)
    if (before !== null) await job.remove(before)
  }
  for (let epoch = from.epoch; epoch <= epochs; epoch++) {
    const began = performance.now()
    const all = [...batches(job.count, shuffle ? { batchSize, seed: 1000 * seed + epoch } : { batchSize })]
    const start = epoch === from.epoch ? from : { epoch, batch: 0, lossSum: 0 }
    const training = new Epoch(stages, job, { ...options, inFlight, rampUp }, { ...start, of: all.length })
    try {
      for (const [i, rows] of all.entries()) {
        if (i < start.batch) continue
        if (signal?.aborted) {
          await training.finish()
          throw sottoError('ERR_ABORTED', 'fit: given up, by its signal', training.place, signal.reason)
        }
        await training.train(i + 1, rows)
        const isDue = checkpoint?.every !== undefined && (i + 1) % checkpoint.every === 0 && i + 1 < all.length
        if (isDue) await save(await training.progress())
      }
      await training.finish()
      const { lossSum } = await training.progress()
      const loss = lossSum === null ? null : lossSum / job.count
      results.push({ epoch, loss, ms: performance.now() - began })
    } finally {
      training.end()
    }
    await onEpoch?.(results.at(-1)!)
    await save({ epoch: epoch + 1, batch: 0, lossSum: 0 })
  }
  return { epochs: results }
}

type EpochOptions = FitOptions & { readonly inFlight: number; readonly rampUp: number }

/** One pass over the examples. */
class Epoch {
  readonly #stages: Stages
  readonly #job: Job
  readonly #options: EpochOptions
  #pipeline: Pipeline<Course>
  /** Batches that may be in flight now. */
  #inFlight: number
  readonly #epoch: number
  readonly #of: number
  #batch: number
  /** Sum of the losses of rows: what was there at the start, and what has been added, at the owner of the last segment. */
  readonly #before: number | null
  #sum: PointerTensor | null = null
  /** Batches whose loss nobody has been told, and of these the ones whose loss is known. */
  readonly #open = new Set<Batch>()
  readonly #finished: Batch[] = []
  readonly #asked: Promise<unknown>[] = []

  constructor(stages: Stages, job: Job, options: EpochOptions, start: FitProgress & { of: number }) {
    this.#stages = stages
    this.#job = job
    this.#options = options
    this.#epoch = start.epoch
    this.#inFlight = this.#allowed(start.batch + 1)
    this.#pipeline = this.#pipelineOf()
    this.#of = start.of
    this.#batch = start.batch
    this.#before = start.lossSum
  }

  get place(): { readonly epoch: number; readonly batch: number } {
    return { epoch: this.#epoch, batch: this.#batch }
  }

  /** How many batches may be in flight when one begins. */
  #allowed(number: number): number {
    const { inFlight, rampUp } = this.#options
    if (this.#epoch > 1 || rampUp === 0) return inFlight
    return Math.min(inFlight, 1 + Math.floor((number - 1) / rampUp))
  }

  #pipelineOf(): Pipeline<Course> {
    const { path, visits } = this.#stages
    return new Pipeline(visits, lagsOf(path, this.#inFlight * this.#job.microBatches - 1))
  }

  async train(number: number, chosen: Int32Array): Promise<void> {
    unscoped(() => this.#issue(number, chosen))
    this.#batch = number
    await this.#tell()
    if (number % ASK_EVERY !== 0) return
    const asked = this.#ask()
    // It is looked at later.
    asked.catch(() => {})
    this.#asked.push(asked)
    if (this.#asked.length > UNANSWERED) await this.#asked.shift()
  }

  #issue(number: number, chosen: Int32Array): void {
    const { data, x, microBatches } = this.#job
    const allowed = this.#allowed(number)
    if (allowed !== this.#inFlight) {
      this.#pipeline.drain()
      this.#inFlight = allowed
      this.#pipeline = this.#pipelineOf()
    }
    const parts = partsOf(chosen.length, microBatches)
    const batch: Batch = { number, rows: chosen.length, losses: [], weights: [] }
    this.#open.add(batch)
    for (const [i, { at, rows }] of parts.entries()) {
      const isLast = i === parts.length - 1
      const weight = rows / chosen.length
      const onLoss = (loss: PointerTensor) => {
        batch.losses.push(loss)
        batch.weights.push(weight)
        if (isLast) this.#finished.push(batch)
      }
      const own = scope(() => gathered(x, data, chosen.subarray(at, at + rows)))
      this.#pipeline.push(this.#stages.begin({ ...own, isOwn: true, rows, weight, isLast, onLoss }))
    }
    if (this.#inFlight === 1) this.#pipeline.drain()
  }

  /** Adds up losses that are known by now, and tells of them. */
  async #tell(): Promise<void> {
    for (let batch = this.#finished.shift(); batch !== undefined; batch = this.#finished.shift()) {
      const { number, rows, losses, weights } = batch
      this.#open.delete(batch)
      const loss = unscoped(() => {
        const whole = losses.length === 1 ? losses[0]! : lossOfParts(losses, weights)
        const before = this.#sum
        this.#sum = scope(() => {
          const weighed = whole.detach().mul(rows)
          return before === null ? (this.#before ? weighed.add(this.#before) : weighed) : before.add(weighed)
        })
        before?.dispose()
        return whole
      })
      try {
        await this.#options.onBatch?.({ epoch: this.#epoch, batch: number, batches: this.#of, loss })
      } finally {
        for (const pointer of new Set([loss, ...losses])) pointer.dispose()
      }
    }
  }

  /** Waits until all workers have carried out what was issued; fails with what failed there. */
  async #ask(): Promise<void> {
    await Promise.all(this.#stages.workers.map((worker) => worker.flush()))
  }

  /** Takes to its end what is under way. */
  async finish(): Promise<void> {
    unscoped(() => this.#pipeline.drain())
    await this.#tell()
    for (const asked of this.#asked.splice(0)) await asked
    await this.#ask()
  }

  /** How far it is, once all that was begun is done. */
  async progress(): Promise<FitProgress> {
    await this.finish()
    return { ...this.place, lossSum: await this.#lossSum() }
  }

  async #lossSum(): Promise<number | null> {
    if (this.#before === null) return null
    if (this.#sum === null) return this.#before
    try {
      return await numberOf(this.#sum)
    } catch (error) {
      if (isSottoError(error) && error.code === 'ERR_PERMISSION') return null
      throw error
    }
  }

  /** Frees what it holds. */
  end(): void {
    const rest = this.#pipeline.abandon()
    if (rest.length > 0) this.#stages.abandon(rest)
    for (const { losses } of this.#open) for (const loss of losses) loss.dispose()
    this.#sum?.dispose()
  }
}

function checked(options: FitOptions) {
  checkOptions('fit', options, [
    'epochs',
    'batchSize',
    'shuffle',
    'seed',
    'inFlight',
    'rampUp',
    'from',
    'onBatch',
    'onEpoch',
    'checkpoint',
    'signal',
  ])
  const { epochs = 1, batchSize = 64, shuffle = true, seed = 0, inFlight = 1, rampUp = RAMP_UP } = options
  const { checkpoint, signal } = options
  const { from = { epoch: 1, batch: 0, lossSum: 0 }, onEpoch } = options
  numberOption('fit', 'epochs', epochs, { integer: true, from: 0 })
  numberOption('fit', 'batchSize', batchSize, { integer: true, from: 1 })
  numberOption('fit', 'seed', seed, { integer: true, from: 0, to: LARGEST_SEED })
  numberOption('fit', 'inFlight', inFlight, { integer: true, from: 1 })
  numberOption('fit', 'rampUp', rampUp, { integer: true, from: 0 })
  numberOption('fit', 'from.epoch', from.epoch, { integer: true, from: 1 })
  numberOption('fit', 'from.batch', from.batch, { integer: true, from: 0 })
  if (checkpoint !== undefined) {
    checkOptions('fit', checkpoint, ['name', 'every', 'onSave'])
    if (checkpoint.every !== undefined)
      numberOption('fit', 'checkpoint.every', checkpoint.every, { integer: true, from: 1 })
  }
  return { epochs, batchSize, shuffle, seed, inFlight, rampUp, from, onEpoch, checkpoint, signal }
}
