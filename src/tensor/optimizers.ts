/**
 * Update rules, one row each: what runs on the worker at `opt.step()`.
 *
 * The rules are those of `tf.train`, so that remote training equals local training; settings and defaults are tfjs's.
 */
import { sottoError } from '../errors.ts'
import { tf } from './engine.ts'

export type Config = Readonly<Record<string, number | boolean>>

interface Updated<Slots extends string = string> {
  readonly value: tf.Tensor
  readonly slots: Readonly<Record<Slots, tf.Tensor>>
}

interface Rule<Slots extends string = string> {
  /** Settings and their defaults; NaN marks one that must be given. */
  readonly defaults: Config
  /** Tensors kept per parameter, each with its first value. */
  readonly slots: (config: Config) => Readonly<Record<Slots, number>>
  /** One update. `step` counts from 1. Gives the parameter's new value and the slots' new values. */
  update(
    input: { value: tf.Tensor; gradient: tf.Tensor; step: number },
    slots: Readonly<Record<Slots, tf.Tensor>>,
    config: Config,
  ): Updated<Slots>
}

const rule = <Slots extends string>(row: Rule<Slots>): Rule => row as unknown as Rule
/** tfjs's default for float32 backends. */
const EPSILON = 1e-7

/** decay·average + (1 − decay)·value. */
const average = (before: tf.Tensor, value: tf.Tensor, decay: number): tf.Tensor =>
  tf.add(tf.mul(before, decay), tf.mul(value, 1 - decay))

export const optimizerRules = {
  /** Gradient descent, with momentum (Polyak 1964) or Nesterov's (Sutskever et al., ICML 2013). */
  sgd: rule<string>({
    defaults: { learningRate: Number.NaN, momentum: 0, nesterov: false },
    slots: ({ momentum }): Record<string, number> => (momentum === 0 ? {} : { velocity: 0 }),
    update({ value, gradient }, { velocity }, config): Updated {
      const rate = config['learningRate'] as number
      const momentum = config['momentum'] as number
      if (velocity === undefined) return { value: tf.sub(value, tf.mul(gradient, rate)), slots: {} }
      const next = tf.add(tf.mul(velocity, momentum), gradient)
      const direction = config['nesterov'] ? tf.add(gradient, tf.mul(next, momentum)) : next
      return { value: tf.sub(value, tf.mul(direction, rate)), slots: { velocity: next } }
    },
  }),
  /** Kingma and Ba, arXiv 1412.6980, algorithm 1. */
  adam: rule({
    defaults: { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: EPSILON },
    slots: () => ({ first: 0, second: 0 }),
    update({ value, gradient, step }, slots, config) {
      const { learningRate, beta1, beta2, epsilon } = config as Record<string, number>
      const first = average(slots.first, gradient, beta1!)
      const second = average(slots.second, tf.square(gradient), beta2!)
      const corrected = tf.div(first, 1 - beta1! ** step)
      const scale = tf.add(tf.sqrt(tf.div(second, 1 - beta2! ** step)), epsilon!)
      return { value: tf.sub(value, tf.mul(tf.div(corrected, scale), learningRate!)), slots: { first, second } }
    },
  }),
  /** Kingma and Ba, arXiv 1412.6980, algorithm 2; the rate decays as 1/(1 + decay·step). */
  adamax: rule({
    defaults: { learningRate: 0.002, beta1: 0.9, beta2: 0.999, epsilon: EPSILON, decay: 0 },
    slots: () => ({ first: 0, norm: 0 }),
    update({ value, gradient, step }, slots, config) {
      const { learningRate, beta1, beta2, epsilon, decay } = config as Record<string, number>
      const first = average(slots.first, gradient, beta1!)
      const norm = tf.maximum(tf.mul(slots.norm, beta2!), tf.abs(gradient))
      const rate = learningRate! / (1 + decay! * (step - 1)) / (1 - beta1! ** step)
      return { value: tf.sub(value, tf.mul(tf.div(first, tf.add(norm, epsilon!)), rate)), slots: { first, norm } }
    },
  }),
  /** Duchi et al., JMLR 2011. */
  adagrad: rule({
    defaults: { learningRate: Number.NaN, initialAccumulatorValue: 0.1, epsilon: EPSILON },
    slots: ({ initialAccumulatorValue }) => ({ squares: initialAccumulatorValue as number }),
    update({ value, gradient }, slots, config) {
      const { learningRate, epsilon } = config as Record<string, number>
      const squares = tf.add(slots.squares, tf.square(gradient))
      const step = tf.div(gradient, tf.sqrt(tf.add(squares, epsilon!)))
      return { value: tf.sub(value, tf.mul(step, learningRate!)), slots: { squares } }
    },
  }),
  /** Tieleman and Hinton 2012; centred as in Graves, arXiv 1308.0850. */
  rmsprop: rule({
    defaults: { learningRate: Number.NaN, decay: 0.9, momentum: 0, epsilon: EPSILON, centered: false },
    slots: ({ centered }): Record<string, number> => ({ squares: 0, velocity: 0, ...(centered ? { mean: 0 } : {}) }),
    update({ value, gradient }, slots, config) {
      const { learningRate, decay, momentum, epsilon } = config as Record<string, number>
      const squares = average(slots['squares']!, tf.square(gradient), decay!)
      const mean = slots['mean'] === undefined ? undefined : average(slots['mean'], gradient, decay!)
      const spread = mean === undefined ? squares : tf.sub(squares, tf.square(mean))
      const velocity = tf.add(
        tf.mul(slots['velocity']!, momentum!),
        tf.div(tf.mul(gradient, learningRate!), tf.sqrt(tf.add(spread, epsilon!))),
      )
      return { value: tf.sub(value, velocity), slots: { squares, velocity, ...(mean === undefined ? {} : { mean }) } }
    },
  }),
  /**
   * Zeiler, arXiv 1212.5701, as tfjs has it: the step is scaled by the squares before this gradient is added to them,
   * where the paper adds it first.
   */
  adadelta: rule({
    defaults: { learningRate: 0.001, rho: 0.95, epsilon: EPSILON },
    slots: () => ({ squares: 0, updates: 0 }),
    update({ value, gradient }, slots, config) {
      const { learningRate, rho, epsilon } = config as Record<string, number>
      const squares = average(slots.squares, tf.square(gradient), rho!)
      const scale = tf.div(tf.sqrt(tf.add(slots.updates, epsilon!)), tf.sqrt(tf.add(slots.squares, epsilon!)))
      const step = tf.mul(scale, gradient)
      const updates = average(slots.updates, tf.square(step), rho!)
      return { value: tf.sub(value, tf.mul(step, learningRate!)), slots: { squares, updates } }
    },
  }),
} as const

export type OptimizerKind = keyof typeof optimizerRules

/** Completes and checks settings: unknown names and wrong kinds throw. */
export function completeConfig(kind: OptimizerKind, given: Config): Config {
  if (!Object.hasOwn(optimizerRules, kind)) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `optim: there is no such optimizer; there are ${Object.keys(optimizerRules).join(', ')}`,
    )
  }
  const { defaults } = optimizerRules[kind]
  for (const [name, value] of Object.entries(given)) {
    const standard = Object.hasOwn(defaults, name) ? defaults[name] : undefined
    if (standard === undefined) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `optim.${kind}: unknown setting "${name.slice(0, 40)}"; there are ${Object.keys(defaults).join(', ')}`,
      )
    }
    if (typeof value !== typeof standard || (typeof value === 'number' && !Number.isFinite(value))) {
      throw sottoError('ERR_ARGUMENT_TYPE', `optim.${kind}: "${name}" expected a ${typeof standard}`)
    }
  }
  const config = { ...defaults, ...given }
  const missing = Object.entries(config).find(([, value]) => Number.isNaN(value))
  if (missing) throw sottoError('ERR_ARGUMENT_VALUE', `optim.${kind}: "${missing[0]}" must be given`)
  return config
}
