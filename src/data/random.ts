/**
 * A seeded source of pseudo-random numbers, for what must be repeatable: shuffles, synthetic data, test inputs.
 *
 * NOT for secrets: the whole stream follows from a seed anyone can guess, and from a few outputs. Shares, masks and
 * keys come from elsewhere.
 *
 * The generator is xoshiro128** 1.1 (D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", ACM
 * TOMS 2021; period 2^128 − 1). Its state is filled by a splitmix of 32 bits, as its authors advise.
 */
import { sottoError } from '../errors.ts'

/** The four words of the state of xoshiro128**, not all zero. */
export type RandomState = readonly [number, number, number, number]

/** A stream of pseudo-random numbers that follows from its seed alone. Not for secrets. */
export class SeededRandom {
  readonly #state: Uint32Array
  /** The second normal deviate of a pair, kept for the next call. */
  #spare: number | undefined

  /**
   * @param seed an integer from 0 to 2^53 − 1, or the four words of a state; different seeds give different streams
   * @throws ValueError `ERR_ARGUMENT_VALUE` for any other seed
   */
  constructor(seed: number | RandomState) {
    this.#state = Uint32Array.from(typeof seed === 'number' ? stateOf(seed) : seed)
    if (this.#state.length !== 4 || this.#state.every((word) => word === 0)) {
      throw sottoError('ERR_ARGUMENT_VALUE', '"seed" expected four words that are not all zero')
    }
  }

  /** The next integer, uniform from 0 to 2^32 − 1. */
  uint32(): number {
    const s = this.#state
    const s1 = s[1]!
    const result = Math.imul(rotl(Math.imul(s1, 5), 7), 9) >>> 0
    s[2]! ^= s[0]!
    s[3]! ^= s1
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= s1 << 9
    s[3] = rotl(s[3]!, 11)
    return result
  }

  /** The next number, uniform in [0, 1), a multiple of 2^−32. */
  float(): number {
    return this.uint32() / 2 ** 32
  }

  /** The next number, uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.float()
  }

  /**
   * The next integer, uniform from 0 to `bound` − 1, without the bias of a plain remainder.
   *
   * @param bound an integer from 1 to 2^32
   * @throws ValueError `ERR_ARGUMENT_VALUE` for any other bound
   */
  int(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 2 ** 32) {
      throw sottoError('ERR_ARGUMENT_VALUE', `"bound" expected an integer from 1 to 2^32, got ${bound}`, { bound })
    }
    // Draws past the last whole multiple of the bound would favour small remainders; they are drawn again.
    const fair = 2 ** 32 - (2 ** 32 % bound)
    let drawn = this.uint32()
    while (drawn >= fair) drawn = this.uint32()
    return drawn % bound
  }

  /** The next number of the standard normal distribution (Box and Muller, 1958). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare
      this.#spare = undefined
      return spare
    }
    // 1 − u is in (0, 1], so the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - this.float()))
    const angle = 2 * Math.PI * this.float()
    this.#spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /** One element of a list, each as likely as any other. */
  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)]!
  }
}

/** Two words from each half of the seed: splitmix is a bijection of its counter, so no two seeds share a state. */
function stateOf(seed: number): RandomState {
  checkSeed(seed)
  const low = splitmix32(seed >>> 0)
  const high = splitmix32(Math.floor(seed / 2 ** 32))
  return [low(), low(), high(), high()]
}

/** @throws ValueError `ERR_ARGUMENT_VALUE` unless the seed is an integer from 0 to 2^53 − 1 */
export function checkSeed(seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"seed" expected an integer from 0 to 2^53 - 1, got ${seed}`, { seed })
  }
}

/** A Weyl sequence through a mixer of 32 bits (`[16 21f0aaad 15 735a2d97 15]` of C. Wellons's hash-prospector). */
function splitmix32(start: number): () => number {
  let counter = start | 0
  return () => {
    counter = (counter + 0x9e3779b9) | 0
    let mixed = counter ^ (counter >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    return (mixed ^ (mixed >>> 15)) >>> 0
  }
}

const rotl = (word: number, by: number): number => ((word << by) | (word >>> (32 - by))) >>> 0
