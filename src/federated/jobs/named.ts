/** Strategies and ways to aggregate as a job names them: by a kind and settings, which are data and no code. */
import { sottoError } from '../../errors.ts'
import { checkOptions } from '../../options.ts'
import type { Aggregation } from '../aggregation/aggregation.ts'
import { inClear } from '../aggregation/clear.ts'
import { type MasksOptions, masks, type PairMasksOptions, pairMasks } from '../aggregation/masks.ts'
import * as all from '../strategies/index.ts'
import type { Strategy } from '../strategies/strategy.ts'

/** One row per strategy that a job may have. */
const strategies = {
  fedSgd: all.fedSgd,
  fedAvg: all.fedAvg,
  fedProx: all.fedProx,
  fedAdagrad: all.fedAdagrad,
  fedAdam: all.fedAdam,
  fedYogi: all.fedYogi,
  coordinateMedian: all.coordinateMedian,
  trimmedMean: all.trimmedMean,
} as const
type Strategies = typeof strategies

/** A strategy by its name and settings: `{ kind: 'fedAdam', learningRate: 0.01 }`. */
export type StrategySettings = {
  [K in keyof Strategies]: { readonly kind: K } & NonNullable<Parameters<Strategies[K]>[0]>
}[keyof Strategies]

/**
 * One row per way that a job may have. Shares among the trainers are none: the first of them that is lost takes the
 * secrets of all with it.
 */
const aggregations = {
  masks: (settings: Omit<MasksOptions, 'minimum'>, minimum: number) => {
    checkOptions('masks', settings, ['clip', 'bits', 'modulus', 'corrupted', 'dropouts', 'server'])
    return masks({ ...settings, minimum })
  },
  pairs: (settings: PairMasksOptions) => pairMasks(settings),
  clear: (settings: Record<never, never>) => {
    checkOptions('clear', settings, [])
    return inClear()
  },
} as const
type Aggregations = typeof aggregations
export type JobAggregation = keyof Aggregations

/** A way to aggregate by its name and settings: `{ kind: 'masks', clip: 4 }`. */
export type AggregationSettings = {
  [K in JobAggregation]: { readonly kind: K } & Parameters<Aggregations[K]>[0]
}[JobAggregation]

function rowOf<T extends object>(what: string, table: T, given: unknown): T[keyof T] {
  const { kind } = (given ?? {}) as { kind?: unknown }
  if (typeof kind === 'string' && Object.hasOwn(table, kind)) return table[kind as keyof T]
  const isCode = typeof (given as { step?: unknown } | null)?.step === 'function'
  throw sottoError(
    'ERR_ARGUMENT_VALUE',
    `job: "${what}" expected { kind, … } with a kind of ${Object.keys(table).join(', ')}` +
      (isCode ? '; what fedAvg() and its like give is code, and a compiled job has none' : ''),
    { option: what },
  )
}

/** @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for no strategy of the table, or settings that it does not take */
export function strategyNamed(given: unknown): Strategy {
  const make = rowOf('strategy', strategies, given) as (settings: object) => Strategy
  const { kind: _, ...settings } = given as StrategySettings
  return make(settings)
}

/** @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for no way of the table, or settings that it does not take */
export function aggregationNamed(given: unknown, minimum: number): Aggregation {
  const make = rowOf('aggregation', aggregations, given) as (settings: object, minimum: number) => Aggregation
  const { kind: _, ...settings } = given as AggregationSettings
  return make(settings, minimum)
}
