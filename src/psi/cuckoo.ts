/**
 * Cuckoo hashing with three places for each item and no stash (Pinkas, Schneider, Zohner, TOPS 2018): every item in one of
 * its three bins, in every bin at most one.
 *
 * How many bins it takes is proved here, not extrapolated: no such arrangement exists only if some s items have no more
 * than s − 1 bins between them (Hall), which for places drawn at random happens with a probability of at most
 *
 *   Σ_{s ≥ 4} C(n, s) · C(m, s−1) · (C(s−1, 3) / C(m, 3))^s,
 *
 * and {@link binsFor} keeps that sum under 2^-40; `test/reference/cuckoo.ts` adds it up. Experiments of the paper's allow
 * 1.27 bins an item where this takes 1.6.
 */
import { sottoError } from '../errors.ts'

/** Places of each item. */
export const PLACES = 3
/** Bins come in such numbers: as many rows are turned at once. */
export const STEP = 128
/** Ids of a set at most: what {@link binsFor} and the width of the rows are proved for. */
export const LARGEST_SET = 2 ** 24

/** Bins that suffice for sets of up to so many; beyond, it takes 1.6 an item. */
const SMALL: readonly (readonly [items: number, bins: number])[] = [
  [4, 41],
  [32, 136],
  [64, 188],
  [128, 260],
  [256, 430],
  [512, 833],
]
const RATIO = 1.6

/** How many bins a set of n items is hashed into: a multiple of {@link STEP}; both sides compute it. */
export function binsFor(n: number): number {
  const least = SMALL.find(([items]) => n <= items)?.[1] ?? Math.max(SMALL.at(-1)![1], Math.ceil(RATIO * n))
  return Math.ceil(least / STEP) * STEP
}

/**
 * Three different bins from three random words each.
 *
 * @param words 3·n, uniformly random
 * @returns 3·n bins, in a new array
 */
export function placesOf(words: Uint32Array, bins: number): Uint32Array {
  const places = new Uint32Array(words.length)
  // A product of 32 bits by fewer than 2^26 is exact in a double: the place is its upper part.
  const scaled = (word: number, n: number) => Math.floor((word * n) / 2 ** 32)
  for (let i = 0; i < words.length; i += PLACES) {
    const a = scaled(words[i]!, bins)
    let b = scaled(words[i + 1]!, bins - 1)
    if (b >= a) b++
    const [low, high] = a < b ? [a, b] : [b, a]
    let c = scaled(words[i + 2]!, bins - 2)
    if (c >= low) c++
    if (c >= high) c++
    places[i] = a
    places[i + 1] = b
    places[i + 2] = c
  }
  return places
}

const NONE = 0xffffffff

/** Who is where. */
export interface Table {
  /** Of each bin, the entry in it: PLACES · item + place; or {@link EMPTY}. */
  readonly bins: Uint32Array
}
export const EMPTY = NONE

/**
 * Puts each item into one of its bins. Exact: it finds an arrangement if there is one, by the shortest way of items that
 * each make room for another.
 *
 * @param places three bins for each item, see {@link placesOf}
 * @throws StateError `ERR_OPERATION_FAILED` when there is none, which for random places happens once in 2^40
 */
export function arrange(places: Uint32Array, count: number): Table {
  const bins = new Uint32Array(count).fill(EMPTY)
  /** Bins that were come to, in which search, and which entry would go there. */
  const seen = new Uint32Array(count)
  const entry = new Uint32Array(count)
  const queue: number[] = []
  for (let item = 0; item < places.length / PLACES; item++) {
    const search = item + 1
    queue.length = 0
    let free = NONE
    const reach = (from: number): void => {
      for (let place = 0; place < PLACES; place++) {
        const bin = places[PLACES * from + place]!
        if (seen[bin] === search) continue
        seen[bin] = search
        entry[bin] = PLACES * from + place
        if (bins[bin] === EMPTY) {
          free = bin
          return
        }
        queue.push(bin)
      }
    }
    reach(item)
    for (let at = 0; free === NONE && at < queue.length; at++) reach(Math.floor(bins[queue[at]!]! / PLACES))
    if (free === NONE) throw sottoError('ERR_OPERATION_FAILED', 'the ids cannot be arranged in a table; try again')
    // Each on the way moves to the bin where it was to go, and leaves its own.
    for (let bin = free; ; ) {
      const moved = entry[bin]!
      const mover = Math.floor(moved / PLACES)
      let left = NONE
      if (mover !== item) {
        for (let place = 0; place < PLACES; place++) {
          const own = places[PLACES * mover + place]!
          if (Math.floor(bins[own]! / PLACES) === mover && bins[own] !== EMPTY) left = own
        }
      }
      bins[bin] = moved
      if (left === NONE) break
      bin = left
    }
  }
  return { bins }
}
