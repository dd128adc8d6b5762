/** What a server's step is given, looked at before it is used. */
import { sottoError } from '../../errors.ts'
import type { StrategyState } from './strategy.ts'

/**
 * A step of a strategy that keeps the vectors `names`, each full of its first value.
 *
 * @returns the state's vectors; at the first step, when there are none yet, new ones
 * @throws `ERR_SHAPE` when lengths differ; `ERR_ARGUMENT_VALUE` for a mean with NaN or infinities, which would stay in
 *   the weights for good; `ERR_CHECKPOINT_MISMATCH` for the state of another strategy
 */
export function checkStep<Name extends string>(
  strategy: string,
  weights: Float32Array,
  mean: Float64Array,
  state: StrategyState,
  first: Readonly<Record<Name, number>>,
): Readonly<Record<Name, Float64Array | Float32Array>> {
  const { length } = weights
  checkLength(strategy, 'the mean', mean.length, length)
  if (!mean.every(Number.isFinite)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${strategy}: the mean expected finite, got NaN or an infinity`, {
      strategy,
    })
  }
  const names = Object.keys(first) as Name[]
  const given = Object.keys(state)
  if (given.length > 0 && (given.length !== names.length || !names.every((name) => Object.hasOwn(state, name)))) {
    const kept = names.length === 0 ? 'keeps no state' : `keeps ${names.join(' and ')}`
    throw sottoError('ERR_CHECKPOINT_MISMATCH', `${strategy} ${kept}, got the state of another strategy`, { strategy })
  }
  for (const [name, vector] of Object.entries(state)) checkLength(strategy, `state "${name}"`, vector.length, length)
  if (given.length > 0) return state as Record<Name, Float64Array | Float32Array>
  return Object.fromEntries(names.map((name) => [name, new Float64Array(length).fill(first[name])])) as Record<
    Name,
    Float64Array
  >
}

function checkLength(strategy: string, what: string, got: number, expected: number): void {
  if (got === expected) return
  throw sottoError('ERR_SHAPE', `${strategy}: ${what} expected the length of the model, ${expected}, got ${got}`, {
    strategy,
    expected,
    got,
  })
}

/**
 * Weights that were moved, in the model's precision.
 *
 * @throws `ERR_ARGUMENT_VALUE` when the sum of two finite numbers is none in float32, or the weights were none before
 */
export function moved(
  strategy: string,
  weights: Float32Array,
  by: (index: number) => number,
): Float32Array<ArrayBuffer> {
  const next = new Float32Array(weights.length)
  for (let i = 0; i < next.length; i++) next[i] = weights[i]! + by(i)
  if (!next.every(Number.isFinite)) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${strategy}: the step leaves weights that are not finite; training diverges, take a smaller learning rate`,
      { strategy },
    )
  }
  return next
}
