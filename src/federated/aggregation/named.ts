/** Ways to aggregate by their names: a user changes one word. */
import { sottoError } from '../../errors.ts'
import type { Worker } from '../../worker/worker.ts'
import type { Aggregation } from './aggregation.ts'
import { inClear } from './clear.ts'
import { masks, pairMasks } from './masks.ts'
import { shares } from './shares.ts'

/** One row per way that has a name. Shares by name are among the clients themselves. */
const named = {
  masks: () => masks(),
  pairs: () => pairMasks(),
  shares: (clients: readonly Worker[]) => shares({ parties: clients }),
  clear: () => inClear(),
} as const

export type AggregationName = keyof typeof named

/** @throws for what is neither a name nor a way */
export function aggregationOf(entry: string, given: unknown, clients: readonly Worker[]): Aggregation {
  if (typeof given === 'string' && Object.hasOwn(named, given)) return named[given as AggregationName](clients)
  if (typeof (given as Aggregation | null)?.mean === 'function') return given as Aggregation
  const names = Object.keys(named).map((name) => `'${name}'`)
  throw sottoError(
    'ERR_ARGUMENT_VALUE',
    `${entry}: "aggregation" expected ${names.join(', ')}, or what masks(…) gives`,
    {
      option: 'aggregation',
    },
  )
}
