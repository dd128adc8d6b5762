/**
 * What the server of a federation does with what clients send: one small object. Those that are here are made by
 * functions of this folder; anyone's own is as good, once {@link checkStrategy} has seen it.
 */
import { sottoError } from '../../errors.ts'

/** State of a strategy between rounds: vectors by name, as long as the model; what a checkpoint keeps. */
export type StrategyState = Readonly<Record<string, Float64Array | Float32Array>>

/** What a round leaves behind. */
export interface ServerStep {
  readonly weights: Float32Array
  readonly state: StrategyState
}

/** How a server learns from its clients. */
export interface Strategy {
  readonly name: string
  /**
   * What clients send: what training has changed in their weights (weights after − before), or the mean gradient of
   * their data at the model's weights.
   */
  readonly sends: 'update' | 'gradient'
  /** Weight μ/2·‖w − w_round‖² that clients add to their loss; 0: none (FedProx). */
  readonly proximal: number
  /**
   * The server's step, from the weighted mean of what clients sent. Pure: changes nothing that it is given.
   *
   * @param weights the model's, before
   * @param mean as long as the weights
   * @param state what the step before gave; none, `{}`, at the first
   * @param round counted from 0
   */
  step(weights: Float32Array, mean: Float64Array, state: StrategyState, round: number): ServerStep
  /**
   * Instead of the weighted mean: a robust statistic of what each client sent. It needs to see each in clear, so it goes
   * with no secure aggregation.
   *
   * @param each what each client sent, all of one length
   * @param weights theirs, in the same order
   */
  readonly combine?: (each: readonly Float32Array[], weights: readonly number[]) => Float64Array
}

/**
 * @param entry who asks, for the message
 * @returns the strategy
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for what is no strategy; the message names what is wrong with it
 */
export function checkStrategy(entry: string, strategy: unknown): Strategy {
  const refuse = (what: string, code: 'ERR_ARGUMENT_TYPE' | 'ERR_ARGUMENT_VALUE' = 'ERR_ARGUMENT_TYPE') =>
    sottoError(code, `${entry}: "strategy" expected ${what}`, { entry, option: 'strategy' })
  if (typeof strategy === 'function') throw refuse('a strategy, got a function; call it, as in fedAvg()')
  if (typeof strategy !== 'object' || strategy === null) throw refuse('a strategy, such as fedAvg()')
  const { name, sends, proximal, step, combine } = strategy as Partial<Record<keyof Strategy, unknown>>
  if (typeof name !== 'string' || name === '') throw refuse('a "name", a string that is not empty')
  if (sends !== 'update' && sends !== 'gradient') {
    throw refuse("\"sends\" to be 'update' or 'gradient'", 'ERR_ARGUMENT_VALUE')
  }
  if (typeof proximal !== 'number') throw refuse('"proximal" to be a number; 0 for none')
  if (!Number.isFinite(proximal) || proximal < 0) {
    throw refuse(`"proximal" to be a finite number from 0, got ${proximal}`, 'ERR_ARGUMENT_VALUE')
  }
  if (typeof step !== 'function') throw refuse('"step" to be a function')
  if (combine !== undefined && typeof combine !== 'function') throw refuse('"combine" to be a function, or left out')
  return strategy as Strategy
}
