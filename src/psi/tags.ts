/**
 * Tags: values of the oblivious PRF cut to as many bytes as keep two from being alike by chance.
 */
import { OUTPUT } from './oblivious-prf.ts'

/** Bits by which a false match is rarer than one in a whole run. */
const STATISTICAL = 40

/**
 * Bytes of a tag: of all pairs of a receiver's and a sender's id that are not the same, any two tags are alike with a
 * probability of at most 2^-40 (KKRT §4.2).
 */
export const tagBytes = (receiverSize: number, senderSize: number): number =>
  Math.ceil((STATISTICAL + Math.log2(Math.max(1, receiverSize)) + Math.log2(Math.max(1, senderSize))) / 8)

/** The tags of a receiver, to be looked up. */
export class TagIndex {
  readonly #bytes: number
  readonly #tags: Uint8Array
  readonly #copies: Uint8Array
  readonly #slots: Uint32Array
  readonly #mask: number

  /**
   * @param tags of each id, `bytes` each
   * @param copies of each id, which of the sender's copies its tag is equal to
   */
  constructor(tags: Uint8Array, copies: Uint8Array, bytes: number) {
    this.#bytes = bytes
    this.#tags = tags
    this.#copies = copies
    const count = copies.length
    const size = 2 ** Math.ceil(Math.log2(2 * count + 2))
    this.#mask = size - 1
    this.#slots = new Uint32Array(size)
    for (let id = 0; id < count; id++) {
      let slot = hashAt(tags, bytes * id) & this.#mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask
      this.#slots[slot] = id + 1
    }
  }

  /** The id whose tag stands in `from` at `at`, of that copy; −1 for none. */
  find(from: Uint8Array, at: number, copy: number): number {
    const bytes = this.#bytes
    for (let slot = hashAt(from, at) & this.#mask; this.#slots[slot] !== 0; slot = (slot + 1) & this.#mask) {
      const id = this.#slots[slot]! - 1
      if (this.#copies[id] !== copy) continue
      const own = bytes * id
      let same = 0
      while (same < bytes && this.#tags[own + same] === from[at + same]) same++
      if (same === bytes) return id
    }
    return -1
  }
}

/** Tags are as good as random: so are their first bytes. */
const hashAt = (tags: Uint8Array, at: number): number =>
  tags[at]! | (tags[at + 1]! << 8) | (tags[at + 2]! << 16) | (tags[at + 3]! << 24)

/** Copies the first `bytes` of each output to the place of its tag. */
export function cutTags(tags: Uint8Array, bytes: number, places: ArrayLike<number>, outputs: Uint8Array): void {
  for (let i = 0; i < places.length; i++) {
    const to = bytes * places[i]!
    const from = OUTPUT * i
    for (let byte = 0; byte < bytes; byte++) tags[to + byte] = outputs[from + byte]!
  }
}
