/** Shares as a worker keeps them, and as they travel. */
import { sottoError } from '../errors.ts'
import { type Shape, sizeOf } from '../tensor/shape.ts'
import { recycle } from '../worker/memory-pool.ts'
import type { Access } from '../worker/permissions.ts'
import type { ErrorWire } from '../worker/protocol.ts'
import type { StoredOther } from '../worker/store.ts'
import type { ShareComponent, ShareWire } from './messages.ts'
import type { Party } from './party.ts'
import { Prg, randomSeed } from './prg.ts'
import type { Protocol, Share } from './protocols/protocol.ts'
import { ring } from './ring/choose.ts'
import { type RingBits, wordsPerElement } from './ring/kernels.ts'
import { bytesOf, type RingTensor, ringTensor, wordsOf } from './ring/tensor.ts'

/** What goes along with a secret. */
export interface About {
  /** Who may see it opened. */
  readonly access: Access
  /** What failed while it was made of private values; told to those who may see it, to others it is a secret. */
  readonly failure?: ErrorWire | null
}

/** A share of a secret. Its words may still be under way. */
export class StoredShare implements StoredOther {
  readonly kind = 'share'
  readonly dtype = 'int32'
  readonly party: Party
  readonly shape: Shape
  /** Who may see it opened; policies are added, and none is taken away. */
  access: Access
  readonly failure: ErrorWire | null
  readonly owner: string
  readonly session: object
  /** Openings that had to follow one another until this share was there; counted, not worked out. */
  rounds = 0
  #value: Share | Promise<Share>
  /** Commands that look at its words, now or later. */
  #holders = 0
  #isReleased = false

  constructor(party: Party, shape: Shape, value: Share | Promise<Share>, { access, failure = null }: About) {
    this.party = party
    this.shape = shape
    this.access = access
    this.failure = failure
    this.owner = party.session.name
    this.session = party.session
    this.#value = value
    party.shares++
    if (value instanceof Promise) {
      value.then(
        (there) => {
          this.#value = there
        },
        () => {},
      )
    }
  }

  /** Its words, for whoever {@link hold}s it. */
  get value(): Share | Promise<Share> {
    return this.#value
  }
  /** Until it is let go as often, the memory of its words is used for nothing else. */
  hold(): void {
    this.#holders++
  }
  letGo(): void {
    this.#holders--
    this.#reuse()
  }

  get bytes(): number {
    return (this.party.options.ring / 8) * this.party.held.length * sizeOf(this.shape)
  }
  release(): void {
    this.party.shares--
    this.#isReleased = true
    this.#reuse()
  }

  #reuse(): void {
    if (!this.#isReleased || this.#holders > 0 || this.#value instanceof Promise) return
    recycle(...this.#value.map(({ data }) => data))
    this.#value = []
  }
}

/** Holds shares while something is done that looks at them. */
export function holding<T>(shares: readonly StoredShare[], action: () => T): T {
  for (const share of shares) share.hold()
  const letGo = (): void => {
    for (const share of shares) share.letGo()
  }
  let result: T
  try {
    result = action()
  } catch (error) {
    letGo()
    throw error
  }
  if (result instanceof Promise) result.then(letGo, letGo)
  else letGo()
  return result
}

/** A share as it came: of each component the words themselves, or the seed that gives them. */
export function shareFrom(bits: RingBits, wire: ShareWire): Share {
  const parts: readonly ShareComponent[] = wire.next === undefined ? [wire] : [wire, wire.next]
  return parts.map((part) => componentFrom(bits, wire.shape, part))
}

function componentFrom(bits: RingBits, shape: Shape, { data, seed }: ShareComponent): RingTensor {
  const words = wordsPerElement(bits) * sizeOf(shape)
  if (seed !== undefined) return ringTensor(bits, shape, new Prg(seed).stream(0).words(words))
  if (data === undefined || data.length !== 8 * words) {
    throw sottoError('ERR_PROTOCOL', `a share of shape [${shape}] takes ${8 * words} bytes`)
  }
  return ringTensor(bits, shape, wordsOf(data.slice()))
}

/**
 * Components of a secret as its parties get them: uniform words for all but the last, from seeds; the last is what is
 * left. Each of them, and any but all, is uniform.
 */
export function sharesOf({ ring: bits, shape, data }: RingTensor, parties: number, protocol: Protocol): ShareWire[] {
  const seeds = Array.from({ length: parties - 1 }, randomSeed)
  const last = seeds.reduce((rest, key) => ring(bits).sub(rest, new Prg(key).stream(0).words(data.length)), data)
  const components: readonly ShareComponent[] = [...seeds.map((seed) => ({ seed })), { data: bytesOf(last) }]
  return Array.from({ length: parties }, (_, index) => {
    const [first, next] = protocol.held(index, parties).map((component) => components[component]!)
    return next === undefined ? { shape, ...first } : { shape, ...first, next }
  })
}
