/** What the loaders of data sets have in common: their options, and the way from the real set to a synthetic one. */
import { DataError, sottoError } from '../errors.ts'

export interface LoadOptions {
  /**
   * When to take the synthetic set that Sotto makes itself: `never`; as a `fallback`, when the real one is not here and
   * cannot be fetched; `always`. Default: fallback.
   */
  readonly synthetic?: 'never' | 'fallback' | 'always'
  /** Ends the loading; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Told in one line when the synthetic set stands in for the real one. Default: `console.error`. */
  readonly onNotice?: (line: string) => void
}

const choices = ['never', 'fallback', 'always'] as const

/**
 * Loads the real set, or makes the synthetic one, as the options say. Only a set that is missing is stood in for: a
 * damaged one is an error, and so is a loading that was aborted.
 *
 * @throws ValueError `ERR_ARGUMENT_VALUE` for another choice of `synthetic`; DataError as `real` throws
 */
export async function realOrSynthetic<R, S>(
  options: LoadOptions,
  sets: { readonly real: () => Promise<R>; readonly synthetic: () => S; readonly notice: string },
): Promise<R | S> {
  const { synthetic = 'fallback', signal, onNotice = console.error } = options
  if (!choices.includes(synthetic)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"synthetic" expected one of ${choices.join(', ')}, got ${synthetic}`)
  }
  signal?.throwIfAborted()
  if (synthetic === 'always') return sets.synthetic()
  try {
    return await sets.real()
  } catch (error) {
    const missing = error instanceof DataError && error.code === 'ERR_DATA_MISSING'
    if (synthetic === 'never' || !missing) throw error
    onNotice(sets.notice)
    return sets.synthetic()
  }
}

/**
 * How many examples to take of those there are.
 *
 * @param limit at most so many, at least 1; undefined for all
 * @throws ValueError `ERR_ARGUMENT_VALUE` for any other limit
 */
export function checkLimit(name: string, limit: number | undefined): number {
  if (limit === undefined) return Number.POSITIVE_INFINITY
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"${name}" expected an integer of at least 1, got ${limit}`, {
      [name]: limit,
    })
  }
  return limit
}
