/**
 * A party's place in a command of replicated sharing among three: x = x_0 + x_1 + x_2, and party i holds x_i and x_{i+1}
 * (T. Araki et al., "High-throughput semi-honest secure three-party computation with an honest majority", CCS 2016, whose
 * shares are sums of these). Component j is known to the parties j and j − 1, who have a stream in common.
 *
 * Places are counted from whoever has the special part in a command, and that part goes round from command to command, so
 * that all work alike.
 */
import { spent } from '../../../worker/memory-pool.ts'
import type { PrgStream } from '../../prg.ts'
import { ring } from '../../ring/choose.ts'
import {
  type Planes,
  type RingBits,
  type RingKernels,
  type Source,
  type Words,
  wordsPerElement,
} from '../../ring/kernels.ts'
import { bytesOf, wordsOf } from '../../ring/tensor.ts'
import type { PartyContext } from '../protocol.ts'

export type Place = 0 | 1 | 2

/** The two components of a value that a party holds: of words, or of planes of bits. */
export type Pair<T> = readonly [mine: T, next: T]

export class Seat {
  /** Counted from who has the special part. */
  readonly place: Place
  readonly context: PartyContext
  readonly #before: PrgStream
  readonly #after: PrgStream

  private constructor(context: PartyContext, before: PrgStream, after: PrgStream) {
    this.context = context
    this.place = ((context.index + 3 - (context.seq % 3)) % 3) as Place
    this.#before = before
    this.#after = after
  }

  static async of(context: PartyContext): Promise<Seat> {
    const { index } = context
    const [before, after] = await Promise.all([context.common((index + 2) % 3), context.common((index + 1) % 3)])
    return new Seat(context, before, after)
  }

  /** Two things that go on side by side, each with streams of its own. */
  async beside<A, B>(first: (seat: Seat) => Promise<A>, second: (seat: Seat) => Promise<B>): Promise<[A, B]> {
    const [before, after] = [this.#before.fork(), this.#after.fork()]
    return this.context.beside(
      (context) => first(new Seat(context, before[0], after[0])),
      (context) => second(new Seat(context, before[1], after[1])),
    )
  }

  /** Bits of the elements of the command, and their kernels. */
  get ring(): RingBits {
    return this.context.ring
  }
  get kernels(): RingKernels {
    return ring(this.ring)
  }
  /** Elements that words are. */
  count(words: Words): number {
    return words.length / wordsPerElement(this.ring)
  }
  /** `count` elements from one on. */
  part(words: Words, from: number, count: number): Words {
    const each = wordsPerElement(this.ring)
    return words.subarray(each * from, each * (from + count))
  }

  /** n uniform elements known to the party before this one and to it, as is the component that this one holds first. */
  wordsBefore(n: number): Words {
    return this.#before.words(wordsPerElement(this.ring) * n)
  }
  /** n uniform elements known to this party and the next, as is the component that it holds second. */
  wordsAfter(n: number): Words {
    return this.#after.words(wordsPerElement(this.ring) * n)
  }
  /** The same of so many bytes each, for whoever takes them piece by piece. */
  sourcesBefore(...bytes: readonly number[]): Source[] {
    return this.#before.sources(...bytes)
  }
  sourcesAfter(...bytes: readonly number[]): Source[] {
    return this.#after.sources(...bytes)
  }
  planesBefore(bytes: number): Planes {
    return this.#before.bytes(bytes)
  }
  planesAfter(bytes: number): Planes {
    return this.#after.bytes(bytes)
  }

  /** n elements of all parties that add up to zero: α_i = F(k_{i+1}) − F(k_i) (Araki et al., §3.3). */
  zeros(n: number): Words {
    const [after, before] = [this.wordsAfter(n), this.wordsBefore(n)]
    return spent(this.kernels.sub(after, before), after, before)
  }
  /** a + b, and {@link zeros}. */
  withZeros(a: Words, b: Words): Words {
    const n = this.count(a)
    const [after, before] = [this.wordsAfter(n), this.wordsBefore(n)]
    const sum = this.kernels.sum3(a, b, after, 0n)
    return spent(this.kernels.sub(sum, before), after, before, sum)
  }
  zeroPlanes(bytes: number): Planes {
    const [after, before] = [this.#after.bytes(bytes), this.#before.bytes(bytes)]
    return spent(ring().xor(after, before), after, before)
  }

  /** Position among the parties of who has a place. */
  #partyAt(place: number): number {
    return (this.context.index + place - this.place + 3) % 3
  }

  /** One round: hands bytes to places, and gives what comes from others, in the order given. */
  async swap(
    outgoing: readonly (readonly [to: Place, data: Uint8Array])[],
    incoming: readonly (readonly [from: Place, bytes: number])[],
  ): Promise<readonly Uint8Array[]> {
    return this.context.swap(
      outgoing.map(([to, data]) => ({ to: this.#partyAt(to), data })),
      incoming.map(([from, bytes]) => ({ from: this.#partyAt(from), bytes })),
    )
  }

  /** From summands of all parties, which {@link zeros} have made uniform, to components: each goes to the party before. */
  async reshare(mine: Words): Promise<Pair<Words>> {
    return [mine, wordsOf(await this.#fromNext(bytesOf(mine)))]
  }
  async resharePlanes(mine: Planes): Promise<Pair<Planes>> {
    return [mine, await this.#fromNext(mine)]
  }
  async #fromNext(mine: Uint8Array): Promise<Uint8Array> {
    const { index } = this.context
    const [theirs] = await this.context.swap(
      [{ to: (index + 2) % 3, data: mine }],
      [{ from: (index + 1) % 3, bytes: mine.length }],
    )
    return theirs!
  }

  /**
   * Opens planes of which each party has a summand: with zeros on top, or its first component, of which the one that a party
   * lacks follows from the others and what comes out.
   */
  async openSummands(mine: Planes): Promise<Planes> {
    const { index } = this.context
    const others = [(index + 1) % 3, (index + 2) % 3]
    const theirs = await this.context.swap(
      others.map((to) => ({ to, data: mine })),
      others.map((from) => ({ from, bytes: mine.length })),
    )
    return theirs.reduce((sum, planes) => ring().xor(sum, planes), mine)
  }
}
