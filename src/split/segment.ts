/** The part of a split network that one owner holds. */
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import { tf } from '../tensor/backend.ts'
import { RemoteModel, sendModel } from '../tensor/model.ts'
import type { Optimizer } from '../tensor/optim.ts'
import { type OptimizerGiven, optimizerOf } from '../tensor/optimizer-settings.ts'
import { Worker } from '../worker/worker.ts'
import type { CutNoise } from './cut-noise.ts'

export interface SegmentOptions {
  /** A model, of which a copy is sent to the worker; or one that is there. */
  readonly model: tf.LayersModel | RemoteModel
  /** Where the owner's part of the work is done. May be left out of a model that is there. */
  readonly worker?: Worker
  /**
   * What trains the parameters: made of them by a function, by name and settings, or there already. An optimizer of
   * several segments steps once, when all of them have their gradients. Without one, the segment is not trained.
   */
  readonly optimizer?: OptimizerGiven | null
  /** Noise on what the segment gives away; see `cutNoise`. In training and in use alike. */
  readonly noise?: CutNoise
  /**
   * Weight of the distance correlation between what the segment takes and what it gives away, in the loss that it is
   * trained on: NoPeek; see `distanceCorrelation`. 0 for none.
   */
  readonly noPeek?: number
}

/** A segment at its worker. */
export class Segment {
  #model: RemoteModel
  #worker: Worker
  readonly optimizer: Optimizer | null
  readonly noise: CutNoise | null
  readonly noPeek: number
  /** Whether the model was sent for this segment, and goes with it. */
  readonly #isOwn: boolean

  constructor(entry: string, options: SegmentOptions) {
    checkOptions(entry, options, ['model', 'worker', 'optimizer', 'noise', 'noPeek'])
    const { model, worker, optimizer = null, noise = null, noPeek = 0 } = options
    if (!(model instanceof RemoteModel) && !(model instanceof tf.LayersModel)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "model" expected a tf.LayersModel, or one on a worker`, {
        option: 'model',
      })
    }
    const home = worker ?? (model instanceof RemoteModel ? model.location : undefined)
    if (!(home instanceof Worker)) {
      throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "worker" expected a worker`, { option: 'worker' })
    }
    if (model instanceof RemoteModel && model.location !== home) {
      throw sottoError(
        'ERR_NOT_COLLOCATED',
        `${entry}: the model is on ${model.location.id}, the segment on ${home.id}; move it there: .move(${home.id})`,
        { a: model.location.id, b: home.id },
      )
    }
    numberOption(entry, 'noPeek', noPeek, { from: 0 })
    this.#worker = home
    this.#isOwn = !(model instanceof RemoteModel)
    this.#model = model instanceof RemoteModel ? model : sendModel(model, home)
    this.optimizer = optimizer === null ? null : optimizerOf(entry, optimizer, this.#model)
    this.noise = noise
    this.noPeek = noPeek
  }

  get model(): RemoteModel {
    return this.#model
  }
  get worker(): Worker {
    return this.#worker
  }

  /** @internal Hands the model, with its optimizer, on to another worker, directly. */
  move(to: Worker): void {
    this.#model = this.#model.move(to)
    this.#worker = to
  }

  /** Frees what was made for it on its worker. */
  dispose(): void {
    if (this.#isOwn) this.model.dispose()
  }
}
