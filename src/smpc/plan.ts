/** Randomness dealt ahead of its use: what a computation takes is learnt by running it without carrying anything out. */
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import type { Worker } from '../worker/worker.ts'
import { type Correlation, correctionBytes } from './correlations.ts'
import type { Group } from './group.ts'
import { SharedTensor } from './shared-tensor.ts'

/** What a computation on secrets of one group takes of its provider. */
export interface Plan {
  /** @internal */
  readonly group: Group
  /** @internal One list for each command, in their order. */
  readonly correlations: readonly (readonly Correlation[])[]
  /** Correlations of each kind. */
  readonly counts: Readonly<Record<string, number>>
  /** Bytes that the provider sends for it. */
  readonly bytes: number
}

export interface PrepareOptions {
  /** How many times over; 1 unless given. */
  times?: number
}

/**
 * What an action takes of the provider, without carrying it out: no share is touched, and what the action returns is
 * nothing. Sizes alone count, so the plan holds for any values.
 *
 * @param secret a secret of the parties that the action computes among
 * @param action operations on secrets of these parties; not async
 * @example const plan = planOf(x, () => model.apply(x)); prepare(carol, plan, { times: 10 })
 */
export function planOf(secret: SharedTensor, action: () => unknown): Plan {
  if (!(secret instanceof SharedTensor)) {
    throw sottoError('ERR_ARGUMENT_TYPE', 'planOf: expected a shared tensor first, of the parties that compute')
  }
  const { group } = secret
  const correlations = group.record(action)
  const counts: Record<string, number> = {}
  for (const { kind } of correlations.flat()) counts[kind] = (counts[kind] ?? 0) + 1
  return {
    group,
    correlations,
    counts,
    bytes: correlations.flat().reduce((sum, one) => sum + correctionBytes(one, group.ring), 0),
  }
}

/**
 * Has a provider deal what a plan takes ahead of time. Operations of the same sizes find it waiting; what they do not use
 * stays until the parties part. The provider sends no further ahead than its window.
 *
 * @throws PlacementError `ERR_PROVIDER` when the plan's parties have another provider, or none
 */
export function prepare(provider: Worker, plan: Plan, options: PrepareOptions = {}): void {
  checkOptions('prepare', options, ['times'])
  const { times = 1 } = options
  if (plan.group.provider !== provider) {
    throw sottoError('ERR_PROVIDER', `prepare: ${provider.id} is not the provider of ${plan.group.names}`)
  }
  if (!Number.isInteger(times) || times < 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', 'prepare: "times" expected an integer from 1', { option: 'times' })
  }
  plan.group.prepare(plan.correlations, times)
}
