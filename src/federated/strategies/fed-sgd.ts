/** Steps against the mean gradient of the clients' data. */
import { checkOptions, numberOption } from '../../options.ts'
import { checkStep, moved } from './inputs.ts'
import type { ServerStep, Strategy } from './strategy.ts'

export interface FedSgdOptions {
  /** Above 0. */
  readonly learningRate: number
  /** How much of the last step goes into this one; from 0 (the default), below 1. */
  readonly momentum?: number
}

/**
 * One step of gradient descent a round: FedSGD of McMahan et al., AISTATS 2017, arXiv 1602.05629, section 2, as if all
 * data were in one batch. With momentum v ← momentum·v + gradient and w ← w − η·v (Polyak 1964), as `optim.sgd` has it.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function fedSgd(options: FedSgdOptions): Strategy {
  const name = 'fedSgd'
  checkOptions(name, options, ['learningRate', 'momentum'])
  const learningRate = numberOption(name, 'learningRate', options.learningRate, { above: 0 })
  const momentum = numberOption(name, 'momentum', options.momentum ?? 0, { from: 0, below: 1 })
  return {
    name,
    sends: 'gradient',
    proximal: 0,
    step(weights, mean, state): ServerStep {
      if (momentum === 0) {
        checkStep(name, weights, mean, state, {})
        return { weights: moved(name, weights, (i) => -learningRate * mean[i]!), state: {} }
      }
      const before = checkStep(name, weights, mean, state, { velocity: 0 })
      const velocity = mean.map((gradient, i) => momentum * before.velocity[i]! + gradient)
      return { weights: moved(name, weights, (i) => -learningRate * velocity[i]!), state: { velocity } }
    },
  }
}
