/** Models of `tf.layers` as data: topology, weights, and the state of the optimizers that train them. */
import { sottoError } from '../errors.ts'
import { tf } from './engine.ts'
import type { Config, OptimizerKind } from './optimizers.ts'
import { type Shape, sameShape, showShape, sizeOf } from './shape.ts'
import { fromWire, type TensorWire, toWire } from './wire.ts'

/** State of an optimizer over the parameters of one model. */
export interface OptimizerWire {
  readonly kind: OptimizerKind
  readonly config: Config
  /** Updates made so far. */
  readonly step: number
  /** Parameters by their index in the model's weights, and the tensors kept for each. */
  readonly slots: readonly { readonly parameter: number; readonly name: string; readonly value: TensorWire }[]
  readonly parameters: readonly number[]
}

/** A model as it travels. */
export interface ModelWire {
  readonly type: 'sequential' | 'functional'
  /** The model's configuration, as `getConfig` gives it, in JSON. Data, not code. */
  readonly topology: string
  readonly weights: readonly { readonly name: string; readonly value: TensorWire; readonly trainable: boolean }[]
  readonly optimizers: readonly OptimizerWire[]
}

type Json = Record<string, unknown>
/** tfjs builds with all weights zero when `fastWeightInit` says so. */
type Buildable = { fromConfig(cls: unknown, config: Json, custom: Json, fastWeightInit: boolean): tf.LayersModel }

/** A weight of a `tf.layers` model. */
export type Weight = tf.LayersModel['weights'][number]
export const variableOf = (weight: Weight): tf.Variable => (weight as unknown as { val: tf.Variable }).val

/** Every weight once, in an order that freezing does not change, with a name that a rebuilt model has too. */
export function weightsOf(model: tf.LayersModel): { name: string; weight: Weight; trainable: boolean }[] {
  const trainable = new Set(model.trainableWeights)
  const found = new Map<Weight, string>()
  for (const weight of model.weights) found.set(weight, weight.originalName)
  const counts = new Map<string, number>()
  return [...found]
    .map(([weight, original]) => {
      const count = counts.get(original) ?? 0
      counts.set(original, count + 1)
      return { name: count === 0 ? original : `${original}~${count}`, weight, trainable: trainable.has(weight) }
    })
    .sort((a, b) => layerOrder(model, a.weight) - layerOrder(model, b.weight) || 0)
}

const layerOrder = (model: tf.LayersModel, weight: Weight): number =>
  model.layers.findIndex((layer) => layer.weights.includes(weight))

export function topologyOf(model: tf.LayersModel): Pick<ModelWire, 'type' | 'topology'> {
  return {
    type: model instanceof tf.Sequential ? 'sequential' : 'functional',
    topology: JSON.stringify(model.getConfig()),
  }
}

export function modelToWire(model: tf.LayersModel, optimizers: readonly OptimizerWire[] = []): ModelWire {
  return {
    ...topologyOf(model),
    weights: weightsOf(model).map(({ name, weight, trainable }) => ({
      name,
      value: toWire(weight.read()),
      trainable,
    })),
    optimizers,
  }
}

/** Elements that a model being built may still allocate; set while one is built. */
let budget = 0

/** Stands in for every initializer while a model is rebuilt: its values come later, and its size must be paid for. */
class Arriving extends tf.serialization.Serializable {
  static readonly className = 'SottoArriving'
  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
  ): T {
    return new cls({})
  }
  apply(shape: number[], dtype?: 'float32' | 'int32'): tf.Tensor {
    budget -= sizeOf(shape)
    if (budget < 0) throw sottoError('ERR_PROTOCOL', 'a model declares more weights than came with it')
    return tf.zeros(shape, dtype)
  }
  getConfig(): tf.serialization.ConfigDict {
    return {}
  }
}

/** Layers nest in wrappers and in models; no real model nests deeper. */
const DEPTH = 32

/** The configuration with every initializer replaced: nothing random is drawn for weights that are overwritten. */
function withoutInitializers(value: unknown, depth = 0): unknown {
  if (depth > DEPTH) throw sottoError('ERR_PROTOCOL', 'the configuration of a model nests too deeply')
  if (Array.isArray(value)) return value.map((item) => withoutInitializers(item, depth + 1))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      name.endsWith('Initializer') && item !== null
        ? { className: Arriving.className, config: {} }
        : withoutInitializers(item, depth + 1),
    ]),
  )
}

/**
 * Rebuilds a model. The topology is read as data: a class that tfjs does not know is refused. One that came from a
 * peer may allocate no more weights than came with it, and draws no random numbers for them.
 */
export function modelFromWire(wire: ModelWire, from: 'peer' | 'self' = 'peer'): tf.LayersModel {
  tf.serialization.registerClass(
    Arriving as unknown as tf.serialization.SerializableConstructor<tf.serialization.Serializable>,
  )
  const config = parse(wire.topology)
  budget = wire.weights.reduce((sum, { value }) => sum + sizeOf(value.shape), 0)
  const cls = (wire.type === 'sequential' ? tf.Sequential : tf.LayersModel) as unknown as Buildable
  const model =
    from === 'self'
      ? cls.fromConfig(cls, config, {}, true)
      : cls.fromConfig(cls, withoutInitializers(config) as Json, {}, false)
  try {
    setWeights(model, wire)
  } catch (error) {
    model.dispose()
    throw error
  }
  return model
}

function parse(topology: string): Json {
  try {
    const config = JSON.parse(topology) as unknown
    if (typeof config === 'object' && config !== null) return config as Json
  } catch {
    // Said below.
  }
  throw sottoError('ERR_PROTOCOL', 'the topology of a model is not a configuration in JSON')
}

function setWeights(model: tf.LayersModel, wire: ModelWire): void {
  const sent = new Map(wire.weights.map((weight) => [weight.name, weight]))
  const built = weightsOf(model)
  if (built.length !== wire.weights.length) {
    throw sottoError('ERR_PROTOCOL', `the model has ${built.length} weights, ${wire.weights.length} came with it`)
  }
  for (const { name, weight } of built) {
    const arrived = sent.get(name)
    if (arrived === undefined) throw sottoError('ERR_PROTOCOL', 'a weight of the model did not come with it')
    const shape = weight.shape as Shape
    if (!sameShape(shape, arrived.value.shape)) {
      throw sottoError(
        'ERR_PROTOCOL',
        `a weight is ${showShape(shape)} in the model and came as ${showShape(arrived.value.shape)}`,
      )
    }
    const value = fromWire(arrived.value)
    weight.write(value)
    value.dispose()
  }
}
