/** What the layers of a model compute in secret, one row per class of layer; and in which order a sequence of them does. */
import { sottoError } from '../errors.ts'
import type { tf } from '../tensor/engine.ts'
import type { Padding } from '../tensor/shape.ts'
import type { SharedTensor } from './shared-tensor.ts'

export type Layer = tf.LayersModel['layers'][number]
type Activation = (x: SharedTensor) => SharedTensor

const activations = {
  linear: (x) => x,
  relu: (x) => x.relu(),
  relu6: (x) => x.clipByValue(0, 6),
  sigmoid: (x) => x.sigmoid(),
  tanh: (x) => x.tanh(),
  softmax: (x) => x.softmax(),
} as const satisfies Record<string, Activation>
export type ActivationName = keyof typeof activations

const unknown = (what: string, known: object): Error =>
  sottoError('ERR_ARGUMENT_VALUE', `apply: ${what} is not there in secret; there are ${Object.keys(known).join(', ')}`)

/** @throws `ERR_ARGUMENT_VALUE` for an activation that is not there in secret */
function activationOf(layer: Layer): ActivationName {
  const name = String(layer.getConfig()['activation'] ?? 'linear')
  if (!Object.hasOwn(activations, name)) throw unknown(`the activation ${name}`, activations)
  return name as ActivationName
}

export const activated = (x: SharedTensor, name: ActivationName): SharedTensor => activations[name](x)

export type LayerConfig = Readonly<Record<string, unknown>>
export type LayerWeights = Readonly<Record<string, SharedTensor>>

/** What a layer computes, from its inputs, its weights by name and its settings as tfjs writes them. */
interface LayerCall {
  readonly inputs: readonly SharedTensor[]
  readonly weights: LayerWeights
  readonly config: LayerConfig
  /** Keeps something worked out of the weights for later calls. */
  once(name: string, make: () => SharedTensor): SharedTensor
}
type LayerRule = (call: LayerCall) => SharedTensor

const biased = (x: SharedTensor, bias: SharedTensor | undefined): SharedTensor => (bias === undefined ? x : x.add(bias))

function onlyChannelsLast({ dataFormat, data_format }: LayerConfig): void {
  const format = dataFormat ?? data_format ?? 'channelsLast'
  if (format !== 'channelsLast' && format !== 'channels_last') {
    throw sottoError('ERR_ARGUMENT_VALUE', 'apply: images in secret have their channels last')
  }
}

type Pair = [number, number]

/** The settings of a convolution. */
export function convolutionOf(config: LayerConfig): { strides: Pair; padding: Padding; dilationRate: Pair } {
  onlyChannelsLast(config)
  return config as never
}

const pooled =
  (kind: 'maxPool' | 'avgPool'): LayerRule =>
  ({ inputs: [x], config }) => {
    onlyChannelsLast(config)
    const { poolSize, strides, padding } = config as { poolSize: Pair; strides: Pair; padding: Padding }
    return x![kind](poolSize, strides, padding)
  }

const pass: LayerRule = ({ inputs: [x] }) => x!

/** One row per class of layer, under the name that tfjs gives it: all but the activation that ends it, see {@link stepsOf}. */
const layerRules: Readonly<Record<string, LayerRule>> = {
  InputLayer: pass,
  /** Nothing is dropped in use. */
  Dropout: pass,
  Dense: ({ inputs: [x], weights }) => {
    const flat = x!.rank === 2 ? x! : x!.reshape([-1, x!.shape.at(-1)!])
    const product = biased(flat.matMul(weights['kernel']!), weights['bias'])
    const units = product.shape[1]!
    return x!.rank === 2 ? product : product.reshape([...x!.shape.slice(0, -1), units])
  },
  Conv2D: ({ inputs: [x], weights, config }) => {
    const { strides, padding, dilationRate } = convolutionOf(config)
    return biased(x!.conv2d(weights['kernel']!, strides, padding, 'NHWC', dilationRate), weights['bias'])
  },
  MaxPooling2D: pooled('maxPool'),
  AveragePooling2D: pooled('avgPool'),
  GlobalAveragePooling2D: ({ inputs: [x] }) => x!.mean([1, 2]),
  GlobalMaxPooling2D: ({ inputs: [x] }) => x!.max([1, 2]),
  Flatten: ({ inputs: [x] }) => x!.reshape([x!.shape[0]!, -1]),
  Reshape: ({ inputs: [x], config }) => x!.reshape([x!.shape[0]!, ...(config['targetShape'] as number[])]),
  Activation: pass,
  /** One that has a bound; without, it is an activation. */
  ReLU: ({ inputs: [x], config }) => x!.clipByValue(0, config['maxValue'] as number),
  LeakyReLU: ({ inputs: [x], config }) => x!.leakyRelu(config['alpha'] as number),
  /** Over an axis that is not the last; over the last, it is an activation. */
  Softmax: ({ inputs: [x], config }) => x!.softmax(config['axis'] as number),
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

/** A thing that a model does: what a layer computes of its weights, or an activation. */
export type Step =
  | { readonly layer: Layer; readonly activation: null }
  | { readonly layer: Layer; readonly activation: Exclude<ActivationName, 'linear'> }

/** The steps of one layer. */
export function stepsOf(layer: Layer): Step[] {
  const name = layer.getClassName()
  const config = layer.getConfig() as LayerConfig
  const own: Step = { layer, activation: null }
  if (name === 'ReLU' && config['maxValue'] == null) return [{ layer, activation: 'relu' }]
  if (name === 'Softmax') {
    const { axis = -1 } = config
    const last = (layer.outputShape as readonly unknown[]).length - 1
    return axis === -1 || axis === last ? [{ layer, activation: 'softmax' }] : [own]
  }
  const activation = activationOf(layer)
  const rest: Step[] = activation === 'linear' ? [] : [{ layer, activation }]
  return name === 'Activation' ? rest : [own, ...rest]
}

/** Activations that keep the order of numbers: the largest of a window is the same before and after. */
const rising = new Set<ActivationName>(['relu', 'relu6', 'sigmoid', 'tanh'])
const largest = new Set(['MaxPooling2D', 'GlobalMaxPooling2D'])

/** The steps of layers in a row. An activation that keeps the order of numbers comes after a max pooling: it has fewer. */
export function sequenceOf(layers: readonly Layer[]): Step[] {
  const steps = layers.flatMap(stepsOf)
  for (let at = 1; at < steps.length; at++) {
    const [first, second] = [steps[at - 1]!, steps[at]!]
    if (first.activation === null || !rising.has(first.activation)) continue
    if (second.activation === null && largest.has(second.layer.getClassName())) {
      steps[at - 1] = second
      steps[at] = first
    }
  }
  return steps
}

/** Runs one step. */
export function runStep({ layer, activation }: Step, call: Omit<LayerCall, 'config'>): SharedTensor {
  if (activation !== null) return activated(call.inputs[0]!, activation)
  return layerRules[layer.getClassName()]!({ ...call, config: layer.getConfig() as LayerConfig })
}

/** Refuses what cannot be run in secret before anything is shared. */
export function checkLayers(model: tf.LayersModel): void {
  for (const layer of model.layers) {
    const name = layer.getClassName()
    if (!Object.hasOwn(layerRules, name)) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `share: a layer of class ${name} cannot be run in secret; there are ${Object.keys(layerRules).join(', ')}`,
        { layer: name },
      )
    }
    activationOf(layer)
  }
  if (model.outputs.length !== 1) throw sottoError('ERR_ARGUMENT_VALUE', 'share: a model in secret has one output')
}
