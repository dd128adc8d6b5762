/**
 * The provider of a group: deals correlated randomness, and holds no share.
 *
 * Every party has a seed in common with it; what cannot be drawn from seeds goes to the last party, so far ahead of its use
 * as the window allows and no further: the last party says how much it has used up.
 */
import { isSottoError, sottoError } from '../errors.ts'
import type { HostSession } from '../worker/host.ts'
import type { ErrorWire } from '../worker/protocol.ts'
import { Poison } from '../worker/store.ts'
import { type Correlation, correctionBytes, deal } from './correlations.ts'
import { linkTo, type Member } from './members.ts'
import type { Part } from './messages.ts'
import { sendParts } from './party.ts'
import { Prg, randomSeed } from './prg.ts'

/** Bytes of corrections that may be under way or unused: those of 3 million products. */
export const WINDOW = 64 * 2 ** 20

export interface ProviderOptions {
  readonly group: string
  readonly parties: readonly string[]
}

interface Order {
  readonly index: number
  readonly correlation: Correlation
}

export class Provider implements Member {
  readonly session: HostSession
  readonly options: ProviderOptions
  readonly #seeds: readonly Prg[]
  /** What was asked for and not dealt yet, oldest first. */
  #orders: Order[] = []
  #nextIndex = 0
  #unused = 0
  #failure: Poison | null = null
  bytesSent = 0

  constructor(session: HostSession, options: ProviderOptions) {
    this.session = session
    this.options = options
    const { parties } = options
    const seeds = parties.map(randomSeed)
    this.#seeds = seeds.map((seed) => new Prg(seed))
    parties.forEach((name, i) => {
      this.#send(name, [{ kind: 'seed', data: seeds[i]! }])
      linkTo(session, name).onClose(() =>
        this.end(sottoError('ERR_PARTY_LOST', `${name} has left the secret computation`, { party: name })),
      )
    })
  }

  get group(): string {
    return this.options.group
  }
  get isOver(): boolean {
    return this.#failure !== null
  }

  /**
   * Deals correlations from an index on.
   *
   * @throws StateError `ERR_USED_TWICE` for an index that was dealt before: the same masks on two values would show their
   *   difference
   */
  deal(index: number, correlations: readonly Correlation[]): void {
    if (this.#failure) throw this.#failure
    if (index < this.#nextIndex) {
      throw sottoError('ERR_USED_TWICE', `index ${index} was dealt before`, { index })
    }
    this.#nextIndex = index + correlations.length
    correlations.forEach((correlation, i) => {
      this.#orders.push({ index: index + i, correlation })
    })
    this.#fill()
  }

  take(from: string, part: Part): void {
    if (this.isOver) return
    if (!this.options.parties.includes(from)) throw sottoError('ERR_PERMISSION', `${from} has no part in this`)
    if (part.kind === 'credit' && from === this.options.parties.at(-1)) {
      this.#unused = Math.max(0, this.#unused - part.bytes)
      this.#fill()
    } else if (part.kind === 'end') this.end(new Poison({ error: part.error, access: [] }), false)
    else throw sottoError('ERR_PERMISSION', `${from} has no such part in this`)
  }

  /** Deals what the window has room for; at least one thing, however large. */
  #fill(): void {
    let dealt = 0
    for (const { index, correlation } of this.#orders) {
      const bytes = correctionBytes(correlation)
      if (this.#unused > 0 && this.#unused + bytes > WINDOW) break
      dealt++
      this.#unused += bytes
      this.bytesSent += bytes
      const streams = this.#seeds.map((prg) => prg.stream(index))
      const data = deal(correlation, streams)
      this.#send(this.options.parties.at(-1)!, [{ kind: 'dealt', index, of: correlation.kind, data }])
    }
    this.#orders = this.#orders.slice(dealt)
  }

  #send(name: string, parts: readonly Part[]): void {
    sendParts(this.session, name, this.group, parts)
  }

  end(reason: unknown, tell = true): void {
    if (this.#failure) return
    const error: ErrorWire = reason instanceof Poison ? reason.error : this.session.wireOf(reason)
    this.#failure = new Poison({ error, access: [] })
    this.#orders = []
    if (!tell) return
    for (const name of this.options.parties) {
      try {
        this.#send(name, [{ kind: 'end', error }])
      } catch (failed) {
        if (!isSottoError(failed)) throw failed
      }
    }
  }
}
