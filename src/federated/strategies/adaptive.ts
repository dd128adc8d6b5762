/**
 * Steps along the mean update, each coordinate by a rate of its own: Reddi et al., "Adaptive federated optimization",
 * ICLR 2021, arXiv 2003.00295, Algorithm 2.
 *
 * With Δ the mean update: m ← β1·m + (1 − β1)·Δ, from m = 0; v by a rule that the three differ in, from v = τ²; then
 * w ← w + η·m/(√v + τ). As in the paper, neither m nor v is corrected for where it starts, and τ is outside the root. The
 * paper weights clients equally; here Δ is whatever mean the federation takes.
 */
import { checkOptions, numberOption } from '../../options.ts'
import { checkStep, moved } from './inputs.ts'
import type { Strategy } from './strategy.ts'

export interface FedAdagradOptions {
  /** η: about how far a weight moves in a round; above 0. The paper has no default, and searches for it by task. */
  readonly learningRate: number
  /** β1: how much of the last direction goes into this one; from 0, below 1. */
  readonly beta1?: number
  /** τ: the less, the more rates differ between coordinates; above 0. Default: 0.001. */
  readonly tau?: number
}

export interface FedAdamOptions extends FedAdagradOptions {
  /** β2: how slowly squares of updates are forgotten; from 0, below 1. Default: 0.99. */
  readonly beta2?: number
}

/** v from what it was and Δ². */
type Rule = (before: number, square: number) => number

function adaptive(name: string, options: FedAdagradOptions, defaultBeta1: number, rule: Rule): Strategy {
  const learningRate = numberOption(name, 'learningRate', options.learningRate, { above: 0 })
  const beta1 = numberOption(name, 'beta1', options.beta1 ?? defaultBeta1, { from: 0, below: 1 })
  const tau = numberOption(name, 'tau', options.tau ?? 1e-3, { above: 0 })
  return {
    name,
    sends: 'update',
    proximal: 0,
    step(weights, mean, state) {
      const before = checkStep(name, weights, mean, state, { momentum: 0, squares: tau ** 2 })
      const momentum = mean.map((delta, i) => beta1 * before.momentum[i]! + (1 - beta1) * delta)
      const squares = mean.map((delta, i) => rule(before.squares[i]!, delta ** 2))
      const next = moved(name, weights, (i) => (learningRate * momentum[i]!) / (Math.sqrt(squares[i]!) + tau))
      return { weights: next, state: { momentum, squares } }
    },
  }
}

/**
 * v ← v + Δ²: rates only fall. β1 is 0 by default, as in the paper's analysis.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function fedAdagrad(options: FedAdagradOptions): Strategy {
  checkOptions('fedAdagrad', options, ['learningRate', 'beta1', 'tau'])
  return adaptive('fedAdagrad', options, 0, (v, square) => v + square)
}

/**
 * v ← β2·v + (1 − β2)·Δ². β1 is 0.9 and β2 0.99 by default, as in the paper's experiments.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function fedAdam(options: FedAdamOptions): Strategy {
  const beta2 = checkAdam('fedAdam', options)
  return adaptive('fedAdam', options, 0.9, (v, square) => beta2 * v + (1 - beta2) * square)
}

/**
 * v ← v − (1 − β2)·Δ²·sign(v − Δ²): v changes by no more than Δ² does, so that a round of large updates is not soon
 * forgotten (Zaheer et al., NeurIPS 2018). β1 is 0.9 and β2 0.99 by default, as in the paper's experiments.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function fedYogi(options: FedAdamOptions): Strategy {
  const beta2 = checkAdam('fedYogi', options)
  return adaptive('fedYogi', options, 0.9, (v, square) => v - (1 - beta2) * square * Math.sign(v - square))
}

function checkAdam(name: string, options: FedAdamOptions): number {
  checkOptions(name, options, ['learningRate', 'beta1', 'beta2', 'tau'])
  return numberOption(name, 'beta2', options.beta2 ?? 0.99, { from: 0, below: 1 })
}
