/** The mean by secure aggregation: whoever runs the federation learns the sum, and of each client's part nothing. */
import { checkOptions, numberOption } from '../../options.ts'
// What workers do for it is there wherever it is.
import '../masking/handlers.ts'
import { MaskedSum, quantiserFor } from '../masking/masked-sum.ts'
import type { Scheme } from '../masking/messages.ts'
import type { Trust } from '../secagg/parameters.ts'
import type { WordBits } from '../secagg/vectors.ts'
import {
  type Aggregation,
  type AggregationContext,
  askAll,
  type Contribution,
  checkContributions,
  lengthOf,
  type Mean,
} from './aggregation.ts'

export interface PairMasksOptions {
  /** Values are from −clip to clip, and made that where they are not. Default: 16. */
  readonly clip?: number
  /** Bits of a value, with its sign; a step is clip / 2^(bits − 1). From 2 to 32; default: 24. */
  readonly bits?: number
  /** Words that sums are counted in, 32 or 64 bits; unless given, the shortest in which they fit. */
  readonly modulus?: WordBits
}

export interface MasksOptions extends PairMasksOptions, Trust {
  /**
   * The fewest clients whose sum is computed; workers hold the coordinator to it. Default: 3. In a sum of two each knows the
   * other's part, and workers mask no private values for one unless they were started so (`fewestOwners`).
   */
  readonly minimum?: number
}

/** Updates are far below, and a step of 2 millionths is far below them. */
const [CLIP, BITS] = [16, 24]
const NUMBERS = ['clip', 'bits', 'modulus'] as const

/**
 * Secure aggregation that survives dropouts (Bonawitz et al., CCS '17; Bell et al., CCS '20): each worker masks what it
 * sends, and the masks vanish in the sum, also when clients drop out. Five round trips, or six above 64 clients; bytes up
 * are those of the words, and some 0.2 kB for each neighbour.
 *
 * Of private values, owners must name all other clients' workers in `allowShares`, and know them by these names, and name
 * the coordinator in `allowTotals`. Two sums that differ in one client tell its part: the coordinator is trusted not to
 * ask for them.
 */
export function masks(options: MasksOptions = {}): Aggregation {
  checkOptions('masks', options, [...NUMBERS, 'minimum', 'corrupted', 'dropouts', 'server'])
  const { minimum = 3, clip = CLIP, bits = BITS, modulus, ...trust } = options
  numberOption('masks', 'minimum', minimum, { from: 2, integer: true })
  return new Masks('masks', 'secagg', { clip, bits, modulus }, minimum, trust)
}

/**
 * Masks in pairs alone, without shares of keys: two round trips, but every client must be there until the end, each time,
 * or there is no sum. All other clients together can tell one's part. Rights as with {@link masks}.
 */
export function pairMasks(options: PairMasksOptions = {}): Aggregation {
  checkOptions('pairMasks', options, NUMBERS)
  const { clip = CLIP, bits = BITS, modulus } = options
  return new Masks('pairs', 'pairs', { clip, bits, modulus }, 3, {})
}

interface Numbers {
  readonly clip: number
  readonly bits: number
  readonly modulus: WordBits | undefined
}

class Masks implements Aggregation {
  readonly name: string
  readonly inClear = false
  readonly #scheme: Scheme
  readonly #numbers: Numbers
  readonly #minimum: number
  readonly #trust: Trust
  /** By the number of values that a contribution has: a model's, and those of its evaluation. */
  readonly #sums = new Map<number, MaskedSum>()

  constructor(name: string, scheme: Scheme, numbers: Numbers, minimum: number, trust: Trust) {
    this.name = name
    this.#scheme = scheme
    this.#numbers = numbers
    this.#minimum = minimum
    this.#trust = trust
  }

  async mean(contributions: readonly Contribution[], context: AggregationContext): Promise<Mean> {
    checkContributions(this.name, contributions)
    const length = lengthOf(contributions)
    const parts = new Map(contributions.map(({ worker, values }) => [worker, values]))
    return (await this.#sumOf(length, contributions, context)).mean(parts, context)
  }

  check(clients: AggregationContext['clients']): void {
    const { clip, bits, modulus } = this.#numbers
    const weights = clients.map(({ weight }) => weight)
    quantiserFor({ clip, bits, modulus, weights })
  }

  async #sumOf(
    length: number,
    contributions: readonly Contribution[],
    { clients, minimum, ...context }: AggregationContext,
  ): Promise<MaskedSum> {
    const known = this.#sums.get(length)
    if (known?.isOf(clients)) return known
    known?.leave()
    const hidden = await areHidden(contributions, context)
    const { clip, bits, modulus } = this.#numbers
    const least = Math.max(minimum, this.#minimum)
    const options = { scheme: this.#scheme, length, clip, bits, modulus, minimum: least, hidden, ...this.#trust }
    const sum = new MaskedSum(clients, options)
    this.#sums.set(length, sum)
    return sum
  }

  dispose(): void {
    for (const sum of this.#sums.values()) sum.leave()
    this.#sums.clear()
  }
}

/** Whether values are private at all who answer, by the first of each: those of one client are alike. */
async function areHidden(
  contributions: readonly Contribution[],
  { deadline, signal }: Pick<AggregationContext, 'deadline' | 'signal'>,
): Promise<boolean> {
  const answers = await askAll(
    contributions.map(({ worker }) => worker),
    { deadline, ...(signal ? { signal } : {}) },
    [],
    async (worker, wait) => {
      const [value] = contributions.find((contribution) => contribution.worker === worker)!.values
      const info = (await worker.objects(wait)).find(({ id }) => id === value!.id)
      return info?.isPrivate ?? false
    },
  )
  return answers.length > 0 && answers.every(({ answer }) => answer)
}
