/** Indices of which each is good for one use, in any order: kept as ranges, so that those used in turn take no room. */
import { sottoError } from '../errors.ts'

export class UsedIndices {
  /** Ranges [from, to) that are used up, in order, never touching. */
  readonly #ranges: { from: number; to: number }[] = []

  /** Position of the first range that begins after an index. */
  #after(index: number): number {
    let [low, high] = [0, this.#ranges.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#ranges[middle]!.from > index) high = middle
      else low = middle + 1
    }
    return low
  }

  has(index: number): boolean {
    const before = this.#ranges[this.#after(index) - 1]
    return before !== undefined && index < before.to
  }

  /**
   * Uses an index up.
   *
   * @throws StateError `ERR_USED_TWICE` when it is used up already
   */
  use(index: number): void {
    const at = this.#after(index)
    const before = this.#ranges[at - 1]
    const after = this.#ranges[at]
    if (before !== undefined && index < before.to) {
      throw sottoError('ERR_USED_TWICE', `index ${index} is used up; an index is good for one use`, { index })
    }
    const [joinsBefore, joinsAfter] = [before?.to === index, after?.from === index + 1]
    if (joinsBefore && joinsAfter) {
      before!.to = after!.to
      this.#ranges.splice(at, 1)
    } else if (joinsBefore) before!.to++
    else if (joinsAfter) after!.from--
    else this.#ranges.splice(at, 0, { from: index, to: index + 1 })
  }
}
