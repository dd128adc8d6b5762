/**
 * Statistics that a few clients cannot move far, whatever they send: Yin et al., "Byzantine-robust distributed learning:
 * towards optimal statistical rates", ICML 2018, arXiv 1803.01498.
 *
 * **In clear only.** The server sees what every client sends; there is no sum to hide it in.
 *
 * Examples are not counted: a client's weight is what it says it is, and a large one would buy it what these statistics
 * are to deny. A client whose vector has a NaN or an infinity is left out as if it had dropped out, or it could stop
 * every round.
 *
 * The paper takes statistics of gradients at the server's weights. Of updates, as here, they are just as hard to move; its
 * rates are proven for gradients. They go with other steps too: `{ ...fedAdam(options), combine: trimmedMean({ trim: 0.1
 * }).combine }`.
 */
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { averaging, type FedAvgOptions } from './fed-avg.ts'
import type { Strategy } from './strategy.ts'

export interface TrimmedMeanOptions extends FedAvgOptions {
  /**
   * β: the fraction of clients, at each end, that does not count; from 0, below 0.5. Up to as many may send what they
   * like.
   */
  readonly trim: number
}

/**
 * The median of each coordinate (Definition 1); of an even number, the mean of the two in the middle. Up to half of the
 * clients, less one, may send what they like.
 *
 * In clear only: see the head of the file, also for weights and for NaN.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range; in a round,
 *   `ERR_SHAPE` when lengths differ, `ERR_COHORT` when nobody's vector is finite
 */
export function coordinateMedian(options: FedAvgOptions = {}): Strategy {
  checkOptions('coordinateMedian', options, ['learningRate'])
  return {
    ...averaging('coordinateMedian', options),
    combine: (each) => ofMiddle('coordinateMedian', each, (clients) => Math.ceil(clients / 2) - 1),
  }
}

/**
 * The mean of each coordinate without its largest and smallest values (Definition 2): of n clients ⌈β·n⌉ at each end,
 * where β·n is a whole number in the paper, and at least one or two in the middle stay. Rounded up, for down would leave
 * a small cohort with a plain mean.
 *
 * In clear only: see the head of the file, also for weights and for NaN.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range; in a round,
 *   `ERR_SHAPE` when lengths differ, `ERR_COHORT` when nobody's vector is finite
 */
export function trimmedMean(options: TrimmedMeanOptions): Strategy {
  const name = 'trimmedMean'
  checkOptions(name, options, ['trim', 'learningRate'])
  const trim = numberOption(name, 'trim', options.trim, { from: 0, below: 0.5 })
  // β and its product with n are each off by half a unit in the last place at most: 0.07 · 100 is above 7.
  const ends = (clients: number) => Math.ceil(trim * clients * (1 - 2 * Number.EPSILON))
  return {
    ...averaging(name, options),
    combine: (each) => ofMiddle(name, each, (clients) => Math.min(ends(clients), Math.ceil(clients / 2) - 1)),
  }
}

/** The mean of each coordinate's values in the middle: in order, without as many at each end as `ends` says. */
function ofMiddle(name: string, each: readonly Float32Array[], ends: (clients: number) => number): Float64Array {
  for (const { length } of each) {
    if (length === each[0]!.length) continue
    throw sottoError('ERR_SHAPE', `${name}: clients sent vectors of ${each[0]!.length} and of ${length} elements`, {
      strategy: name,
    })
  }
  const sound = each.filter((vector) => vector.every(Number.isFinite))
  if (sound.length === 0) {
    throw sottoError('ERR_COHORT', `${name}: none of ${each.length} clients sent finite numbers`, { strategy: name })
  }
  const from = ends(sound.length)
  const to = sound.length - from
  const values = new Float32Array(sound.length)
  return Float64Array.from(sound[0]!, (_, coordinate) => {
    for (let client = 0; client < values.length; client++) values[client] = sound[client]![coordinate]!
    values.sort()
    let sum = 0
    for (let rank = from; rank < to; rank++) sum += values[rank]!
    return sum / (to - from)
  })
}
