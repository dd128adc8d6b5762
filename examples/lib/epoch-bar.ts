/** How far a training is. */
import type { PointerTensor } from 'sotto'
import { type Progress, progress } from './options.ts'
import { numberOf } from './weights.ts'

/** Batches from one look at the loss to the next. */
const LOOK = 20

/** A progress bar for each epoch in turn. */
export class EpochBar {
  readonly #epochs: number
  readonly #steps: number
  #epoch = 0
  #step = 0
  #bar: Progress | null = null

  constructor(epochs: number, steps: number) {
    this.#epochs = epochs
    this.#steps = steps
  }

  /** One batch more, with its loss, which is looked at now and then. */
  step(loss: PointerTensor): void {
    if (this.#bar === null) {
      const of = `epoch ${++this.#epoch}/${this.#epochs}`
      this.#bar = progress(this.#steps, `${of} {bar} {percentage}%  loss {loss}  {eta_formatted} left`)
    }
    const [bar, step] = [this.#bar, ++this.#step]
    if (step % LOOK !== 0) return
    // The training does not wait for it. What may fail here fails there too.
    const show = (value: number) => bar === this.#bar && bar.update(step, { loss: value.toFixed(4) })
    numberOf(loss).then(show, () => {})
  }

  /** The epoch is over. */
  stop(): void {
    this.#bar?.stop()
    this.#bar = null
    this.#step = 0
  }
}
