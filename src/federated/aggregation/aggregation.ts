/** How the mean of what clients send comes about: the seam between a federation and the ways to aggregate. */
import { sottoError } from '../../errors.ts'
import { PointerTensor } from '../../tensor/pointer.ts'
import { sizeOf } from '../../tensor/shape.ts'
import type { Worker } from '../../worker/worker.ts'

/** What a client sends: tensors on its worker, the same shapes at all, and how much they count. */
export interface Contribution {
  readonly worker: Worker
  /** float32. */
  readonly values: readonly PointerTensor[]
  /** A whole number from 1, such as of examples. */
  readonly weight: number
}

/** Who did not come to be in the mean, and why. */
export interface Missing {
  readonly worker: string
  readonly reason: Error
}

export interface Mean {
  /** Weighted: Σ w·x / Σ w, all tensors one after the other. */
  readonly mean: Float64Array
  /** Workers whose values are in it. */
  readonly contributors: readonly string[]
  readonly missing: readonly Missing[]
  /** Bytes that a contributor sent for it, on average; 0 where that was not counted. */
  readonly bytesUp: number
}

export interface AggregationContext {
  /** All who may be asked, in this call or later ones, and how much each counts: they agree on it as one group. */
  readonly clients: readonly { readonly worker: Worker; readonly weight: number }[]
  /** The fewest contributions that make a mean. */
  readonly minimum: number
  /** Milliseconds that each step waits for clients; who takes longer has dropped out. */
  readonly deadline: number
  readonly signal?: AbortSignal
}

/** A way to aggregate. One object serves one federation. */
export interface Aggregation {
  readonly name: string
  /** Whether whoever runs the federation sees what each client sent. */
  readonly inClear: boolean
  /**
   * @throws StateError `ERR_COHORT` when too few are left; then nothing is known of any contribution, unless in clear
   */
  mean(contributions: readonly Contribution[], context: AggregationContext): Promise<Mean>
  /** What each client sent, where that is in clear. */
  each?(
    contributions: readonly Contribution[],
    context: AggregationContext,
  ): Promise<{ readonly values: readonly Float32Array[]; readonly weights: readonly number[] } & Omit<Mean, 'mean'>>
  /**
   * Whether it can be done among these, before anything is.
   *
   * @throws RangeError `ERR_ARGUMENT_VALUE` for sums that might wrap around
   */
  check?(clients: AggregationContext['clients']): void
  /** Frees what it holds on workers. */
  dispose(): void
}

/** How many numbers a contribution has. */
export function lengthOf(contributions: readonly Contribution[]): number {
  const shapes = contributions.map(({ values }) => values.map(({ shape }) => shape))
  const [first] = shapes
  if (first === undefined) throw sottoError('ERR_COHORT', 'there is nobody whose values could be added up')
  if (shapes.some((other) => JSON.stringify(other) !== JSON.stringify(first))) {
    throw sottoError('ERR_SHAPE', 'aggregation: clients have values of different shapes')
  }
  return first.reduce((sum, shape) => sum + sizeOf(shape), 0)
}

export function checkContributions(entry: string, contributions: readonly Contribution[]): void {
  for (const { worker, values } of contributions) {
    if (values.length > 0 && values.every((value) => value instanceof PointerTensor && value.location === worker)) {
      continue
    }
    throw sottoError('ERR_NOT_COLLOCATED', `${entry}: expected pointers to values on ${worker.id}`, {
      worker: worker.id,
    })
  }
}

/** @throws StateError `ERR_COHORT` with the reasons of those who are missing */
export function checkEnough(left: number, minimum: number, missing: readonly Missing[]): void {
  if (left >= minimum) return
  throw sottoError('ERR_COHORT', `${left} clients are left, and ${minimum} are the least${because(missing)}`, {
    left,
    minimum,
  })
}

/** Reasons, for a message. */
export function because(missing: readonly Missing[]): string {
  if (missing.length === 0) return ''
  const shown = missing.slice(0, MOST_SHOWN).map(({ worker, reason }) => `${worker}: ${reason.message}`)
  const more = missing.length > MOST_SHOWN ? [`and ${missing.length - MOST_SHOWN} more`] : []
  return `; ${[...shown, ...more].join('; ')}`
}
const MOST_SHOWN = 3

/** Asks all at once. Whoever fails, or takes longer than the deadline, is missing; an abort ends it for all. */
export async function askAll<T>(
  workers: readonly Worker[],
  { deadline, signal }: Pick<AggregationContext, 'deadline' | 'signal'>,
  missing: Missing[],
  ask: (worker: Worker, wait: { timeout: number; signal?: AbortSignal }) => Promise<T>,
): Promise<{ readonly worker: Worker; readonly answer: T }[]> {
  const wait = { timeout: deadline, ...(signal ? { signal } : {}) }
  const answers = await Promise.all(
    workers.map(async (worker) => {
      try {
        return [{ worker, answer: await ask(worker, wait) }]
      } catch (error) {
        if (signal?.aborted) throw error
        missing.push({ worker: worker.id, reason: error as Error })
        return []
      }
    }),
  )
  return answers.flat()
}
