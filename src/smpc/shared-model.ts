/// <reference lib="esnext.disposable" preserve="true" />
/** Models in secret: the layers are public, the weights are shared. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { noGrad, scope } from '../tensor/context.ts'
import { tf } from '../tensor/engine.ts'
import type { Location, WaitOptions } from '../tensor/location.ts'
import { outputShapes, type RemoteModel } from '../tensor/model.ts'
import { modelFromWire, modelToWire, weightsOf } from '../tensor/model-wire.ts'
import type { Padding } from '../tensor/shape.ts'
import type { PrecisionOptions } from './encoding.ts'
import type { GroupOptions } from './group.ts'
import { fixPrecision, type Shareable, type ShareOptions, share } from './share.ts'
import { SharedTensor } from './shared-tensor.ts'

export interface ShareModelOptions extends GroupOptions, PrecisionOptions {
  /** Of a model that is here: only this identity, and those allowed, may see it (or its results) opened. */
  private?: boolean
  allow?: readonly string[]
  allowResults?: readonly string[]
}

const OPTIONS = ['provider', 'protocol', 'base', 'precisionFractional', 'private', 'allow', 'allowResults'] as const

type Activation = (x: SharedTensor) => SharedTensor

const activations: Readonly<Record<string, Activation>> = {
  linear: (x) => x,
  relu: (x) => x.relu(),
  relu6: (x) => x.clipByValue(0, 6),
  sigmoid: (x) => x.sigmoid(),
  tanh: (x) => x.tanh(),
  softmax: (x) => x.softmax(),
}

/** What a layer computes, from its inputs, its weights by name and its settings as tfjs writes them. */
interface LayerCall {
  readonly inputs: readonly SharedTensor[]
  readonly weights: Readonly<Record<string, SharedTensor>>
  readonly config: Readonly<Record<string, unknown>>
  /** Keeps something worked out of the weights for later calls. */
  once(name: string, make: () => SharedTensor): SharedTensor
}
type LayerRule = (call: LayerCall) => SharedTensor

const activated = (x: SharedTensor, config: LayerCall['config']): SharedTensor => {
  const name = String(config['activation'] ?? 'linear')
  const activation = Object.hasOwn(activations, name) ? activations[name] : undefined
  if (activation === undefined) throw unknown(`the activation ${name}`, activations)
  return activation(x)
}

const unknown = (what: string, known: object): Error =>
  sottoError('ERR_ARGUMENT_VALUE', `apply: ${what} is not there in secret; there are ${Object.keys(known).join(', ')}`)

const biased = (x: SharedTensor, bias: SharedTensor | undefined): SharedTensor => (bias === undefined ? x : x.add(bias))

function onlyChannelsLast({ dataFormat, data_format }: LayerCall['config']): void {
  const format = dataFormat ?? data_format ?? 'channelsLast'
  if (format !== 'channelsLast' && format !== 'channels_last') {
    throw sottoError('ERR_ARGUMENT_VALUE', 'apply: images in secret have their channels last')
  }
}

type Pair = [number, number]
const pooled =
  (kind: 'maxPool' | 'avgPool'): LayerRule =>
  ({ inputs: [x], config }) => {
    onlyChannelsLast(config)
    const { poolSize, strides, padding } = config as { poolSize: Pair; strides: Pair; padding: Padding }
    return x![kind](poolSize, strides, padding)
  }

const pass: LayerRule = ({ inputs: [x] }) => x!

/** One row per class of layer, under the name that tfjs gives it. */
const layerRules: Readonly<Record<string, LayerRule>> = {
  InputLayer: pass,
  /** Nothing is dropped in use. */
  Dropout: pass,
  Dense: ({ inputs: [x], weights, config }) => {
    const flat = x!.rank === 2 ? x! : x!.reshape([-1, x!.shape.at(-1)!])
    const product = biased(flat.matMul(weights['kernel']!), weights['bias'])
    const units = product.shape[1]!
    return activated(x!.rank === 2 ? product : product.reshape([...x!.shape.slice(0, -1), units]), config)
  },
  Conv2D: ({ inputs: [x], weights, config }) => {
    onlyChannelsLast(config)
    const { strides, padding, dilationRate } = config as { strides: Pair; padding: Padding; dilationRate: Pair }
    const product = x!.conv2d(weights['kernel']!, strides, padding, 'NHWC', dilationRate)
    return activated(biased(product, weights['bias']), config)
  },
  MaxPooling2D: pooled('maxPool'),
  AveragePooling2D: pooled('avgPool'),
  GlobalAveragePooling2D: ({ inputs: [x] }) => x!.mean([1, 2]),
  GlobalMaxPooling2D: ({ inputs: [x] }) => x!.max([1, 2]),
  Flatten: ({ inputs: [x] }) => x!.reshape([x!.shape[0]!, -1]),
  Reshape: ({ inputs: [x], config }) => x!.reshape([x!.shape[0]!, ...(config['targetShape'] as number[])]),
  Activation: ({ inputs: [x], config }) => activated(x!, config),
  ReLU: ({ inputs: [x], config }) =>
    config['maxValue'] == null ? x!.relu() : x!.clipByValue(0, config['maxValue'] as number),
  LeakyReLU: ({ inputs: [x], config }) => x!.leakyRelu(config['alpha'] as number),
  Softmax: ({ inputs: [x], config }) => x!.softmax((config['axis'] as number | undefined) ?? -1),
  /** As in use: (x − mean) · γ / √(variance + ε) + β, as one product and one sum whose factors are worked out once. */
  BatchNormalization: ({ inputs: [x], weights, config, once }) => {
    const scale = once('scale', () => {
      const spread = weights['moving_variance']!.add(config['epsilon'] as number).rsqrt()
      return weights['gamma'] === undefined ? spread : spread.mul(weights['gamma'])
    })
    const shift = once('shift', () => {
      const mean = weights['moving_mean']!.mul(scale)
      return weights['beta'] === undefined ? mean.neg() : weights['beta'].sub(mean)
    })
    return x!.mul(scale).add(shift)
  },
  Add: ({ inputs }) => inputs.reduce((a, b) => a.add(b)),
  Concatenate: ({ inputs: [first, ...rest], config }) =>
    first!.concat(rest, (config['axis'] as number | undefined) ?? -1),
}

type Layer = tf.LayersModel['layers'][number]

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
    const { layers } = this.#model
    if (this.#model instanceof tf.Sequential) {
      return layers.reduce((x, layer) => this.#call(layer, [x]), inputs[0]!)
    }
    const starts = this.#model.inputLayers as readonly Layer[]
    starts.forEach((layer, i) => {
      results.set(layer, inputs[i]!)
    })
    const resultOf = (layer: Layer): SharedTensor => {
      const known = results.get(layer)
      if (known !== undefined) return known
      const [node] = layer.inboundNodes as unknown as readonly Node[]
      const result = this.#call(layer, node!.inboundLayers.map(resultOf))
      results.set(layer, result)
      return result
    }
    return resultOf(this.#model.outputLayers[0] as Layer)
  }

  #call(layer: Layer, inputs: readonly SharedTensor[]): SharedTensor {
    const rule = layerRules[layer.getClassName()]!
    const prefix = `${layer.name}/`
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
    return rule({ inputs, weights, config: layer.getConfig(), once })
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
    for (const tensor of this.#made.values()) tensor.dispose()
    this.#made.clear()
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

/** Refuses what cannot be run in secret before anything is shared. */
function checkLayers(model: tf.LayersModel): void {
  for (const layer of model.layers) {
    const name = layer.getClassName()
    if (!Object.hasOwn(layerRules, name)) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `share: a layer of class ${name} cannot be run in secret; there are ${Object.keys(layerRules).join(', ')}`,
        { layer: name },
      )
    }
    const activation = layer.getConfig()['activation'] as string | undefined
    if (activation && !Object.hasOwn(activations, activation))
      throw unknown(`the activation ${activation}`, activations)
  }
  if (model.outputs.length !== 1) throw sottoError('ERR_ARGUMENT_VALUE', 'share: a model in secret has one output')
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
  const { base, precisionFractional, ...rest } = options
  const precision = {
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
