/** One update of a model in secret from one batch: forward, back, and the weights that come of it. */
import { SeededRandom } from '../../data/random.ts'
import { sottoError } from '../../errors.ts'
import { noGrad } from '../../tensor/context.ts'
import { tf } from '../../tensor/engine.ts'
import { type Layer, type LayerWeights, type Step, sequenceOf } from '../layer-rules.ts'
import { SharedTensor } from '../shared-tensor.ts'
import type { Gradient } from './gradient.ts'
import { type Taken, takeStep } from './layers.ts'
import { type LossOf, lossOf } from './losses.ts'
import type { Rule, Slots } from './optimizers.ts'

/** A weight of a model, under the name that tfjs gives it. */
export interface ModelWeight {
  readonly name: string
  readonly tensor: SharedTensor
  readonly trainable: boolean
}

/** What training needs of a model. */
export interface ModelParts {
  readonly model: tf.LayersModel
  readonly weights: readonly ModelWeight[]
}

/** What comes of a batch. Whoever asked for it puts it in the place of what was there. */
export interface BatchResult {
  /** New values, by the number of the weight. */
  readonly values: ReadonlyMap<number, SharedTensor>
  readonly slots: ReadonlyMap<number, Slots>
  /** Mean loss, and the number of rows whose class was found; where they were asked for. */
  readonly loss: SharedTensor | null
  readonly hits: SharedTensor | null
}

/** What may be opened of a batch. */
export type Opened = 'loss' | 'accuracy'

export interface BatchInput {
  readonly x: SharedTensor
  readonly y: SharedTensor
  readonly slots: ReadonlyMap<number, Slots>
  /** Counts from 1. */
  readonly step: number
  readonly seed: number
  readonly opens: readonly Opened[]
}

/** @throws `ERR_ARGUMENT_VALUE` for a model whose layers are not in a row */
export function layersInRow(entry: string, { model }: ModelParts): readonly Layer[] {
  if (model instanceof tf.Sequential) return model.layers
  throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: takes a sequential model; one that branches trains by backward()`)
}

/** The weights of a layer, by their names in it. */
export function weightsOfLayer({ weights }: ModelParts, layer: Layer): LayerWeights {
  const prefix = `${layer.name}/`
  const own = weights.filter(({ name }) => name.startsWith(prefix))
  return Object.fromEntries(own.map(({ name, tensor }) => [name.slice(prefix.length), tensor]))
}

/** Trains a model by a rule and a loss, batch by batch. Keeps nothing itself. */
export class Stepper {
  readonly #parts: ModelParts
  readonly #rule: Rule
  readonly #loss: LossOf
  readonly #steps: readonly Step[]
  /** The first step with a weight that is trained: what is before it gets no gradient. */
  readonly #first: number

  /** @throws `ERR_ARGUMENT_VALUE` for a loss that does not fit the model, and a model that has nothing to train */
  constructor(parts: ModelParts, rule: Rule, loss: unknown) {
    this.#parts = parts
    this.#rule = rule
    const all = sequenceOf(layersInRow('fit', parts))
    this.#loss = lossOf(loss, all.at(-1)?.activation ?? null)
    this.#steps = this.#loss.takesLast ? all.slice(0, -1) : all
    this.#first = this.#steps.findIndex(
      ({ layer, activation }) => activation === null && this.#trained(layer).length > 0,
    )
    if (this.#first < 0) throw sottoError('ERR_ARGUMENT_VALUE', 'fit: no weight of this model is to be trained')
  }

  /** Numbers and names of the weights of a layer that are trained. */
  #trained(layer: Layer): readonly { readonly at: number; readonly name: string }[] {
    const prefix = `${layer.name}/`
    return this.#parts.weights.flatMap(({ name, trainable }, at) =>
      trainable && name.startsWith(prefix) ? [{ at, name: name.slice(prefix.length) }] : [],
    )
  }

  /** Issues what one batch takes. Returns at once; what it makes belongs to the scope around it. */
  run({ x, y, slots, step, seed, opens }: BatchInput): BatchResult {
    const { weights } = this.#parts
    const seeds = new SeededRandom(seed)
    const taken: Taken[] = []
    const values = new Map<number, SharedTensor>()
    let output = x
    for (const each of this.#steps) {
      const own = each.activation === null ? weightsOfLayer(this.#parts, each.layer) : {}
      const forward = takeStep(each, { x: output, weights: own, seed: seeds.uint32() })
      taken.push(forward)
      output = forward.output
      for (const [name, value] of Object.entries(forward.moved ?? {})) {
        values.set(
          weights.findIndex((weight) => weight.name === `${each.layer.name}/${name}`),
          value,
        )
      }
    }
    const { p, gradient } = this.#loss.predict(output, y)
    const factor = this.#loss.factor(y.shape)
    const kept = new Map<number, Slots>()
    let back = gradient
    for (let i = this.#steps.length - 1; i >= this.#first; i--) {
      const { layer, activation } = this.#steps[i]!
      const returned = taken[i]!.back(back, i > this.#first)
      if (activation === null) {
        for (const { at, name } of this.#trained(layer)) {
          const updated = this.#update(at, returned.weights[name]!, { slots: slots.get(at) ?? {}, step, factor })
          values.set(at, updated.value)
          kept.set(at, updated.slots)
        }
      }
      if (returned.input !== null) back = returned.input
    }
    const asked = (what: Opened, make: () => SharedTensor) => (opens.includes(what) ? noGrad(make) : null)
    return {
      values,
      slots: kept,
      loss: asked('loss', () => this.#loss.value(p, y)),
      hits: asked('accuracy', () => hitsOf(output, y, this.#loss.threshold)),
    }
  }

  #update(at: number, gradient: Gradient, rest: { slots: Slots; step: number; factor: number }) {
    const value = this.#parts.weights[at]!.tensor
    return noGrad(() => this.#rule.update({ value, gradient, ...rest }))
  }
}

/**
 * How many rows have their largest score where their label is; of one score a row, how many are above the threshold
 * where the label is above 1/2, and only there. An integer. Rounds: those of `argMax`, and 7; for one score 15.
 */
export function hitsOf(scores: SharedTensor, y: SharedTensor, threshold: number): SharedTensor {
  const units = scores.shape.at(-1)!
  const [found, right] =
    units === 1 ? [scores.greater(threshold), y.greater(0.5)] : [scores.argMax(scores.rank - 1), y.argMax(y.rank - 1)]
  return found.equal(right).sum()
}

/** Opens a secret of one element. */
export async function numberIn(secret: SharedTensor): Promise<number> {
  const opened = await secret.reveal()
  try {
    return opened.dataSync()[0]!
  } finally {
    opened.dispose()
  }
}

/** What an action made, and what it cost: rounds that wait for one another. */
export function measured<R extends BatchResult>(
  action: () => R,
  operands: readonly SharedTensor[],
): { result: R; cost: SharedTensor['cost'] } {
  let result!: R
  const made = SharedTensor.measured(() => {
    result = action()
    const { loss, hits } = result
    return [...result.values.values(), ...[loss, hits].filter((value) => value !== null)]
  }, operands)
  const costs = made.map(({ cost }) => cost)
  const [first] = costs
  return { result, cost: { ...first!, rounds: Math.max(...costs.map(({ rounds }) => rounds)) } }
}
