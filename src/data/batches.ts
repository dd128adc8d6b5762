/** Orders and batches of examples, as indices: the same for the same seed, on every machine. */
import { sottoError } from '../errors.ts'
import { checkSeed, SeededRandom } from './random.ts'

/**
 * The integers from 0 to n − 1 in an order that follows from the seed (Fisher and Yates; Knuth, TAOCP 3.4.2 P).
 * Not for secrets: whoever knows or guesses the seed knows the order.
 *
 * @param n how many, from 0 to 2^32 − 1
 * @param seed an integer from 0 to 2^53 − 1
 * @throws ValueError `ERR_ARGUMENT_VALUE` for another `n` or seed
 */
export function shuffledIndices(n: number, seed: number): Int32Array {
  const indices = inOrder(n)
  const random = new SeededRandom(seed)
  for (let last = n - 1; last > 0; last--) {
    const other = random.int(last + 1)
    const moved = indices[last]!
    indices[last] = indices[other]!
    indices[other] = moved
  }
  return indices
}

export interface BatchOptions {
  /** Examples in each batch, at least 1; the last batch has what is left. */
  readonly batchSize: number
  /** Seed of the order, from 0 to 2^53 − 1; the number of the epoch gives each epoch its own. */
  readonly seed?: number
  /** Whether to shuffle; by default when there is a seed. */
  readonly shuffle?: boolean
  /** Leaves the last batch out when it is not full. Default: false. */
  readonly dropLast?: boolean
}

/**
 * The indices 0 to n − 1 in batches; may be gone through more than once, in the same order each time.
 *
 * @param n how many examples there are
 * @returns an iterable of views of one array; copy a batch before changing it
 * @throws ValueError `ERR_ARGUMENT_VALUE` for a batch size, count or seed out of range, or a shuffle without a seed
 */
export function batches(n: number, options: BatchOptions): Iterable<Int32Array> {
  const { batchSize, seed, shuffle = seed !== undefined, dropLast = false } = options
  if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `batches: "batchSize" expected an integer of at least 1, got ${batchSize}`, {
      batchSize,
    })
  }
  if (seed !== undefined) checkSeed(seed)
  if (shuffle && seed === undefined) {
    // A seed of our choosing would give every epoch the same order, and nobody would notice.
    throw sottoError('ERR_ARGUMENT_VALUE', 'batches: to shuffle, give a "seed", e.g. the number of the epoch')
  }
  const indices = shuffle && seed !== undefined ? shuffledIndices(n, seed) : inOrder(n)
  const end = dropLast ? n - (n % batchSize) : n
  return {
    *[Symbol.iterator]() {
      for (let begin = 0; begin < end; begin += batchSize) {
        yield indices.subarray(begin, Math.min(begin + batchSize, end))
      }
    },
  }
}

function inOrder(n: number): Int32Array {
  if (!Number.isInteger(n) || n < 0 || n >= 2 ** 32) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"n" expected an integer from 0 to 2^32 - 1, got ${n}`, { n })
  }
  return Int32Array.from({ length: n }, (_, index) => index)
}
