/**
 * Split learning: one network, its segments with different owners (Gupta and Raskar 2018, arXiv 1810.06060; Vepakomma et
 * al. 2018, arXiv 1812.00564).
 *
 * Activations go from owner to owner, and their gradients back; the caller issues commands and stays out of the way. A
 * path may come back to an owner (U-shaped: features and labels at home, the middle elsewhere), and may begin at several
 * (vertical: each with some of the features).
 */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { noGrad, scope, track } from '../tensor/context.ts'
import { type Loss, lossOfParts, lossRow, numberOf } from '../tensor/losses.ts'
import { type Compression, compressions } from '../tensor/packed.ts'
import type { PointerTensor } from '../tensor/pointer.ts'
import type { Worker } from '../worker/worker.ts'
import { type FitOptions, type FitResult, fit } from './fit.ts'
import { checkJoin, type Join } from './join.ts'
import { lagsOf, Pipeline } from './pipeline.ts'
import { chunksOf, countOf, gathered, inputsOf, partsOf, rowsOf, type SplitData, type SplitInput } from './rows.ts'
import { loadAll, removeAll, type SplitCheckpoint, type SplitCheckpointWithWeights, saveAll } from './saved.ts'
import { Segment, type SegmentOptions } from './segment.ts'
import { checkChain, type Penalty, Stages, settle } from './stages.ts'

export interface SplitNNOptions {
  /** What is minimised: the name of a loss, or a function of outputs and labels. `softmaxCrossEntropy` unless given. */
  readonly loss?: Loss
  /** How the activations of several first segments become one: `concat` unless given. */
  readonly join?: Join
  /**
   * Parts that each batch is trained on in, so that some travel while others are computed with. Gradients add up before
   * the step: the result is that of the whole batch, but for rounding and for layers that look at a whole batch (batch
   * normalisation). 1 unless given.
   */
  readonly microBatches?: number
  /**
   * Form in which activations, and gradients on the way back, cross between workers: a half or a quarter of the bytes, and
   * rounded. With `int8`, what the rounding of gradients lost is fed back (`errorFeedback`). float32 unless given.
   */
  readonly compress?: Compression
}

export interface EvaluateOptions {
  /** Rows at a time; 1,000 unless given. */
  readonly batchSize?: number
}

export interface Evaluation {
  /** Mean over the rows. */
  readonly loss: number
  /** Part of the rows whose label was hit; null for a loss that has no such thing, and for a function. */
  readonly accuracy: number | null
  readonly rows: number
}

/** Rows at a time, where nothing is learnt. */
const CHUNK = 1000

/** A network in segments, each with an owner. */
export class SplitNN {
  readonly #stages: Stages
  readonly #firsts: number
  readonly #loss: ReturnType<typeof lossRow>
  readonly #microBatches: number
  /** What the first stage adds to the loss of the last forward by hand. */
  #penalties: Penalty[] = []

  /**
   * @param segments in the order in which activations pass them. Several with features of their own stand first, in a
   *   list: `[[{ … }, { … }], { … }]`.
   * @throws RangeError `ERR_SHAPE` when one does not give what the next takes
   */
  constructor(segments: readonly (SegmentOptions | readonly SegmentOptions[])[], options: SplitNNOptions = {}) {
    checkOptions('SplitNN', options, ['loss', 'join', 'microBatches', 'compress'])
    const { loss = 'softmaxCrossEntropy', join = 'concat', microBatches = 1, compress } = options
    if (!Array.isArray(segments) || segments.length === 0 || segments.some((at) => Array.isArray(at) && !at.length)) {
      throw sottoError('ERR_ARGUMENT_TYPE', 'SplitNN: expected a list of segments: [{ model, worker, optimizer }, …]')
    }
    if (segments.slice(1).some((at) => Array.isArray(at) && at.length > 1)) {
      throw sottoError('ERR_ARGUMENT_VALUE', 'SplitNN: several segments side by side can only be the first')
    }
    if (segments.length === 1 && [segments[0]].flat().length > 1) {
      throw sottoError('ERR_ARGUMENT_VALUE', 'SplitNN: segments side by side need one that joins them')
    }
    if (segments.slice(1).some((at) => [at].flat()[0]?.noPeek)) {
      throw sottoError('ERR_ARGUMENT_VALUE', 'SplitNN: "noPeek" goes with first segments, which see the data')
    }
    checkJoin('SplitNN', join)
    numberOption('SplitNN', 'microBatches', microBatches, { integer: true, from: 1 })
    if (compress !== undefined && !compressions.includes(compress)) {
      throw sottoError('ERR_ARGUMENT_VALUE', `SplitNN: "compress" expected one of ${compressions.join(', ')}`, {
        option: 'compress',
      })
    }
    this.#loss = lossRow('SplitNN', loss)
    const made: Segment[] = []
    try {
      const stages = segments.map((at) =>
        [at].flat().map((segment) => {
          made.push(new Segment('SplitNN', segment))
          return made.at(-1)!
        }),
      )
      checkChain('SplitNN', stages, join)
      this.#stages = new Stages(stages, { loss: this.#loss.loss, join, compress: compress ?? null })
      this.#firsts = stages[0]!.length
    } catch (error) {
      for (const segment of made) segment.dispose()
      throw error
    }
    this.#microBatches = microBatches
  }

  /** Segments in order, those that stand side by side one after the other. */
  get segments(): readonly Segment[] {
    return this.#stages.segments
  }
  /** Workers, each once. */
  get workers(): readonly Worker[] {
    return this.#stages.workers
  }
  get isTraining(): boolean {
    return this.segments.every(({ model }) => model.isTraining)
  }

  /** Dropout drops and batch normalisation learns from now on, as at first. Returns the network. */
  train(): this {
    for (const { model } of this.segments) model.train()
    return this
  }
  /** Dropout and batch normalisation behave as in use. Returns the network. */
  eval(): this {
    for (const { model } of this.segments) model.eval()
    return this
  }

  /**
   * Runs the network. Returns at once.
   *
   * @param x a pointer at the owner of the first segment, `[rows, …]`; of several first segments, a list
   * @returns the output, at the owner of the last segment
   */
  forward(x: SplitInput): PointerTensor {
    const inputs = inputsOf('forward', x, this.#firsts)
    this.#stages.checkPlaces('forward', inputs)
    this.#forget()
    const { output, penalties } = this.#stages.run(inputs, true)
    this.#penalties = penalties
    return output
  }

  /** The loss of outputs, a scalar at the owner of the last segment; `backward` takes it. */
  loss(output: PointerTensor, y: PointerTensor): PointerTensor {
    return scope(() => this.#loss.loss(output, y))
  }

  /**
   * Gradients of the parameters of every segment, added to what is there. Returns at once.
   *
   * @param from the loss; or the output of `forward`, with its gradient
   */
  backward(from: PointerTensor, gradient?: PointerTensor): void {
    settle(this.#penalties)
    from.backward(gradient)
  }

  /** One update by every optimizer. */
  step(): void {
    for (const optimizer of this.#stages.optimizers) optimizer.step()
  }

  /** Drops the gradients of every segment. */
  zeroGrad(): void {
    for (const { model } of this.segments) model.zeroGrad()
  }

  /**
   * One step on one batch: forward, loss, backward, update. Returns at once; who reads the loss may wait for it.
   *
   * Between owners a batch costs one round trip (of a U-shaped path, two), and what activations and gradients weigh.
   *
   * @param y labels of the same rows, at the owner of the last segment
   * @returns the mean loss over the rows, a scalar at that owner
   */
  trainBatch(x: SplitInput, y: PointerTensor): PointerTensor {
    const inputs = inputsOf('trainBatch', x, this.#firsts)
    const count = countOf('trainBatch', inputs, { x, y })
    this.#stages.checkPlaces('trainBatch', inputs, y)
    const parts = partsOf(count, this.#microBatches)
    const losses: PointerTensor[] = []
    const { visits, path } = this.#stages
    const pipeline = new Pipeline(visits, lagsOf(path, parts.length - 1))
    try {
      for (const [i, { at, rows }] of parts.entries()) {
        const isOwn = parts.length > 1
        const own = isOwn
          ? { x: inputs.map((list) => list.map((tensor) => rowsOf(tensor, at, rows))), y: rowsOf(y, at, rows) }
          : { x: inputs, y }
        const weight = rows / count
        const isLast = i === parts.length - 1
        const onLoss = (loss: PointerTensor) => void losses.push(loss)
        pipeline.push(this.#stages.begin({ ...own, isOwn, rows, weight, isLast, onLoss }))
      }
      pipeline.drain()
    } catch (error) {
      this.#stages.abandon(pipeline.abandon())
      for (const loss of losses) loss.dispose()
      throw error
    }
    if (losses.length === 1) {
      track(losses[0]!)
      return losses[0]!
    }
    const loss = lossOfParts(
      losses,
      parts.map(({ rows }) => rows / count),
    )
    for (const part of losses) part.dispose()
    return loss
  }

  /** Trains on examples, batch by batch. See {@link FitOptions}. */
  async fit(data: SplitData, options: FitOptions = {}): Promise<FitResult> {
    const x = inputsOf('fit', data.x, this.#firsts)
    const count = countOf('fit', x, data)
    this.#stages.checkPlaces('fit', x, data.y)
    return await fit(
      this.#stages,
      {
        data,
        x,
        count,
        microBatches: this.#microBatches,
        save: (name, progress) => {
          this.#stages.forgetLost()
          return saveAll(this.segments, name, progress)
        },
        remove: (checkpoint) => removeAll(this.workers, checkpoint),
      },
      options,
    )
  }

  /** Loss and accuracy on examples, as the network behaves in use. */
  async evaluate(data: SplitData, options: EvaluateOptions = {}): Promise<Evaluation> {
    checkOptions('evaluate', options, ['batchSize'])
    const { batchSize = CHUNK } = options
    numberOption('evaluate', 'batchSize', batchSize, { integer: true, from: 1 })
    const x = inputsOf('evaluate', data.x, this.#firsts)
    const count = countOf('evaluate', x, data)
    this.#stages.checkPlaces('evaluate', x, data.y)
    const { hits } = this.#loss
    const sums = noGrad(() =>
      this.#inUse(() =>
        scope(() => {
          const losses: PointerTensor[] = []
          const right: PointerTensor[] = []
          for (const { at, rows } of chunksOf(count, batchSize)) {
            const chosen = Int32Array.from({ length: rows }, (_, i) => at + i)
            const [loss, hit] = scope(() => {
              const own = gathered(x, data, chosen)
              const { output } = this.#stages.run(own.x, false)
              return [this.#loss.loss(output, own.y).mul(rows), hits?.(output, own.y).cast('float32').mean()?.mul(rows)]
            })
            losses.push(loss!)
            if (hit) right.push(hit)
          }
          return [losses, right].filter(({ length }) => length > 0).map(([first, ...rest]) => first!.stack(rest).sum())
        }),
      ),
    )
    const numbers = Promise.all(sums.map(numberOf))
    for (const sum of sums) sum.dispose()
    const [loss, right] = await numbers
    return { loss: loss! / count, accuracy: right === undefined ? null : right / count, rows: count }
  }

  /**
   * Outputs for examples, as the network behaves in use, at the owner of the last segment. Returns at once.
   *
   * @param options.batchSize rows at a time; 1,000 unless given
   */
  predict(x: SplitInput, options: EvaluateOptions = {}): PointerTensor {
    checkOptions('predict', options, ['batchSize'])
    const { batchSize = CHUNK } = options
    numberOption('predict', 'batchSize', batchSize, { integer: true, from: 1 })
    const inputs = inputsOf('predict', x, this.#firsts)
    const count = countOf('predict', inputs, { x, y: inputs[0]![0]! })
    this.#stages.checkPlaces('predict', inputs)
    return noGrad(() =>
      this.#inUse(() =>
        scope(() => {
          const [first, ...rest] = chunksOf(count, batchSize).map(({ at, rows }) => {
            const own = inputs.map((list) => list.map((tensor) => rowsOf(tensor, at, rows)))
            return this.#stages.run(own, false).output
          })
          return rest.length === 0 ? first! : first!.concat(rest, 0)
        }),
      ),
    )
  }

  /**
   * Keeps every segment, with the state of its optimizers, at its owner; a worker that keeps checkpoints on its disk has
   * them after it was started again. In its place among what was issued: what follows does not wait.
   *
   * @param name of 1 to 60 characters out of `A–Z a–z 0–9 _ . -`; what was kept under it is replaced
   * @returns what says where it is, without weights; or, if `weights` are asked for, with the models too
   * @throws PermissionError where an owner does not let the caller see weights that are asked for; and what
   *   `RemoteModel.save` throws. Nothing is kept then.
   */
  async save(name: string): Promise<SplitCheckpoint>
  async save(name: string, options: { weights: true }): Promise<SplitCheckpointWithWeights>
  async save(name: string, options: { weights?: boolean } = {}): Promise<SplitCheckpoint | SplitCheckpointWithWeights> {
    checkOptions('save', options, ['weights'])
    this.#stages.forgetLost()
    const saved = saveAll(this.segments, name, null)
    if (options.weights !== true) return await saved
    const models = Promise.all(this.segments.map(({ model }) => model.fetch()))
    models.catch(() => {})
    const checkpoint = await saved
    try {
      return { ...checkpoint, models: await models }
    } catch (error) {
      await removeAll(this.workers, checkpoint)
      throw error
    }
  }

  /**
   * Puts back what `save`, or a checkpoint of `fit`, kept. Training goes on as if it had not been broken: give `fit` the
   * checkpoint's progress as `from`.
   *
   * @throws StateError `ERR_CHECKPOINT_MISMATCH` for a checkpoint of other segments or workers; and what
   *   `RemoteModel.restore` throws
   */
  async load(checkpoint: SplitCheckpoint): Promise<void> {
    this.#stages.forgetLost()
    await loadAll(this.segments, checkpoint)
  }

  /** Removes what the owners keep of a checkpoint. */
  async remove(checkpoint: SplitCheckpoint): Promise<void> {
    await removeAll(this.workers, checkpoint)
  }

  /** @internal Hands the first segment on to another worker. */
  moveFirst(to: Worker): void {
    this.segments[0]!.move(to)
  }

  #inUse<T>(action: () => T): T {
    const wasTraining = this.segments.map(({ model }) => model.isTraining)
    this.eval()
    try {
      return action()
    } finally {
      for (const [i, { model }] of this.segments.entries()) if (wasTraining[i]) model.train()
    }
  }

  #forget(): void {
    for (const { value } of this.#penalties.splice(0)) value.dispose()
  }

  /** Frees the models that were sent for it, with their optimizers. */
  dispose(): void {
    this.#forget()
    this.#stages.forgetLost()
    for (const segment of this.segments) segment.dispose()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}
