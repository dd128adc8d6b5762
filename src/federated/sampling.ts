/** Which clients take part in a round. */
import { checkSeed, SeededRandom } from '../data/random.ts'
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'

export interface SamplingOptions {
  /** Of the clients, how many take part in a round; above 0, to 1. */
  readonly fraction: number
  /** Fewest clients that a round is for; from 1, which is the default. */
  readonly minimum?: number
  /** An integer from 0 to 2^53 − 1. */
  readonly seed: number
  /**
   * Whether each client takes part by itself, with probability `fraction`, so that the number differs from round to
   * round. It is what an accountant of differential privacy asks for. Default: false.
   */
  readonly poisson?: boolean
}

const OPTIONS = ['fraction', 'minimum', 'seed', 'poisson'] as const

/**
 * Draws the clients of a round: the nearest whole number to fraction·n without replacement, and no fewer than the minimum;
 * or each by itself (`poisson`). A Poisson sample may have fewer than the minimum, or nobody: to fill it up, or to draw
 * again, would favour some, and the accountant knows of no such thing. The round is then left out.
 *
 * The draw follows from the seed, the round and the set of clients, in whatever order they are listed. It is repeatable,
 * and so no secret from whoever knows the seed, or guesses it: what sampling adds to differential privacy holds towards
 * those who know neither the seed nor who took part.
 *
 * @param clients their ids, each once
 * @param round from 0 to 2^53 − 1
 * @returns their ids, sorted
 * @throws `ERR_COHORT` when there are fewer clients than the minimum; `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an
 *   option of another kind or out of range, and for an id that is listed twice
 */
export function sampleClients(options: SamplingOptions, clients: readonly string[], round: number): string[] {
  const entry = 'sampleClients'
  checkOptions(entry, options, OPTIONS)
  const { seed, minimum = 1, poisson = false } = options
  const fraction = numberOption(entry, 'fraction', options.fraction, { above: 0, to: 1 })
  numberOption(entry, 'minimum', minimum, { from: 1, integer: true })
  checkSeed(seed)
  numberOption(entry, 'round', round, { from: 0, integer: true })
  if (typeof poisson !== 'boolean') {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: "poisson" expected true or false`, { entry, option: 'poisson' })
  }
  const sorted = [...new Set(clients)].sort()
  if (sorted.length < clients.length) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "clients" expected each id once`, { entry })
  }
  if (sorted.length < minimum) {
    throw sottoError(
      'ERR_COHORT',
      `${entry}: ${sorted.length} clients are there, fewer than the minimum of ${minimum}`,
      {
        entry,
        clients: sorted.length,
        minimum,
      },
    )
  }
  const random = streamOf(seed, round)
  if (poisson) return sorted.filter(() => random.float() < fraction)
  const size = Math.max(minimum, Math.round(fraction * sorted.length))
  // Fisher and Yates, stopped when the first places are drawn (Knuth, TAOCP 3.4.2 P).
  for (let place = 0; place < size; place++) {
    const drawn = place + random.int(sorted.length - place)
    const client = sorted[drawn]!
    sorted[drawn] = sorted[place]!
    sorted[place] = client
  }
  return sorted.slice(0, size).sort()
}

/**
 * A stream of its own for each seed and round. The words of the two come from different places of their streams, so that
 * seed a in round b is not seed b in round a, and equal numbers do not cancel out.
 */
function streamOf(seed: number, round: number): SeededRandom {
  const [bySeed, byRound] = [new SeededRandom(seed), new SeededRandom(round)]
  for (let skipped = 0; skipped < 4; skipped++) byRound.uint32()
  const word = () => (bySeed.uint32() ^ byRound.uint32()) >>> 0
  return new SeededRandom([word(), word(), word(), word()])
}
