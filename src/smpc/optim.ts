/** Optimizers of encoded parameters: the rule is computed as the parameters are, in secret on secrets. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { noGrad, scope } from '../tensor/context.ts'
import { type Optimizer, optim as remote, type SgdConfig } from '../tensor/optim.ts'
import type { PointerTensor } from '../tensor/pointer.ts'
import { type AnyEncoded, EncodedTensor } from './encoded-tensor.ts'

/**
 * v ← momentum · v + g; w ← w − learningRate · v. Of secrets one round a step, two with momentum (the velocity is brought
 * back to scale, and then the step).
 */
export class EncodedSgd<T extends EncodedTensor<T>> {
  readonly #parameters: readonly T[]
  #config: Required<Omit<SgdConfig, 'nesterov'>>
  readonly #velocities = new Map<T, T>()

  constructor(parameters: readonly T[], config: SgdConfig) {
    this.#parameters = parameters
    this.#config = checked({ learningRate: config.learningRate, momentum: config.momentum ?? 0 })
    for (const parameter of parameters) {
      if (!parameter.requiresGrad) {
        throw sottoError('ERR_NOT_LEAF', 'optim.sgd: every parameter must be a leaf that requires a gradient')
      }
    }
  }

  get learningRate(): number {
    return this.#config.learningRate
  }
  set learningRate(learningRate: number) {
    this.#config = checked({ ...this.#config, learningRate })
  }

  /** One update of the parameters that have a gradient. Returns at once. */
  step(): void {
    const { learningRate, momentum } = this.#config
    scope(() =>
      noGrad(() => {
        for (const parameter of this.#parameters) {
          const gradient = parameter.grad
          if (gradient === null) continue
          const before = this.#velocities.get(parameter)
          const velocity: T = before === undefined ? gradient : (before.mul(momentum).add(gradient) as T)
          if (momentum !== 0) {
            this.#velocities.set(parameter, velocity.alias())
            before?.dispose()
          }
          parameter.assign(parameter.sub(velocity.mul(learningRate)))
        }
      }),
    )
  }

  zeroGrad(): void {
    for (const parameter of this.#parameters) parameter.zeroGrad()
  }

  /** Frees what it remembers. */
  dispose(): void {
    for (const velocity of this.#velocities.values()) velocity.dispose()
    this.#velocities.clear()
  }
}

function checked<C extends { learningRate: number; momentum: number }>(config: C): C {
  const { learningRate, momentum } = config
  if (!(Number.isFinite(learningRate) && learningRate > 0)) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'optim.sgd: "learningRate" expected a number above 0')
  }
  if (!(momentum >= 0 && momentum < 1)) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'optim.sgd: "momentum" expected a number from 0, below 1')
  }
  return config
}

const isEncoded = (parameters: readonly unknown[]): parameters is readonly AnyEncoded[] =>
  Array.isArray(parameters) && parameters.some((parameter) => parameter instanceof EncodedTensor)

function sgd(parameters: readonly PointerTensor[], config?: SgdConfig): Optimizer
function sgd<T extends EncodedTensor<T>>(parameters: readonly T[], config: SgdConfig): EncodedSgd<T>
function sgd(parameters: readonly PointerTensor[] | readonly AnyEncoded[], config?: SgdConfig) {
  if (!isEncoded(parameters)) return remote.sgd(parameters as readonly PointerTensor[], config)
  checkOptions('optim.sgd', config ?? {}, ['learningRate', 'momentum'])
  return new EncodedSgd(parameters, (config ?? {}) as SgdConfig)
}

/** Optimizers with the rules and defaults of `tf.train`; of secret and of fixed-precision parameters, `sgd`. */
export const optim = { ...remote, sgd }
