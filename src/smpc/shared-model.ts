/// <reference lib="esnext.disposable" preserve="true" />
/** Models in secret: the layers are public, the weights are shared. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { noGrad, scope } from '../tensor/context.ts'
import { tf } from '../tensor/engine.ts'
import type { Location, WaitOptions } from '../tensor/location.ts'
import { outputShapes, type RemoteModel } from '../tensor/model.ts'
import { modelFromWire, modelToWire, weightsOf } from '../tensor/model-wire.ts'
import { PRECISION, type PrecisionOptions } from './encoding.ts'
import type { GroupOptions } from './group.ts'
import { checkLayers, type Layer, runStep, type Step, sequenceOf, stepsOf } from './layer-rules.ts'
import { fixPrecision, type Shareable, type ShareOptions, share } from './share.ts'
import { SharedTensor } from './shared-tensor.ts'
import {
  evaluate,
  fit,
  type SecretEvaluateOptions,
  type SecretEvaluation,
  type SecretFitOptions,
  type SecretFitResult,
} from './training/fit.ts'
import type { SecretRows } from './training/rows.ts'

export interface ShareModelOptions extends GroupOptions, PrecisionOptions {
  /** Of a model that is here: only this identity, and those allowed, may see it (or its results) opened. */
  private?: boolean
  allow?: readonly string[]
  allowResults?: readonly string[]
}

const OPTIONS = ['provider', 'protocol', ...PRECISION, 'private', 'allow', 'allowResults'] as const

/** What a layer gets its inputs from. */
interface Node {
  readonly inboundLayers: readonly Layer[]
}

/**
 * A model whose weights are secrets. Dense, convolutional, pooling, normalising and activating layers, in sequence or in
 * a graph; dropout drops nothing, and batch normalisation uses the statistics it has learnt.
 *
 * Its trainable parameters are leaves: `backward` from something computed by `apply` reaches them.
 */
export class SharedModel {
  readonly #model: tf.LayersModel
  readonly #weights: readonly { readonly name: string; readonly tensor: SharedTensor; readonly trainable: boolean }[]
  readonly #made = new Map<string, SharedTensor>()

  /** @internal Models come from `share`. */
  constructor(model: tf.LayersModel, tensors: readonly SharedTensor[]) {
    checkLayers(model)
    this.#model = model
    this.#weights = weightsOf(model).map(({ name, trainable }, i) => {
      const tensor = tensors[i]!
      return { name, tensor: trainable ? tensor.requireGrad() : tensor, trainable }
    })
  }

  get parties() {
    return this.#weights[0]!.tensor.parties
  }

  /** Trainable parameters. */
  parameters(): SharedTensor[] {
    return this.#weights.filter(({ trainable }) => trainable).map(({ tensor }) => tensor)
  }
  /** All weights, statistics too. */
  weights(): SharedTensor[] {
    return this.#weights.map(({ tensor }) => tensor)
  }
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad()
  }

  /**
   * Runs the model on secrets of the same parties. Returns at once.
   *
   * @throws RangeError `ERR_SHAPE` when the input does not fit
   */
  apply(input: SharedTensor | readonly SharedTensor[]): SharedTensor {
    const inputs = (Array.isArray(input) ? input : [input]) as readonly SharedTensor[]
    for (const x of inputs) {
      if (!(x instanceof SharedTensor)) {
        throw sottoError('ERR_ARGUMENT_TYPE', 'apply: expected a shared tensor; share the input among the same parties')
      }
    }
    outputShapes(
      this.#model,
      inputs.map(({ shape }) => ({ shape, dtype: 'float32' })),
    )
    return SharedTensor.measured(() => scope(() => this.#run(inputs)), [...inputs])
  }

  #run(inputs: readonly SharedTensor[]): SharedTensor {
    const results = new Map<Layer, SharedTensor>()
    if (this.#model instanceof tf.Sequential) {
      return sequenceOf(this.#model.layers).reduce((x, step) => this.#step(step, [x]), inputs[0]!)
    }
    const starts = this.#model.inputLayers as readonly Layer[]
    starts.forEach((layer, i) => {
      results.set(layer, inputs[i]!)
    })
    const resultOf = (layer: Layer): SharedTensor => {
      const known = results.get(layer)
      if (known !== undefined) return known
      const [node] = layer.inboundNodes as unknown as readonly Node[]
      const given = node!.inboundLayers.map(resultOf)
      const [result] = stepsOf(layer).reduce((values, step) => [this.#step(step, values)], given) as [SharedTensor]
      results.set(layer, result)
      return result
    }
    return resultOf(this.#model.outputLayers[0] as Layer)
  }

  #step(step: Step, inputs: readonly SharedTensor[]): SharedTensor {
    const prefix = `${step.layer.name}/`
    const weights: Record<string, SharedTensor> = {}
    for (const { name, tensor } of this.#weights) {
      if (name.startsWith(prefix)) weights[name.slice(prefix.length)] = tensor
    }
    const once = (name: string, make: () => SharedTensor): SharedTensor => {
      const key = prefix + name
      const known = this.#made.get(key) ?? scope(() => noGrad(make)).alias()
      this.#made.set(key, known)
      return known
    }
    return runStep(step, { inputs, weights, once })
  }

  /**
   * Trains the model in secret on rows that are secrets of the same parties: dense, convolutional and pooling layers, batch
   * normalisation, dropout and activations, in sequence. Nobody sees a row, a weight, a gradient or a loss; the sizes, the
   * settings and the order of the rows are public.
   *
   * Nothing is opened, unless the job says so in `opens`: the loss, or the share of rows got right, of each batch, to the
   * caller alone.
   *
   * Weights follow those of training in clear up to rounding: each division is within a unit (2^-16 unless chosen
   * otherwise), the right one on average.
   *
   * @param x rows as the model takes them; of several owners, a list of secrets
   * @param y labels of the shape of what the model gives
   * @throws `ERR_ARGUMENT_VALUE` for a loss that does not fit the model, `ERR_SHAPE` for labels that do not;
   *   `ERR_PERMISSION` for an opening that an owner of the data refuses; `ERR_PARTY_LOST` when a party leaves
   */
  fit(x: SecretRows, y: SecretRows, options: SecretFitOptions): Promise<SecretFitResult> {
    this.#forget()
    return fit({ model: this.#model, weights: this.#weights }, x, y, options)
  }

  /**
   * How many rows the model gets right, as one number, which is opened to the caller: classes by the largest output, of one
   * output whether it is above a threshold.
   *
   * @param y labels of the shape of what the model gives: a row of classes, or 0 and 1
   */
  evaluate(x: SecretRows, y: SecretRows, options: SecretEvaluateOptions = {}): Promise<SecretEvaluation> {
    const scoresOf = (rows: SharedTensor, isLeftOut: boolean): SharedTensor => {
      const steps = sequenceOf(this.#model.layers)
      return (isLeftOut ? steps.slice(0, -1) : steps).reduce((value, step) => this.#step(step, [value]), rows)
    }
    return evaluate({ model: this.#model, weights: this.#weights }, x, y, scoresOf, options)
  }

  /** What was worked out of weights that are no longer. */
  #forget(): void {
    for (const tensor of this.#made.values()) tensor.dispose()
    this.#made.clear()
  }

  /** Opens the model to the caller: every weight. Fails as `SharedTensor.get` does. */
  async get(wait: WaitOptions = {}): Promise<tf.LayersModel> {
    const values = await Promise.all(this.#weights.map(({ tensor }) => tensor.reveal(wait)))
    const model = modelFromWire(modelToWire(this.#model), 'self')
    tf.tidy(() => {
      const at = new Map(this.#weights.map(({ name }, i) => [name, values[i]!]))
      model.setWeights(model.weights.map((weight) => at.get(weight.originalName) ?? at.get(weight.name)!))
    })
    tf.dispose(values)
    return model
  }

  /** Frees the weights. */
  dispose(): void {
    for (const { tensor } of this.#weights) tensor.dispose()
    this.#forget()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  toString(): string {
    return `SharedModel ${this.#model.name} among ${this.parties.map(({ id }) => id).join(', ')}`
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/**
 * Shares a model among workers: one that is here, or one that lives on a worker, which makes the shares of its weights
 * itself. The model stays where it is.
 */
export function shareModel(
  model: tf.LayersModel | RemoteModel,
  parties: readonly Location[],
  options: ShareModelOptions = {},
): SharedModel {
  checkOptions('share', options, OPTIONS)
  const { ring, base, precisionFractional, ...rest } = options
  const precision = {
    ...(ring === undefined ? {} : { ring }),
    ...(base === undefined ? {} : { base }),
    ...(precisionFractional === undefined ? {} : { precisionFractional }),
  }
  if (model instanceof tf.LayersModel) {
    checkLayers(model)
    const weights = weightsOf(model).map(({ weight }) => kept(fixPrecision(weight.read(), precision), parties, rest))
    return new SharedModel(model, weights)
  }
  const { skeleton } = model
  checkLayers(skeleton)
  const weights = model.weights().map((weight) => {
    const fixed = fixPrecision(weight, precision)
    const secret = kept(fixed, parties, rest)
    fixed.dispose()
    return secret
  })
  return new SharedModel(skeleton, weights)
}

/** A secret that belongs to no scope. */
function kept(value: Shareable, parties: readonly Location[], options: ShareOptions): SharedTensor {
  const secret = share(value, parties, options)
  const alias = secret.alias()
  secret.dispose()
  return alias
}
